package freshness

import (
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// monitored is a monitor with a view of each kind, none of which has been listed.
func monitored(limit time.Duration, kinds ...string) (*Monitor, *clocktesting.FakeClock, []*view) {
	clock := clocktesting.NewFakeClock(noon)
	m := New(limit, clock, logr.Discard())
	for _, kind := range kinds {
		m.views = append(m.views, &view{monitor: m, kind: kind})
	}
	return m, clock, m.views
}

func TestMonitor_isAsOldAsTheOldestView(t *testing.T) {
	t.Parallel()
	m, clock, views := monitored(time.Minute, "acl", "grant", "pod")
	clock.Step(10 * time.Second)
	m.prove(views[0], m.now())
	m.prove(views[1], m.now())
	clock.Step(50 * time.Second)
	m.prove(views[0], m.now())
	if !m.Fresh(clock.Now()) || m.Age(clock.Now()) != 50*time.Second {
		t.Errorf("fresh %v, %s old; a view that was never listed does not count", m.Fresh(clock.Now()), m.Age(clock.Now()))
	}
	want := map[string]time.Duration{"acl": 0, "grant": 50 * time.Second}
	if diff := cmp.Diff(want, m.Ages(clock.Now())); diff != "" {
		t.Errorf("ages (-want +got)\n%s", diff)
	}
	clock.Step(10*time.Second + 1)
	if m.Fresh(clock.Now()) {
		t.Errorf("fresh after %s, and a minute is the limit", m.Age(clock.Now()))
	}
	m.prove(views[1], m.now()-time.Hour) // an old proof that comes late
	if m.Fresh(clock.Now()) {
		t.Error("an old proof makes nothing fresh")
	}
}

// TestMonitor_opensAMomentAfterTheProof: what came with the proof is applied first.
func TestMonitor_opensAMomentAfterTheProof(t *testing.T) {
	t.Parallel()
	m, clock, views := monitored(time.Minute, "grant")
	woken := make(chan struct{}, 1)
	m.OnReopen(func() { woken <- struct{}{} })
	clock.Step(time.Second)
	m.prove(views[0], m.now())
	if !m.Fresh(clock.Now()) {
		t.Error("the first proof waits for nothing")
	}
	clock.Step(2 * time.Minute)
	m.prove(views[0], m.now())
	if m.Fresh(clock.Now()) {
		t.Error("open at once")
	}
	clock.Step(settle)
	if !m.Fresh(clock.Now()) {
		t.Errorf("closed %s after the proof", settle)
	}
	<-woken
	select {
	case <-woken:
		t.Error("woken by the first proof, too")
	default:
	}
}

func TestMonitor_withoutALimit(t *testing.T) {
	t.Parallel()
	m, clock, views := monitored(0, "grant")
	clock.Step(time.Second)
	m.prove(views[0], m.now())
	clock.Step(24 * time.Hour)
	if !m.Fresh(clock.Now()) || m.Ages(clock.Now())["grant"] != 24*time.Hour {
		t.Errorf("fresh %v, ages %v", m.Fresh(clock.Now()), m.Ages(clock.Now()))
	}
	none := (*Monitor)(nil)
	none.OnReopen(nil)
	none.OnList(nil)
	if !none.Fresh(clock.Now()) || none.Age(clock.Now()) != 0 || len(none.Ages(clock.Now())) != 0 || none.Limit() != 0 || lastListed(none) != 0 {
		t.Error("no monitor finds something")
	}
}

// TestMonitor_lifetime: two proofs fit into the limit, and a view that is late gets its next one soon.
func TestMonitor_lifetime(t *testing.T) {
	t.Parallel()
	for limit, want := range map[time.Duration]time.Duration{0: 15 * time.Second, MinLimit: shortLife, time.Minute: 15 * time.Second, 10 * time.Minute: 150 * time.Second} {
		m, clock, views := monitored(limit, "grant")
		if got := m.lifetime(views[0]); got != shortLife {
			t.Errorf("limit %s: the first watch lives %s", limit, got)
		}
		clock.Step(time.Second)
		m.prove(views[0], m.now())
		if got := m.lifetime(views[0]); got != want {
			t.Errorf("limit %s: a watch lives %s, want %s", limit, got, want)
		}
		clock.Step(2*want + 1)
		if got := m.lifetime(views[0]); got != shortLife {
			t.Errorf("limit %s: the watch of a late view lives %s", limit, got)
		}
	}
}

func TestMonitor_freshAllocatesNothing(t *testing.T) {
	m, clock, views := monitored(time.Minute, "grant")
	m.prove(views[0], 0)
	now := clock.Now()
	if n := testing.AllocsPerRun(100, func() { m.Fresh(now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
