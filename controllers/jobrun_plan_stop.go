package controllers

import (
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// withStop ends the work of a run that is to stop. The run has ended when its pods have: until then it may still do
// what it is not to do twice.
func withStop(plan runPlan, in runInput, end *batchv1.JobCondition) runPlan {
	if end != nil {
		return stopped(plan, in)
	}
	if in.Child.DeletionTimestamp.IsZero() {
		plan.Act = actStop
	}
	plan.Succeeded = running(v1alpha1.StateActive, "Being stopped"+byWhom(in.Run)+": its pods are ending")
	return plan
}

// stopped ends a run that somebody stopped.
func stopped(plan runPlan, in runInput) runPlan {
	plan.Tasks = lost(plan.Tasks)
	plan.Succeeded = failed(v1alpha1.StateStopped, "Stopped"+byWhom(in.Run))
	plan.FinishedAt = &metav1.Time{Time: in.Now}
	return plan
}

// byWhom says who stopped a run, as far as admission wrote it down.
func byWhom(run *v1alpha1.JobRun) string {
	if subject := batchjob.SubjectText(run.Spec.StoppedBy); subject != "" {
		return " by " + subject
	}
	return ""
}

// stoppedUnlaunched ends a run that somebody stopped before it was launched, once the API server says that there is
// no child. Nobody needs to do anything about it, but who waits for it to be Ready waits in vain.
func stoppedUnlaunched(plan runPlan, in runInput) runPlan {
	message := "Stopped" + byWhom(in.Run) + " before it was launched"
	plan = rejected(plan, in, v1alpha1.StateStopped, message)
	if plan.FinishedAt != nil {
		plan.Ready.Reason = v1alpha1.ReasonStopped
	}
	return plan
}
