//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/test/harness"
)

// schedules is how many schedules fire in each minute: half of them two in one Job.
const schedules = 50

// scheduleMinutes is for how many minutes the schedules fire. SCHEDULE_MINUTES overrides it.
func scheduleMinutes(t *testing.T) int {
	t.Helper()
	text := os.Getenv("SCHEDULE_MINUTES")
	if text == "" {
		return 2
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("SCHEDULE_MINUTES=%q is not a number of at least 1", text)
	}
	return n
}

func minutely(ns, name string, ids ...string) *v1alpha1.Job {
	keep := int32(1000)
	j := job(ns, name, "alice", v1alpha1.StartOnDemand)
	j.Spec.Run.Cmd = "true"
	j.Spec.SuccessfulRunsHistoryLimit, j.Spec.FailedRunsHistoryLimit = &keep, &keep
	for _, id := range ids {
		j.Spec.Schedules = append(j.Spec.Schedules, v1alpha1.Schedule{ID: id, Cron: "* * * * *"})
	}
	return j
}

// minutelyJobs creates the Jobs of the schedules, and returns them.
func minutelyJobs(t *testing.T, c client.Client, ns string) []*v1alpha1.Job {
	t.Helper()
	var jobs []*v1alpha1.Job
	for n := 0; n < schedules; {
		ids := []string{"a"}
		if n < schedules/2 {
			ids = append(ids, "b")
		}
		n += len(ids)
		jobs = append(jobs, minutely(ns, fmt.Sprintf("team-a.j%d", n), ids...))
	}
	for _, j := range jobs {
		create(t, c, j)
	}
	return jobs
}

// runLedger records every JobRun that there ever was in a namespace, those that were deleted since included:
// by its name, the UIDs that it has had.
type runLedger struct {
	mu   sync.Mutex
	runs map[string]map[string]bool
}

func (l *runLedger) record(run metav1.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs[run.GetName()] == nil {
		l.runs[run.GetName()] = map[string]bool{}
	}
	l.runs[run.GetName()][string(run.GetUID())] = true
}

// of is how many runs of a name there have been, and whether there is one.
func (l *runLedger) of(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.runs[name])
}

// missing are the runs that a minute lacks.
func (l *runLedger) missing(jobs []*v1alpha1.Job, minute time.Time) (names []string) {
	for _, j := range jobs {
		for _, s := range j.Spec.Schedules {
			if name := batchjob.ScheduledRunName(j, s.ID, minute); l.of(name) == 0 {
				names = append(names, name)
			}
		}
	}
	return names
}

// checkMinutes checks that each minute has one run of each schedule, that each of those has had one child, and
// that there is no other run.
func checkMinutes(t *testing.T, c client.Client, ns string, jobs []*v1alpha1.Job, runs *runLedger, children *ledger, first, last time.Time) {
	t.Helper()
	want := map[string]bool{}
	for minute := first; !minute.After(last); minute = minute.Add(time.Minute) {
		for _, j := range jobs {
			for _, s := range j.Spec.Schedules {
				name := batchjob.ScheduledRunName(j, s.ID, minute)
				want[name] = true
				if n := runs.of(name); n != 1 {
					t.Errorf("schedule %s of %s has had %d runs at %s, want 1", s.ID, j.Name, n, minute.Format(time.TimeOnly))
				}
			}
		}
	}
	runs.mu.Lock()
	for name := range runs.runs {
		if !want[name] && !nearby(name, first, last) {
			t.Errorf("there is a run %s for no minute of the test", name)
		}
	}
	runs.mu.Unlock()
	list := &v1alpha1.JobRunList{}
	harness.Eventually(t, time.Minute, func() string {
		if err := c.List(t.Context(), list, client.InNamespace(ns)); err != nil {
			return err.Error()
		}
		for _, r := range list.Items {
			if n := children.of(r.UID); want[r.Name] && n != 1 {
				return fmt.Sprintf("run %s has had %d children, want 1", r.Name, n)
			}
		}
		return ""
	})
}

// nearby says whether a run is for a minute just before the first or just after the last one that counts: the
// operator may start before the first, and the test ends within a minute.
func nearby(name string, first, last time.Time) bool {
	for _, minute := range []time.Time{
		first.Add(-2 * time.Minute), first.Add(-time.Minute), last.Add(time.Minute), last.Add(2 * time.Minute),
	} {
		if strings.Contains(name, "-"+minute.UTC().Format("200601021504")+"-") {
			return true
		}
	}
	return false
}

