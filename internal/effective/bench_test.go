package effective

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/grantry/grantry/internal/permission"
)

var sizes = []int{10, 1_000, 10_000, 100_000, 1_000_000}

// duel is one world with both ways to decide in it.
type duel struct {
	w   *world
	s   *Snapshot
	ref naive
	ids []string // of the queries, so that the reference need not allocate
}

func newDuel(size int) duel {
	w := newWorld(size, 2048)
	d := duel{w: w, ref: newNaive(w.Input)}
	d.s, _ = Build(w.Input)
	for _, q := range w.queries {
		d.ids = append(d.ids, q.Resource.Canonical())
	}
	return d
}

func BenchmarkDecide(b *testing.B) {
	for _, size := range sizes {
		d := newDuel(size)
		b.Run(fmt.Sprintf("grantry/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d.s.Decide(d.w.queries[i%len(d.ids)])
			}
		})
		b.Run(fmt.Sprintf("naive/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				d.ref.decide(&d.w.queries[i%len(d.ids)], d.ids[i%len(d.ids)])
			}
		})
	}
}

func BenchmarkExplain(b *testing.B) {
	d := newDuel(100_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = d.s.Explain(d.w.queries[i%len(d.ids)]).String()
	}
}

func BenchmarkBuild(b *testing.B) {
	for _, size := range sizes {
		w := newWorld(size, 0)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				Build(w.Input)
			}
		})
	}
}

// crowds are a million grants in shapes that are hard to change.
var crowds = map[string]func(i int) (acl int, who Subject){
	"realistic":               nil,
	"all on one ACL":          func(i int) (int, Subject) { return 0, userAt(i / 10) },
	"all on one subject":      func(i int) (int, Subject) { return i / 10, alice },
	"all on one of each":      func(int) (int, Subject) { return 0, alice },
	"as many subjects":        func(i int) (int, Subject) { return i / 10, userAt(i) },
	"as many ACLs":            func(i int) (int, Subject) { return i, userAt(i / 10) },
	"all of one team's space": func(i int) (int, Subject) { return i / 10, groupAt(i % 10) },
}

func newCrowd(size int, shape func(i int) (acl int, who Subject)) Input {
	if shape == nil {
		return newWorld(size, 0).Input
	}
	var in Input
	for i := range size {
		acl, who := shape(i)
		for len(in.ACLs) <= acl {
			n := len(in.ACLs)
			in.ACLs = append(in.ACLs, acl1(fmt.Sprintf("acl-%07d", n), fmt.Sprintf("%s:dept%d.team%d.app%d", jobsOf, n%10, n/10%100, n/1000)))
		}
		in.Grants = append(in.Grants, grant1(fmt.Sprintf("grant-%07d", i), in.ACLs[acl].Name, 1<<(i%6), who))
	}
	return in
}

// change is one grant that goes, comes back and changes: three changes.
func change(s *Snapshot, g Grant) *Snapshot {
	s = s.Apply(DeleteGrant(g.Name)).Apply(SetGrant(g))
	g.Actions ^= permission.AllActions
	return s.Apply(SetGrant(g))
}

func BenchmarkApply(b *testing.B) {
	for name, shape := range crowds {
		in := newCrowd(1_000_000, shape)
		s, _ := Build(in)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				s = change(s, in.Grants[i*7919%len(in.Grants)])
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(3*b.N), "µs/change")
		})
	}
}

// heapInUse is what is reachable after everything else has been collected.
func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// bytesPerGrant is the heap that a snapshot keeps, strings included, when its input is gone.
func bytesPerGrant(size int) float64 {
	before := heapInUse()
	s, _ := Build(newWorld(size, 0).Input)
	used := float64(heapInUse()-before) / float64(size)
	runtime.KeepAlive(s)
	return used
}

func BenchmarkMemory(b *testing.B) {
	for _, size := range sizes[2:] {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for range b.N {
				b.ReportMetric(bytesPerGrant(size), "B/grant")
			}
		})
	}
}

