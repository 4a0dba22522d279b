package controllers

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/conditions"
)

// jobInput is everything that a Job's plan is made from.
type jobInput struct {
	Job  *v1alpha1.Job
	Runs []v1alpha1.JobRun
	// Jobs are those that the Job depends on, be it by way of others, by their names.
	Jobs    map[string]*v1alpha1.Job
	Verdict verdict
	// Invalid says why the Job can't be launched or does not run by itself.
	Invalid field.ErrorList
	Now     time.Time
}

// jobPlan is what to do for a Job.
type jobPlan struct {
	// Create is the run that the Job's creation brings about, or nil.
	Create *v1alpha1.JobRun
	// Stop are the runs that those of Due replace.
	Stop []*v1alpha1.JobRun
	// Due are the runs that schedules and dependencies bring about.
	Due []*v1alpha1.JobRun
	// Schedules and Dependencies are what to remember once those are created.
	Schedules    []v1alpha1.ScheduleStatus
	Dependencies *v1alpha1.DependencyStatus
	// NextRun is when a schedule has its next time; zero if none has.
	NextRun time.Time
	// Wake is when to look at the Job again: then, or when a run has been kept for long enough. Zero is never.
	Wake time.Time
	// Delete are the finished runs beyond the history limits, oldest first.
	Delete []v1alpha1.JobRun
}

// planJob decides which runs to create and delete. It is pure.
func planJob(in jobInput) jobPlan {
	plan := jobPlan{}
	if creationIsDue(in) {
		plan.Create = creationRun(in.Job)
	}
	plan.followSchedules(in)
	plan.followDependencies(in)
	plan.limitHistory(in)
	return plan
}

// creationIsDue says whether the Job's creation still has to bring a run about. A Job that was accepted
// without one, as OnDemand, does not get one by being edited: it is not created then. Status is read here
// because nothing else remembers; the run may have been deleted since.
func creationIsDue(in jobInput) bool {
	return effectiveStartPolicy(in.Job) == v1alpha1.StartOnCreate && len(in.Invalid) == 0 &&
		in.Job.Status.CreationRun == "" && in.Job.Status.FirstAcceptedGeneration == 0
}

// effectiveStartPolicy resolves an unset start policy.
func effectiveStartPolicy(job *v1alpha1.Job) v1alpha1.StartPolicy {
	switch {
	case job.Spec.StartPolicy != "":
		return job.Spec.StartPolicy
	case len(job.Spec.Schedules) == 0 && len(job.Spec.Dependencies) == 0:
		return v1alpha1.StartOnCreate
	default:
		return v1alpha1.StartOnDemand
	}
}

// creationRun is the one run that a Job's creation can have: its name follows from the Job's UID.
func creationRun(job *v1alpha1.Job) *v1alpha1.JobRun {
	return &v1alpha1.JobRun{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: job.Namespace, Name: batchjob.CreationRunName(job), Labels: batchjob.RunLabels(job),
		},
		Spec: v1alpha1.JobRunSpec{Job: job.Name, Trigger: v1alpha1.TriggerCreation},
	}
}

// setJobStatus writes what was found and planned into the status of a Job.
func setJobStatus(job *v1alpha1.Job, in jobInput, plan jobPlan) {
	status := &job.Status
	status.ObservedGeneration = job.Generation
	conditions.Summarize(&status.Conditions, conditions.Summary(jobReady(in)), job.Generation, in.Now)
	setReport(&status.Conditions, v1alpha1.ConditionAuthorized, authorizedReport(in.Verdict), job.Generation, in.Now)
	status.Grant = in.Verdict.Grant

	if len(in.Invalid) == 0 && status.FirstAcceptedGeneration == 0 {
		status.FirstAcceptedGeneration = job.Generation
	}

	if plan.Create != nil {
		status.CreationRun = plan.Create.Name
	}
	status.Schedules, status.NextRunAt = plan.Schedules, optionalTime(plan.NextRun)
	status.Dependencies = plan.Dependencies
	summarizeRuns(status, plan.runsAfter(in), in)
	countRuns(status, in.Runs)
}

