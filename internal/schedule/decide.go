package schedule

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// defaultStartingDeadline is how late a run may start if its schedule does not say. It is Metronome's.
const defaultStartingDeadline = 900 * time.Second

// furthestBack is how far a clock may be set back for the times that were dealt with to stay so. It bounds
// how long a schedule waits for a clock that was wrong: times beyond it count from now again.
const furthestBack = time.Hour

// Input is everything that a plan is made from.
type Input struct {
	Job *v1alpha1.Job
	// Runs are the Job's, Unfinished those of them that have not ended.
	Runs, Unfinished []*v1alpha1.JobRun
	// Held says that the owner's grants allow no launch now.
	Held bool
	Now  time.Time
}

// Plan is what the schedules of a Job ask for.
type Plan struct {
	// Stop are the runs that others replace. They are stopped first.
	Stop []*v1alpha1.JobRun
	// Start are the runs to create, in the order of spec.schedules: at most one for each schedule.
	Start []Start
	// Status is what to remember once the runs are created.
	Status []v1alpha1.ScheduleStatus
	// Next is when to look again; zero if no time is to come.
	Next time.Time
}

// Start is a run to create for a time of a schedule.
type Start struct {
	Schedule *v1alpha1.Schedule
	At       time.Time
}

// Decide says which times of a Job's schedules have come since they were last dealt with. However many have,
// a schedule starts one run at the most: for the latest, if its starting deadline has not passed.
//
// What was dealt with is remembered in status, and nowhere else: a run that was deleted is not created again.
func Decide(in Input) Plan {
	plan := Plan{}
	for i := range in.Job.Spec.Schedules {
		s := &in.Job.Spec.Schedules[i]
		status := remembered(in.Job, s.ID)
		status.NextRunAt = nil
		if parsed, err := Parse(s.Cron, s.Timezone); err != nil || !isEnabled(s) {
			status.Cron, status.Timezone, status.HandledUntil = "", "", nil
		} else {
			plan.follow(in, s, parsed, &status)
		}
		plan.Status = append(plan.Status, status)
	}
	return plan
}

func isEnabled(s *v1alpha1.Schedule) bool { return s.Enabled == nil || *s.Enabled }

// remembered is what the status says about a schedule.
func remembered(job *v1alpha1.Job, id string) v1alpha1.ScheduleStatus {
	for i := range job.Status.Schedules {
		if job.Status.Schedules[i].ID == id {
			return *job.Status.Schedules[i].DeepCopy()
		}
	}
	return v1alpha1.ScheduleStatus{ID: id}
}

// follow deals with the times of a schedule that have come.
func (p *Plan) follow(in Input, s *v1alpha1.Schedule, parsed *Cron, status *v1alpha1.ScheduleStatus) {
	handled := handledUntil(in, s, status)
	status.Cron, status.Timezone = s.Cron, s.Timezone
	status.HandledUntil = &metav1.Time{Time: handled}
	if in.Job.Spec.Suspend {
		return // what comes meanwhile is missed
	}
	if due := parsed.Latest(handled, in.Now); !due.IsZero() {
		if missed := parsed.Latest(handled, due.Add(-time.Second)); !missed.IsZero() {
			status.LastSkipped = &v1alpha1.SkippedTime{At: metav1.Time{Time: missed}, Reason: v1alpha1.SkipMissed}
		}
		if skipped := p.skipReason(in, s, due); skipped != "" {
			status.LastSkipped = &v1alpha1.SkippedTime{At: metav1.Time{Time: due}, Reason: skipped}
		} else {
			p.start(in, s, due)
			status.LastScheduledAt = &metav1.Time{Time: due}
		}
		handled = due
		status.HandledUntil = &metav1.Time{Time: handled}
	}
	if next := parsed.Next(later(handled, in.Now)); !next.IsZero() {
		status.NextRunAt = &metav1.Time{Time: next}
		if p.Next.IsZero() || next.Before(p.Next) {
			p.Next = next
		}
	}
}

// handledUntil is the time up to which a schedule was dealt with. A schedule that is new, was changed or was
// enabled has no times before that: nobody knows when it was written, so it counts from now. But for those
// of a new Job: they count from its creation.
func handledUntil(in Input, s *v1alpha1.Schedule, status *v1alpha1.ScheduleStatus) time.Time {
	now := in.Now.Truncate(time.Second)
	switch known := status.HandledUntil; {
	case known != nil && status.Cron == s.Cron && status.Timezone == s.Timezone:
		if known.Time.After(now.Add(furthestBack)) {
			return now
		}
		return known.Time.UTC()
	case in.Job.Status.ObservedGeneration <= 0 && in.Job.Generation <= 1 && in.Job.CreationTimestamp.Time.Before(now):
		return in.Job.CreationTimestamp.Time.UTC()
	default:
		return now.UTC()
	}
}

// skipReason says why no run is to be created for a time that has come; empty if one is. One that is there
// already is to be created: it was, before somebody could write that down.
func (p *Plan) skipReason(in Input, s *v1alpha1.Schedule, due time.Time) v1alpha1.SkipReason {
	name := batchjob.ScheduledRunName(in.Job, s.ID, due)
	isThis := func(run *v1alpha1.JobRun) bool { return run.Name == name }
	switch {
	case slices.ContainsFunc(in.Runs, isThis):
		return ""
	case in.Now.After(due.Add(StartingDeadline(s))):
		return v1alpha1.SkipDeadlineExceeded
	case policyOf(s) == v1alpha1.ConcurrencyForbid && len(in.Unfinished)+len(p.Start) > 0:
		return v1alpha1.SkipRunActive
	case in.Held && slices.ContainsFunc(in.Unfinished, func(run *v1alpha1.JobRun) bool { return waitsFor(run, s) }):
		return v1alpha1.SkipRunWaiting
	default:
		return ""
	}
}

// start plans a run, and the end of those that it replaces. Runs of one moment do not replace each other, and
// one that can't be launched replaces none.
func (p *Plan) start(in Input, s *v1alpha1.Schedule, due time.Time) {
	p.Start = append(p.Start, Start{Schedule: s, At: due})
	if policyOf(s) != v1alpha1.ConcurrencyReplace || in.Held {
		return
	}
	name := batchjob.ScheduledRunName(in.Job, s.ID, due)
	for _, run := range in.Unfinished {
		if run.Name != name && !slices.Contains(p.Stop, run) {
			p.Stop = append(p.Stop, run)
		}
	}
}

// waitsFor says whether a run of a schedule was not launched yet.
func waitsFor(run *v1alpha1.JobRun, s *v1alpha1.Schedule) bool {
	return run.Spec.Trigger == v1alpha1.TriggerSchedule && run.Spec.Schedule == s.ID && run.Status.Child == nil
}

// StartingDeadline is how long after its time a run of a schedule may be launched.
func StartingDeadline(s *v1alpha1.Schedule) time.Duration {
	if s.StartingDeadlineSeconds == nil {
		return defaultStartingDeadline
	}
	return time.Duration(*s.StartingDeadlineSeconds) * time.Second
}

// policyOf reads both spellings of a concurrency policy.
func policyOf(s *v1alpha1.Schedule) v1alpha1.ConcurrencyPolicy {
	switch strings.ToUpper(string(s.ConcurrencyPolicy)) {
	case "FORBID":
		return v1alpha1.ConcurrencyForbid
	case "REPLACE":
		return v1alpha1.ConcurrencyReplace
	default:
		return v1alpha1.ConcurrencyAllow
	}
}
