//go:build e2e

package chaos

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/chaos/ledger"
)

const (
	// steady is for how long nothing is broken before a fault.
	steady = 3 * time.Second
	// behind is how long after a fault, and after the window of its row, carol's Grant is still gone: old knowledge must
	// not come back with the cure.
	behind = 3 * time.Second
	// converges is how soon after a fault everything is to be as it should; a row that takes longer is marked.
	converges = 30 * time.Second
	// patience is how long that may take on a machine that is busy with other things.
	patience = 4 * time.Minute
)

// TestChaos plays every fault on one cluster, as often as ROUNDS says, each time on a new one. CHAOS=short leaves out
// those that take long, FAULT all but those whose names match. CHAOS_REPORT names a file for the table.
func TestChaos(t *testing.T) {
	short := os.Getenv("CHAOS") == "short"
	only, err := regexp.Compile(os.Getenv("FAULT"))
	if err != nil {
		t.Fatalf("FAULT: %v", err)
	}
	chosen := slices.DeleteFunc(faults(), func(f fault) bool { return f.long && short || !only.MatchString(f.name) })
	var tables []table
	for round := range count(t, "ROUNDS", 1) {
		t.Run(fmt.Sprintf("round %d", round+1), func(t *testing.T) { tables = append(tables, play(t, chosen)) })
	}
	for i, table := range tables {
		t.Logf("round %d of %d\n%s", i+1, len(tables), table.text())
	}
	if file := os.Getenv("CHAOS_REPORT"); file != "" && !t.Failed() {
		if err := writeReport(file, tables); err != nil {
			t.Fatal(err)
		}
	}
}

// count reads a number of at least 1 from the environment.
func count(t *testing.T, name string, unset int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return unset
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number of at least 1", name, text)
	}
	return n
}

// play plays the faults, one after the other.
func play(t *testing.T, chosen []fault) table {
	t.Helper()
	s := newSite(t, chosen)
	s.populate(t)
	s.eventually(t, waitFor, "alice may, and bob may not", func() bool {
		return s.allowed(t, "alice", "a") && s.allowed(t, "carol", "c") && s.refused(t, "bob", "b")
	})
	timetable := s.timetable()
	stop := s.work(t)
	told := map[ledger.Violation]bool{}
	var rows table
	for _, f := range chosen {
		r := s.play(t, f)
		rows = append(rows, s.judge(t, r, told))
		t.Logf("%s", rows[len(rows)-1:].text())
	}
	if s.clock != nil { // whether schedules go on shows in the minutes after
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(3*time.Minute + 20*time.Second)))
	}
	stop()
	end := time.Now()
	s.converge(t, end, end)
	for i := range timetable {
		timetable[i].Last = end.Truncate(time.Minute).Add(-time.Minute)
	}
	for _, v := range ledger.Check(s.record.until(end, timetable...)) {
		if !told[v] {
			t.Errorf("at the end: %s", v)
		}
	}
	return rows
}

// timetable is from when on each schedule is to have a run in each minute.
func (s *site) timetable() (timetable []ledger.Schedule) {
	for _, name := range schedules {
		timetable = append(timetable, ledger.Schedule{Name: name, First: time.Now().Truncate(time.Minute).Add(2 * time.Minute)})
	}
	return timetable
}

// result is a row of the table.
type result struct {
	fault
	began, mended, converged time.Time
	tally
	violations int
}

// play breaks something and mends it. While it is broken, or as soon as that is possible again, carol's Grant is deleted;
// she gets it back when that is over and every replica has had to know for a moment.
func (s *site) play(t *testing.T, f fault) result {
	t.Helper()
	time.Sleep(steady)
	r := result{fault: f, began: time.Now()}
	end := f.begin(t, s)
	seen := s.watch(t, f.sign)
	gone := make(chan time.Time, 1)
	go func() {
		defer close(gone) // also where the test has failed
		gone <- s.revoke(t)
	}()
	time.Sleep(f.lasts)
	if !seen() {
		t.Errorf("%s: nothing has told of it", f.name)
	}
	end()
	r.mended = time.Now()
	from, revoked := <-gone
	if !revoked {
		t.FailNow()
	}
	absence := ledger.Absence{From: from, Window: f.window}
	time.Sleep(max(behind, time.Until(from.Add(f.window+behind)))) // or no request could be wrongly allowed
	absence.Until = time.Now()
	s.record.absent("carol", absence)
	s.insist(t, "give carol her Grant back", func(ctx context.Context) error { return orThere(s.admin.Create(ctx, owned("c"))) })
	r.converged = s.converge(t, r.mended, time.Now())
	s.record.broken(ledger.Outage{From: r.began, Until: r.converged.Add(f.after), WrongClock: f.clock})
	return r
}

