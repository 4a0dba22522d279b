package controllers

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/conditions"
)

// setRunStatus writes a plan into the status of a run.
func setRunStatus(run *v1alpha1.JobRun, plan runPlan, now time.Time) {
	if plan.Succeeded.Reason == "" && plan.Authorized.Reason == "" {
		if isFinished(run) {
			restate(&run.Status, run.Generation)
		}
		return // nothing new to say
	}
	status := &run.Status
	status.ObservedGeneration = run.Generation
	setReport(&status.Conditions, v1alpha1.ConditionAuthorized, plan.Authorized, run.Generation, now)
	setReport(&status.Conditions, v1alpha1.ConditionSucceeded, plan.Succeeded, run.Generation, now)
	if plan.Ready.Reason != "" {
		conditions.Summarize(&status.Conditions, conditions.Summary(plan.Ready), run.Generation, now)
	}
	if plan.Child != nil {
		status.Child = plan.Child
		status.FailedAttempts = plan.FailedAttempts
		status.Grant = plan.Grant
	}
	if plan.StartedAt != nil {
		status.StartedAt = plan.StartedAt
	}
	if plan.FinishedAt != nil {
		status.FinishedAt = plan.FinishedAt
	}
	if plan.Tasks != nil {
		status.Tasks = plan.Tasks
	}
	if last := lastFailed(plan.Tasks); last != nil && plan.FinishedAt != nil {
		status.ExitCode, status.ExitReason = new(*last.ExitCode), last.Reason
	}
	if plan.Succeeded.Status == metav1.ConditionTrue {
		var zero int32
		status.ExitCode, status.ExitReason = &zero, "Completed"
	}
}

// restate makes what an ended run says hold for a generation: all that can change in its spec is that it is to stop, which
// changes nothing any more. Whoever waits for the generation to be looked at would wait in vain.
func restate(status *v1alpha1.JobRunStatus, generation int64) {
	status.ObservedGeneration = generation
	for i := range status.Conditions {
		status.Conditions[i].ObservedGeneration = generation
	}
}

// setReport sets a condition, and leaves it alone if there is nothing to report.
func setReport(conds *[]metav1.Condition, kind string, r report, generation int64, now time.Time) {
	if r.Reason == "" {
		return
	}
	conditions.Set(conds, metav1.Condition{
		Type: kind, Status: r.Status, Reason: r.Reason, Message: r.Message, ObservedGeneration: generation,
	}, now)
}
