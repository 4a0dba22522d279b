//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

// Sizes of TestScheduleScale, beside SCHEDULED_JOBS, which says how many Jobs have a schedule. A thousandth of
// them is due in an ordinary minute, and burst of them in one.
const (
	burst   = 1000
	idleFor = 30 * time.Second
)

// The bars, for an otherwise idle machine.
const (
	mostIdle    = 0.02             // of a core, while nothing is due
	mostLate    = 2 * time.Second  // p99 of the runs of an ordinary minute
	burstWithin = 30 * time.Second // the last pod of the burst
)

// starts records when the runs and the children of a namespace were seen first.
type starts struct {
	mu   sync.Mutex
	seen map[string]time.Time
}

func (s *starts) record(object metav1.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.seen[object.GetName()]; !known {
		s.seen[object.GetName()] = time.Now()
	}
}

// after are the times since an instant at which objects were seen, the shortest first.
func (s *starts) after(minute time.Time) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var delays []time.Duration
	for _, at := range s.seen {
		if d := at.Sub(minute); d >= 0 {
			delays = append(delays, d)
		}
	}
	slices.Sort(delays)
	return delays
}

// TestScheduleScale measures an operator with 10,000 Jobs with schedules: what it consumes while none is due,
// how late ten runs of a minute are, and how long it takes to launch a thousand that are due at once. It asserts
// that no Job is a reason to ask the API server while nothing is due, one run for each due time, and the bars; the times
// are for docs/architecture.md.
func TestScheduleScale(t *testing.T) {
	const ns = "scale"
	n := number(t, "SCHEDULED_JOBS", burst, "bench-schedule")
	cluster, c, binary := start(t, "--kwok-nodes=10")
	create(t, c, namespace(ns), jobACL("all", ns, ""), grant("alice", "all", "alice"))
	// Far away, and each at a minute of its own.
	createAll(t, c, n, func(i int) client.Object {
		j := job(ns, jobName(i), "alice", v1alpha1.StartOnDemand)
		j.Spec.Schedules = []v1alpha1.Schedule{{ID: "s", Cron: fmt.Sprintf("%d %d %d 1 * 2099", i%60, i/60%24, 1+i%28), Timezone: "Europe/Berlin"}}
		return j
	})
	operator := cluster.RunOperator(t, binary)
	defer operator.Stop()
	harness.Eventually(t, 10*time.Minute, func() string { return unscheduled(t, c, ns) })
	settle(t, operator, 5*time.Minute, 2*time.Second, 1)
	beIdle(t, operator, n)

	runs, children := &starts{seen: map[string]time.Time{}}, &starts{seen: map[string]time.Time{}}
	follow(t, cluster, v1alpha1.GroupVersion.WithKind("JobRun"), ns, runs.record)
	follow(t, cluster, corev1.SchemeGroupVersion.WithKind("Pod"), ns, children.record)
	for _, due := range []int{max(n/1000, 10), burst} {
		minute := makeDue(t, c, ns, due)
		time.Sleep(time.Until(minute.Add(-2 * time.Second)))
		before := calls(t, operator)
		harness.Eventually(t, 5*time.Minute, func() string {
			if got := len(children.after(minute)); got < due {
				return fmt.Sprintf("%d of %d due runs have a pod", got, due)
			}
			return ""
		})
		made, launched := runs.after(minute), children.after(minute)
		if len(made) != due {
			t.Errorf("%d runs for %d due times", len(made), due)
		}
		t.Logf("%d due in one minute: runs seen after %s (median), %s (p99) and %s (last), pods after %s, %s and %s; %.1f API calls for each",
			due, at(made, 50), at(made, 99), at(made, 100), at(launched, 50), at(launched, 99), at(launched, 100), (calls(t, operator)-before)/float64(due))
		if due < burst && at(made, 99) > mostLate {
			t.Errorf("the runs of an ordinary minute are %s late, want %s", at(made, 99), mostLate)
		}
		if due == burst && at(launched, 100) > burstWithin {
			t.Errorf("the last of %d is launched after %s, want %s", due, at(launched, 100), burstWithin)
		}
	}
}

// at is a percentile of sorted times.
func at(sorted []time.Duration, percent int) time.Duration {
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)].Round(time.Millisecond)
}

// unscheduled says how many Jobs do not tell when they run next.
func unscheduled(t *testing.T, c client.Client, ns string) string {
	t.Helper()
	jobs := &v1alpha1.JobList{}
	if err := c.List(t.Context(), jobs, client.InNamespace(ns)); err != nil {
		return err.Error()
	}
	missing := 0
	for i := range jobs.Items {
		if jobs.Items[i].Status.NextRunAt == nil {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Sprintf("%d Jobs without a next run", missing)
	}
	return ""
}

// settle waits until the operator has nothing more to do: until it makes no more than so many API calls in a while. It
// asks the operator: a list of everything, again and again, is what would keep the API server from its work.
func settle(t *testing.T, o *harness.Operator, within, while time.Duration, heartbeats float64) {
	t.Helper()
	last := calls(t, o)
	harness.Eventually(t, within, func() string {
		time.Sleep(while)
		now := calls(t, o)
		made := now - last
		last = now
		if made > heartbeats {
			return fmt.Sprintf("%.0f API calls in %s", made, while)
		}
		return ""
	})
}

// beIdle measures an operator for which nothing is due.
func beIdle(t *testing.T, o *harness.Operator, jobs int) {
	t.Helper()
	cpu, asked := counter(t, o, "process_cpu_seconds_total"), calls(t, o)
	time.Sleep(idleFor)
	used, made := counter(t, o, "process_cpu_seconds_total")-cpu, calls(t, o)-asked
	if share := used / idleFor.Seconds(); share > mostIdle {
		t.Errorf("%.2f%% of a core while nothing is due, want %.0f%%", 100*share, 100*mostIdle)
	}
	t.Logf("idle with %d Jobs: %.2f%% of a core, %.0f API calls in %s, %.0f MiB resident",
		jobs, 100*used/idleFor.Seconds(), made, idleFor, gauge(t, o, "process_resident_memory_bytes")/(1<<20))
	// The heartbeats alone, which are as many for a single Job: of the leader, of the replica, of the view's age.
	if most := 2 * idleFor.Seconds(); made > most {
		t.Errorf("%.0f API calls while nothing is due, more than %.0f", made, most)
	}
}

func counter(t *testing.T, o *harness.Operator, name string) float64 {
	t.Helper()
	families, err := o.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	return families[name].GetMetric()[0].GetCounter().GetValue()
}

// makeDue gives the first of the Jobs a schedule for one minute of today, early enough that all are known by
// then, and returns the minute.
func makeDue(t *testing.T, c client.Client, ns string, due int) time.Time {
	t.Helper()
	minute := time.Now().Add(time.Minute + time.Duration(due)*50*time.Millisecond).Truncate(time.Minute).Add(time.Minute).UTC()
	cron := fmt.Sprintf("%d %d %d %d * %d", minute.Minute(), minute.Hour(), minute.Day(), minute.Month(), minute.Year())
	patch := fmt.Appendf(nil, `{"spec":{"schedules":[{"id":"s","cron":%q}]}}`, cron)
	forAll(t, due, func(i int) error {
		j := &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: jobName(i)}}
		return c.Patch(t.Context(), j, client.RawPatch(types.MergePatchType, patch))
	})
	if time.Until(minute) < 5*time.Second {
		t.Fatal("this machine is too slow to change the Jobs in time")
	}
	return minute
}
