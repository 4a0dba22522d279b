package controllers

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/schedule"
)

// followSchedules plans the runs whose time has come. Not to know what the grants allow is like not being there: nothing
// is created, replaced or passed over, and the times since then are dealt with once that is known.
func (p *jobPlan) followSchedules(in jobInput) {
	if in.Verdict.Reason == v1alpha1.ReasonPolicyNotSynced {
		p.Schedules = in.Job.Status.Schedules
		if next := in.Job.Status.NextRunAt; next != nil && next.After(in.Now) {
			p.NextRun = next.Time
		}
		return
	}
	asked := schedule.Input{
		Job: in.Job, Unfinished: in.unfinished(), Now: in.Now, Held: !in.Verdict.Allowed,
	}
	for i := range in.Runs {
		asked.Runs = append(asked.Runs, &in.Runs[i])
	}
	decided := schedule.Decide(asked)
	p.Stop, p.Schedules, p.NextRun = decided.Stop, decided.Status, decided.Next
	for _, start := range decided.Start {
		p.Due = append(p.Due, scheduledRun(in.Job, start))
	}
}

// scheduledRun is the one run that a time of a schedule can have.
func scheduledRun(job *v1alpha1.Job, start schedule.Start) *v1alpha1.JobRun {
	deadline := int64(schedule.StartingDeadline(start.Schedule).Seconds())
	return &v1alpha1.JobRun{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: job.Namespace, Name: batchjob.ScheduledRunName(job, start.Schedule.ID, start.At), Labels: batchjob.RunLabels(job),
		},
		Spec: v1alpha1.JobRunSpec{
			Job: job.Name, Trigger: v1alpha1.TriggerSchedule, Schedule: start.Schedule.ID,
			ScheduledAt: &metav1.Time{Time: start.At}, StartingDeadlineSeconds: &deadline,
		},
	}
}

// unfinished are the Job's runs that have not ended and are to stay.
func (in jobInput) unfinished() []*v1alpha1.JobRun {
	var runs []*v1alpha1.JobRun
	for i := range in.Runs {
		if run := &in.Runs[i]; !isFinished(run) && run.DeletionTimestamp.IsZero() {
			runs = append(runs, run)
		}
	}
	return runs
}