// TestFigures checks what the design promises. The tests in it run one after the other and not beside
// other tests, because they measure.
func TestFigures(t *testing.T) {
	const size = 1_000_000
	t.Run("a decision allocates nothing", checkAllocations)
	if raceEnabled || testing.CoverMode() != "" {
		t.Skip("instrumented code is slower than the map of the naive reference, which is not instrumented")
	}
	t.Run("a decision takes at most half of the naive one", checkDuels)
	if testing.Short() {
		return
	}
	t.Run("a grant takes at most 200 bytes", func(t *testing.T) {
		got := bytesPerGrant(size)
		t.Logf("%.0f bytes per grant", got)
		if got > 200 {
			t.Errorf("%.0f bytes per grant", got)
		}
	})
	for _, name := range []string{"all on one ACL", "all on one subject", "as many subjects"} {
		t.Run("a change takes less than a millisecond, "+name, func(t *testing.T) {
			in := newCrowd(size, crowds[name])
			s, _ := Build(in)
			var took []time.Duration
			for i := range 200 {
				began := time.Now()
				s = change(s, in.Grants[i*7919%size])
				took = append(took, time.Since(began)/3)
			}
			slices.Sort(took)
			t.Logf("median %v", took[len(took)/2])
			if took[len(took)/2] > time.Millisecond {
				t.Errorf("median %v", took[len(took)/2])
			}
		})
	}
}

// checkAllocations puts a query together from a request's strings and decides it.
func checkAllocations(t *testing.T) {
	s, _ := Build(organization)
	namespace, job, groups := "metronome", "dev.batch.job1", []string{"staff", "devs", "x", "y", "z"}
	for _, who := range []Subject{alice, bob, root, UserSubject("mallory")} {
		if n := testing.AllocsPerRun(100, func() {
			q := Query{User: who, Groups: groups, Resource: permission.JobResource(namespace, job), AnyOf: run | update, At: noon}
			s.Decide(q)
			s.DecideBeneath(q)
			q.Resource = permission.AppIDResource(permission.AgentSandbox, namespace, job)
			s.Decide(q)
		}); n != 0 {
			t.Errorf("%v: %v allocations", who, n)
		}
	}
}

// checkDuels lets the two decide in turns, on the same questions, so that a busy machine disturbs both
// alike. What still disturbs only one of them must do so five times in a row to count.
func checkDuels(t *testing.T) {
	for _, size := range sizes {
		if size > 100_000 && testing.Short() {
			continue
		}
		d := newDuel(size)
		ratio := d.fight(t)
		for range 4 {
			if ratio > 0.5 {
				ratio = d.fight(t)
			}
		}
		if ratio > 0.5 {
			t.Errorf("%d grants: a decision takes %.2f of the naive one", size, ratio)
		}
	}
}

// fight returns the time of a decision as a part of the time of a naive one.
func (d duel) fight(t *testing.T) float64 {
	t.Helper()
	allowed := 0
	var ours, theirs []time.Duration
	for range 61 {
		began := time.Now()
		for i := range d.w.queries {
			if d.s.Decide(d.w.queries[i]).Allowed {
				allowed++
			}
		}
		ours = append(ours, time.Since(began))
		began = time.Now()
		for i := range d.w.queries {
			if d.ref.decide(&d.w.queries[i], d.ids[i]) {
				allowed--
			}
		}
		theirs = append(theirs, time.Since(began))
	}
	if allowed != 0 {
		t.Errorf("%d grants: the two do not agree", len(d.w.Grants))
	}
	us, them := lowQuartile(ours, len(d.ids)), lowQuartile(theirs, len(d.ids))
	ratio := float64(us) / float64(them)
	t.Logf("%8d grants: %v, naive %v, ratio %.2f", len(d.w.Grants), us, them, ratio)
	return ratio
}

func lowQuartile(rounds []time.Duration, questions int) time.Duration {
	slices.Sort(rounds)
	return rounds[len(rounds)/4] / time.Duration(questions)
}