// runsAfter are the Job's runs once the plan is carried out, as far as its summary is concerned.
func (p jobPlan) runsAfter(in jobInput) []v1alpha1.JobRun {
	runs := slices.DeleteFunc(slices.Clone(in.Runs), func(run v1alpha1.JobRun) bool {
		return slices.ContainsFunc(p.Stop, func(stopped *v1alpha1.JobRun) bool { return stopped.UID == run.UID })
	})
	created := p.Due
	if p.Create != nil {
		created = append([]*v1alpha1.JobRun{p.Create}, created...)
	}
	for _, c := range created {
		if !slices.ContainsFunc(runs, func(run v1alpha1.JobRun) bool { return run.Name == c.Name }) {
			runs = append(runs, *c)
		}
	}
	return runs
}

func optionalTime(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &metav1.Time{Time: t}
}

// jobReady says whether the definition is accepted. The first rule that applies is reported.
func jobReady(in jobInput) report {
	bad := func(reason, message string) report {
		return report{Status: metav1.ConditionFalse, Reason: reason, Message: message, Stalled: true}
	}
	switch {
	case len(in.Invalid) > 0:
		return bad(v1alpha1.ReasonSpecInvalid, invalidMessage(in.Invalid))
	case in.Verdict.Reason == v1alpha1.ReasonOwnerMissing:
		return bad(v1alpha1.ReasonOwnerMissing, in.Verdict.Message)
	default:
		return report{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonAccepted, Message: "The definition is accepted"}
	}
}

// invalidMessage is every reason why a Job can't be launched, each once.
func invalidMessage(errs field.ErrorList) string {
	var reasons []string
	for _, err := range errs {
		if reason := err.Error(); !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	return strings.Join(reasons, "; ")
}

// summarizeRuns counts and dates the runs. The times of the last success and failure outlive their runs.
func summarizeRuns(status *v1alpha1.JobStatus, runs []v1alpha1.JobRun, in jobInput) {
	status.ActiveRuns = 0
	var last *v1alpha1.JobRun
	for i := range runs {
		run := &runs[i]
		if last == nil || newer(run, last) {
			last = run
		}
		switch {
		case !isFinished(run):
			status.ActiveRuns++
		case runState(run) == v1alpha1.StateSuccess:
			status.LastSuccessAt = later(status.LastSuccessAt, run.Status.FinishedAt)
		default:
			status.LastFailureAt = later(status.LastFailureAt, run.Status.FinishedAt)
		}
	}
	// A run that has ended stays the last one when the history drops it, and older ones are left.
	known := status.LastRun
	dropped := last != nil && known != nil && known.FinishedAt != nil && last.CreationTimestamp.Before(known.CreatedAt)
	if last != nil && !dropped {
		status.LastRun = &v1alpha1.RunSummary{
			Name: last.Name, State: summaryState(last, in), UID: last.UID,
			CreatedAt: optionalTime(last.CreationTimestamp.Time), FinishedAt: last.Status.FinishedAt, Message: summaryMessage(last, in),
		}
	}
}

// summaryState is the state of a run as its Job tells it. A run that is being launched counts as Active,
// from the moment in which nothing holds it back: the Job's status is then written once for a launch, and
// not once for each step of it. The run itself tells every step.
func summaryState(run *v1alpha1.JobRun, in jobInput) string {
	state := runState(run)
	launching := succeeded(run) == nil && in.Verdict.Allowed && !in.Job.Spec.Suspend && len(in.Invalid) == 0
	if launching || state == v1alpha1.StateStarting {
		return v1alpha1.StateActive
	}
	return state
}

// summaryMessage is why the latest run is not at work, or how it failed. What it does while it is at work is told by the
// run itself, and not worth a write of its Job.
func summaryMessage(run *v1alpha1.JobRun, in jobInput) string {
	switch summaryState(run, in) {
	case v1alpha1.StateActive, v1alpha1.StateSuccess:
		return ""
	}
	if c := succeeded(run); c != nil {
		return conditions.Truncate(c.Message, maxSummaryBytes)
	}
	return ""
}

// maxSummaryBytes is how much of a run's message its Job has.
const maxSummaryBytes = 1024

// newer compares two runs by creation, then by name.
func newer(a, b *v1alpha1.JobRun) bool {
	if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
		return c > 0
	}
	return a.Name > b.Name
}
