package schedule

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// simulation plays an operator that looks at a Job when it is due, for a month. What the operator's clock
// shows may differ from the time that passes.
type simulation struct {
	t     *testing.T
	job   *v1alpha1.Job
	now   time.Time     // that passes
	wrong time.Duration // what the clock shows more than that
	// created are all runs that there ever were, by their names.
	created map[string]time.Time
	starts  []started
}

type started struct {
	schedule   string
	time, seen time.Time // the time it is for, and what the clock showed
}

func newSimulation(t *testing.T) *simulation {
	t.Helper()
	begin := time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)
	deadline := int64(3600)
	return &simulation{
		t: t, now: begin, created: map[string]time.Time{},
		job: &v1alpha1.Job{
			ObjectMeta: metav1.ObjectMeta{Name: "dev.batch", UID: "job-uid", Generation: 1, CreationTimestamp: metav1.Time{Time: begin}},
			Spec: v1alpha1.JobSpec{Schedules: []v1alpha1.Schedule{
				{ID: "five", Cron: "*/5 * * * *"},
				{ID: "nightly", Cron: "30 2 * * *", Timezone: "Europe/Berlin", StartingDeadlineSeconds: &deadline},
				{ID: "workdays", Cron: "0 9 * * 1-5", Timezone: "America/New_York"},
			}},
			Status: v1alpha1.JobStatus{ObservedGeneration: -1},
		},
	}
}

// look is one reconcile. It stops short of writing the status if the operator is killed there.
func (s *simulation) look(killed bool) Plan {
	s.t.Helper()
	shown := s.now.Add(s.wrong)
	plan := Decide(Input{Job: s.job, Now: shown})
	perSchedule := map[string]int{}
	for _, start := range plan.Start {
		perSchedule[start.Schedule.ID]++
		name := batchjob.ScheduledRunName(s.job, start.Schedule.ID, start.At)
		if _, exists := s.created[name]; exists {
			continue // AlreadyExists
		}
		s.created[name] = start.At
		s.starts = append(s.starts, started{start.Schedule.ID, start.At, shown})
		if late := shown.Sub(start.At); late < 0 || late > StartingDeadline(start.Schedule) {
			s.t.Errorf("%s starts for %s when it is %s", start.Schedule.ID, start.At, shown)
		}
	}
	for id, n := range perSchedule {
		if n > 1 {
			s.t.Errorf("%s starts %d runs at once", id, n)
		}
	}
	if !killed {
		s.job.Status.Schedules, s.job.Status.ObservedGeneration = plan.Status, s.job.Generation
	}
	return plan
}

// pass lets time go by, with an operator that looks whenever its clock shows that something is due.
func (s *simulation) pass(d time.Duration) {
	s.t.Helper()
	for end := s.now.Add(d); s.now.Before(end); {
		plan := s.look(false)
		next := end
		if !plan.Next.IsZero() && plan.Next.Add(-s.wrong).Before(end) {
			next = plan.Next.Add(-s.wrong)
		}
		s.now = later(next, s.now.Add(time.Second))
	}
}

// expect compares the starts since the last time with how many there should be for each schedule.
func (s *simulation) expect(what string, five, nightly, workdays int) {
	s.t.Helper()
	got := map[string]int{}
	for _, start := range s.starts {
		got[start.schedule]++
	}
	want := map[string]int{"five": five, "nightly": nightly, "workdays": workdays}
	for id, n := range want {
		if got[id] != n {
			s.t.Errorf("%s: %s has started %d times, want %d", what, id, got[id], n)
		}
	}
	s.starts = nil
}

// A month in which an operator is down, the clock jumps and the Job is suspended.
func TestDecide_aMonth(t *testing.T) {
	t.Parallel()
	s := newSimulation(t)
	s.pass(7*24*time.Hour - time.Second) // from a Sunday: the first five minutes are in the creation's second
	s.expect("a week", 7*24*12-1, 7, 5)

	s.now = s.now.Add(7 * time.Hour) // down until 07:00 of Sunday, past 01:30 by more than an hour
	s.look(false)
	s.expect("after it was down: one is made up for, none past its deadline", 1, 0, 0)
	s.pass(17 * time.Hour)
	s.expect("the rest of the day", 17*12, 0, 0)

	s.now = s.now.Add(2 * time.Hour) // down past 01:30 by half an hour
	s.look(false)
	s.expect("within its deadline", 1, 1, 0)
	s.pass(22 * time.Hour)
	s.expect("Monday", 22*12, 0, 1)

	s.wrong = 3 * time.Hour // the clock is set forward
	s.look(false)
	s.expect("forward by three hours", 1, 0, 0)
	s.pass(time.Hour)
	s.expect("an hour at the wrong time", 12, 0, 0)
	s.wrong = 2*time.Hour + 15*time.Minute // and back by 45 minutes: what it showed before is not shown again
	s.pass(45 * time.Minute)
	s.expect("back by less than an hour: it waits", 0, 0, 0)
	s.wrong = 0 // and back by hours: times count from then, and those that ran do not run again
	s.pass(4 * time.Hour)
	s.expect("back for good: four hours, of which one had come before", 4*12-13, 0, 0)

	s.pass(20*time.Hour + 15*time.Minute - time.Second)
	s.starts = nil
	s.job.Spec.Suspend, s.job.Generation = true, 2
	s.pass(3 * 24 * time.Hour)
	s.expect("suspended", 0, 0, 0)
	s.job.Spec.Suspend, s.job.Generation = false, 3
	s.look(false)
	s.expect("resumed, half an hour after 01:30: one run at the most for each", 1, 1, 0)

	for s.now.Before(time.Date(2026, time.April, 1, 0, 0, 0, 0, time.UTC)) {
		s.pass(24 * time.Hour)
	}
	for name, at := range s.created {
		if at.Before(time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s is for a time before the Job", name)
		}
	}
}

// An operator that is killed at random moments, between the runs and the status as well, starts every time
// once that it was there for within its deadline.
func TestDecide_killedAtRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 0))
			s := newSimulation(t)
			end := s.now.Add(5 * 24 * time.Hour)
			for s.now.Before(end) {
				plan := s.look(random.IntN(3) == 0)
				if random.IntN(2) == 0 { // killed: back within four minutes, so that no two times pass
					s.now = s.now.Add(time.Duration(random.Int64N(int64(4 * time.Minute))))
					continue
				}
				s.now = later(plan.Next, s.now.Add(time.Second))
			}
			five := 0
			for _, start := range s.starts {
				if start.schedule == "five" {
					five++
				}
			}
			due := int(s.starts[len(s.starts)-1].time.Sub(s.job.CreationTimestamp.Time) / (5 * time.Minute))
			if five != due {
				t.Errorf("%d runs for %d times", five, due)
			}
		})
	}
}
