//go:build e2e

package chaos

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
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
	// converges is how soon after a fault everything is to be as it should; a row that takes longer is marked. After carol
	// has her Grant again it takes as long as there are runs of hers to launch.
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
	if len(chosen) == 0 {
		t.Fatalf("no fault matches FAULT=%s", only)
	}
	count(t, "GRANTS", manyGrants) // what is wrong is said now, and not when the row's turn comes
	var tables []table
	for round := range count(t, "ROUNDS", 1) {
		t.Run(fmt.Sprintf("round %d", round+1), func(t *testing.T) { tables = append(tables, play(t, chosen)) })
	}
	for i, table := range tables {
		t.Logf("round %d of %d\n%s", i+1, len(tables), table.text())
	}
	if file := os.Getenv("CHAOS_REPORT"); file != "" {
		report(t, file, tables)
	}
}

// report writes the rounds down if all is as it should be, the times too, which are not asked for elsewhere: they depend
// on what else the machine does.
func report(t *testing.T, file string, tables []table) {
	t.Helper()
	for i, table := range tables {
		for _, r := range table {
			if took := r.converged.Sub(r.mended); took > converges {
				t.Errorf("round %d, %s: converged after %s, want %s", i+1, r.name, took, converges)
			}
		}
	}
	if t.Failed() {
		return
	}
	if err := writeReport(file, tables); err != nil {
		t.Fatal(err)
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
	s.converge(t, end, end, "bob")
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
	returned, over           time.Time // carol's Grant is there again, and all is as before
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
	var from time.Time
	gone := make(chan error, 1)
	go func() {
		err := persist(t.Context(), s.revoke)
		from = time.Now()
		gone <- err
	}()
	time.Sleep(f.lasts)
	if !seen() {
		t.Errorf("%s: nothing has told of it", f.name)
	}
	end()
	r.mended = time.Now()
	if err := <-gone; err != nil {
		t.Fatalf("delete carol's Grant: %v", err)
	}
	absence := ledger.Absence{From: from, Window: f.window}
	r.converged = s.converge(t, r.mended, r.mended, "bob", "carol")
	time.Sleep(max(behind, time.Until(from.Add(f.window+behind)))) // or no request could be wrongly allowed
	absence.Until = time.Now()
	s.record.absent("carol", absence)
	s.insist(t, "give carol her Grant back", func(ctx context.Context) error { return orThere(s.admin.Create(ctx, owned("c"))) })
	r.returned = time.Now()
	r.over = s.converge(t, r.returned, r.returned, "bob")
	s.record.broken(ledger.Outage{From: r.began, Until: r.over.Add(f.after), WrongClock: f.clock})
	return r
}

// revoke deletes carol's Grant. One that is gone already is: the answer to an earlier attempt may have been lost.
func (s *site) revoke(ctx context.Context) error {
	return client.IgnoreNotFound(s.collector.Delete(ctx, owned("c")))
}

// converge waits until everything is as it should be: every replica is ready, one leads, who has a Grant is allowed, who
// has none is refused, and every run from before a moment that may be launched has ended well. It returns when that was.
func (s *site) converge(t *testing.T, since, moment time.Time, without ...string) time.Time {
	t.Helper()
	for {
		waitsFor := s.waitsFor(t, moment, without)
		now := time.Now()
		if waitsFor == "" {
			return now
		}
		if now.Sub(since) > patience {
			s.tell(t, moment, without)
			t.Fatalf("%s after the fault: %s", patience, waitsFor)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// waitsFor says what is not yet as it should be, or nothing.
func (s *site) waitsFor(t *testing.T, moment time.Time, without []string) string {
	t.Helper()
	switch {
	case !s.allReady():
		return "not every replica is ready"
	case s.leader() == nil:
		return "nobody leads"
	}
	for team, owner := range owners {
		if slices.Contains(without, owner) {
			if !s.refused(t, owner, team) {
				return owner + " has no Grant, and is not refused"
			}
		} else if !s.allowed(t, owner, team) {
			return owner + " has a Grant, and is not allowed"
		}
	}
	if err := s.look(t.Context()); err != nil {
		return err.Error()
	}
	if n, name, state := s.record.unfinished(moment, without); n > 0 {
		return fmt.Sprintf("%d runs have not ended: %s is %s", n, name, state)
	}
	return ""
}

// tell writes down what Kubernetes says of a run that has not ended: the cluster is gone when somebody asks.
func (s *site) tell(t *testing.T, moment time.Time, without []string) {
	t.Helper()
	n, name, _ := s.record.unfinished(moment, without)
	if n == 0 {
		return
	}
	uid, err := s.Kubectl(t.Context(), "admin", "get", "jrun", "-n", space, name, "-o", "jsonpath={.metadata.uid}")
	if err != nil {
		t.Log(err)
		return
	}
	for _, of := range [][]string{{"jrun", name}, {"jobs.batch,pods", "-l", v1alpha1.LabelRun + "=" + uid}} {
		text, err := s.Kubectl(t.Context(), "admin", append([]string{"get", "-n", space, "-o", "yaml"}, of...)...)
		t.Logf("kubectl get %s: %v\n%s", strings.Join(of, " "), err, text)
	}
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
	r.tally = s.record.between(r.began, r.over)
	return r
}