// TestKilledScheduler kills the operator at random moments while 50 schedules fire every minute: each minute has
// one run of each schedule, no more and no fewer. A time that is missed altogether is not made up for, so that
// each minute has one moment in which the operator is left alone until it has done its work; every kill before
// that, and every one after it, may come at any point.
func TestKilledScheduler(t *testing.T) {
	const ns = "schedule"
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cluster, c, binary := start(t, "--kwok-nodes=5")
	create(t, c, namespace(ns), jobACL("team-a", ns, "team-a"), grant("alice", "team-a", "alice"))
	runs := &runLedger{runs: map[string]map[string]bool{}}
	follow(t, cluster, v1alpha1.GroupVersion.WithKind("JobRun"), ns, runs.record)
	children := keepLedger(t, cluster, ns)
	jobs := minutelyJobs(t, c, ns)

	first := nextMinute()
	last := first.Add(time.Duration(scheduleMinutes(t)-1) * time.Minute)
	kills := 0
	for minute := first; !minute.After(last); minute = minute.Add(time.Minute) {
		for time.Now().Before(minute.Add(40 * time.Second)) {
			killSomewhere(t, cluster, binary, random)
			kills++
		}
		operator := cluster.RunOperator(t, binary)
		harness.Eventually(t, 15*time.Second, func() string {
			if missing := runs.missing(jobs, minute); len(missing) > 0 {
				return fmt.Sprintf("%d runs of %s, such as %s", len(missing), minute.Format(time.TimeOnly), missing[0])
			}
			return ""
		})
		operator.Kill()
	}
	operator := cluster.RunOperator(t, binary)
	defer operator.Stop()
	checkMinutes(t, c, ns, jobs, runs, children, first, last)
	t.Logf("%d kills in %d minutes; %d runs launched, each once", kills, scheduleMinutes(t), children.runs())
}

// killSomewhere runs the operator for up to eight seconds, and kills it: often before it is ready.
func killSomewhere(t *testing.T, cluster *harness.Cluster, binary string, random *rand.Rand) {
	t.Helper()
	operator, err := cluster.StartOperator(t.Context(), binary)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(random.Int64N(int64(8 * time.Second))))
	operator.Kill()
}

// nextMinute is the next full minute that is not too close.
func nextMinute() time.Time {
	return time.Now().Add(5 * time.Second).Truncate(time.Minute).Add(time.Minute)
}

// TestTwoSchedulers lets two operators both believe that they lead, while runs end and are deleted:
// no schedule has two runs for one minute.
func TestTwoSchedulers(t *testing.T) {
	const ns = "schedule"
	cluster, c, binary := start(t, "--kwok-nodes=5")
	create(t, c, namespace(ns), jobACL("team-a", ns, "team-a"), grant("alice", "team-a", "alice"))
	runs := &runLedger{runs: map[string]map[string]bool{}}
	follow(t, cluster, v1alpha1.GroupVersion.WithKind("JobRun"), ns, runs.record)
	children := keepLedger(t, cluster, ns)
	jobs := minutelyJobs(t, c, ns)
	for range 2 {
		operator := cluster.RunOperator(t, binary)
		defer operator.Stop()
	}
	first := nextMinute()
	last := first.Add(time.Duration(scheduleMinutes(t)-1) * time.Minute)
	for minute := first; !minute.After(last); minute = minute.Add(time.Minute) {
		harness.Eventually(t, time.Until(minute)+30*time.Second, func() string {
			if missing := runs.missing(jobs, minute); len(missing) > 0 {
				return fmt.Sprintf("%d runs of %s", len(missing), minute.Format(time.TimeOnly))
			}
			return ""
		})
		// A third of them goes, so that only what the operators remember keeps it from coming again. Not at once:
		// a run that goes before its time is recorded can be created again by the other operator (limitations).
		time.Sleep(5 * time.Second)
		deleteSome(t, c, ns, minute)
	}
	time.Sleep(time.Until(last.Add(30 * time.Second))) // what must not come had time to
	checkMinutes(t, c, ns, jobs, runs, children, first, last)
}

func deleteSome(t *testing.T, c client.Client, ns string, minute time.Time) {
	t.Helper()
	list := &v1alpha1.JobRunList{}
	if err := c.List(t.Context(), list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		r := &list.Items[i]
		if i%3 == 0 && r.Spec.ScheduledAt.Time.Equal(minute) {
			if err := c.Delete(context.WithoutCancel(t.Context()), r); client.IgnoreNotFound(err) != nil {
				t.Fatal(err)
			}
		}
	}
}