// revoke deletes carol's Grant, and returns when that was answered.
func (s *site) revoke(t *testing.T) time.Time {
	t.Helper()
	s.insist(t, "delete carol's Grant", func(ctx context.Context) error {
		if err := s.collector.Delete(ctx, owned("c")); !apierrors.IsNotFound(err) {
			return err
		}
		return nil
	})
	return time.Now()
}

// converge waits until everything is as it should: every replica is ready, one leads, who may is allowed and who may
// not is refused, and every run from before a moment that may be launched has ended well. It returns when that was.
func (s *site) converge(t *testing.T, mended, moment time.Time) time.Time {
	t.Helper()
	for {
		waitsFor := s.waitsFor(t, moment)
		now := time.Now()
		if waitsFor == "" {
			return now
		}
		if now.Sub(mended) > patience {
			t.Fatalf("%s after the fault: %s", patience, waitsFor)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// waitsFor says what is not yet as it should be, or nothing.
func (s *site) waitsFor(t *testing.T, moment time.Time) string {
	t.Helper()
	switch {
	case !s.allReady():
		return "not every replica is ready"
	case s.leader() == nil:
		return "nobody leads"
	case !s.allowed(t, "alice", "a") || !s.allowed(t, "carol", "c"):
		return "who may is not allowed"
	case !s.refused(t, "bob", "b"):
		return "who may not is not refused"
	}
	if err := s.look(t.Context()); err != nil {
		return err.Error()
	}
	return s.record.unfinished(moment)
}

// look brings the record up to date.
func (s *site) look(ctx context.Context) error {
	children := &metav1.PartialObjectMetadataList{}
	children.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("JobList"))
	runs := &v1alpha1.JobRunList{}
	if err := s.record.follow(s.audit); err != nil { // first: what is written down later is found next time
		return err
	}
	if err := s.admin.List(ctx, runs, client.InNamespace(space)); err != nil {
		return err
	}
	if err := s.admin.List(ctx, children, client.InNamespace(space)); err != nil {
		return err
	}
	s.record.found(runs.Items, children.Items)
	return nil
}

func stateOf(run *v1alpha1.JobRun) string {
	if c := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionSucceeded); c != nil {
		return c.Reason
	}
	return v1alpha1.StatePending
}

// allowed reports whether a user may do all that the owner of a team may.
func (s *site) allowed(t *testing.T, user, team string) bool {
	t.Helper()
	return s.all(t, user, team, ledger.Allowed)
}

// refused reports whether a user may do nothing of it.
func (s *site) refused(t *testing.T, user, team string) bool {
	t.Helper()
	return s.all(t, user, team, ledger.Refused)
}

func (s *site) all(t *testing.T, user, team string, want ledger.Outcome) bool {
	t.Helper()
	for _, q := range s.questions(user, team) {
		if outcomeOf(q.ask(t.Context())) != want {
			return false
		}
	}
	return true
}

// judge checks the invariants at rest, and adds up the row. It tells of each violation once.
func (s *site) judge(t *testing.T, r result, told map[ledger.Violation]bool) result {
	t.Helper()
	for _, v := range append(ledger.Check(s.record.until(r.mended)), s.compare(t)...) {
		if !told[v] {
			told[v] = true
			r.violations++
			t.Errorf("%s: %s", r.name, v)
		}
	}
	r.tally = s.record.between(r.began, r.converged)
	return r
}
