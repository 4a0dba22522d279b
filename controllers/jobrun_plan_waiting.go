package controllers

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
)

// planWaiting launches a run that has not been, or says what it waits for. The rules are in the order in
// which a person would have to mend them.
func planWaiting(in runInput) runPlan {
	plan := runPlan{
		Ready:      report{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonWaiting},
		Authorized: authorizedReport(in.Verdict),
	}
	left, limited := startingTimeLeft(in)
	switch {
	case limited && left <= 0:
		message := fmt.Sprintf("Not launched within %d seconds: %s", *in.Run.Spec.StartingDeadlineSeconds, waitingFor(in))
		return rejected(plan, in, v1alpha1.StateStartingDeadlineExceeded, message)
	case in.Run.Spec.Stop && (in.Job == nil || belonging(in.Run, in.Job) != belongsToNobody):
		return stoppedUnlaunched(plan, in)
	case in.Job == nil:
		return waiting(plan, waitingFor(in), left)
	case belonging(in.Run, in.Job) == belongsToNobody:
		return runPlan{Act: actAdopt} // its event brings the run back
	case belonging(in.Run, in.Job) == belongsToAnother:
		return waiting(plan, waitingFor(in), left)
	case in.Invalid != "":
		return rejected(plan, in, v1alpha1.StateRejected, waitingFor(in))
	case in.Job.Spec.Suspend, !in.Verdict.Allowed:
		return waiting(plan, waitingFor(in), left)
	default:
		return confirmed(waiting(plan, "Being launched", left), in, actLaunch)
	}
}

// waitingFor says, in a sentence, what keeps the run from being launched.
func waitingFor(in runInput) string {
	switch {
	case in.Job == nil:
		return fmt.Sprintf("Job %s/%s does not exist", in.Run.Namespace, in.Run.Spec.Job)
	case belonging(in.Run, in.Job) == belongsToAnother:
		return foreignOwner(metav1.GetControllerOf(in.Run))
	case in.Invalid != "":
		return "The Job can't be launched: " + in.Invalid
	case in.Job.Spec.Suspend:
		return "The Job is suspended (spec.suspend)"
	case !in.Verdict.Allowed:
		return in.Verdict.Message
	default:
		// What the last attempt met, or nothing: no operator was there.
		if c := succeeded(in.Run); c != nil {
			return c.Message
		}
		return "no operator was there to launch it"
	}
}

// failingPlan is for a run whose launch has failed for a reason that the API server gave and may take back.
func failingPlan(in runInput, cause error) runPlan {
	return waiting(runPlan{
		Ready:      report{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonWaiting},
		Authorized: authorizedReport(in.Verdict),
	}, "It can't be launched now, and is tried again: "+cause.Error(), 0)
}

// rejected ends a run that was never launched, once the API server says that there is no child.
func rejected(plan runPlan, in runInput, state, message string) runPlan {
	switch {
	case in.Live == nil:
		return runPlan{Act: actConfirm}
	case in.Live.ChildExists || in.Live.RunChanged:
		return runPlan{RequeueAfter: staleCacheRetry}
	}
	plan.Ready = report{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRejected, Message: message, Stalled: true}
	plan.Succeeded = failed(state, message)
	plan.FinishedAt = &metav1.Time{Time: in.Now}
	return plan
}

// nodeRetry is how soon to look for a node again that a LIKE constraint matches. Nodes are not watched.
const nodeRetry = 30 * time.Second

// forbiddenRetry is how soon to try again to create a child that the API server forbade: a quota is used
// up, most often, and nothing tells when there is room again.
const forbiddenRetry = 15 * time.Second

// waitingPlan is for a run that could not be launched for a reason that may pass.
func waitingPlan(in runInput, why string, retry time.Duration) *runPlan {
	if left, limited := startingTimeLeft(in); limited {
		retry = min(retry, left)
	}
	plan := waiting(runPlan{
		Ready:      report{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonWaiting},
		Authorized: authorizedReport(in.Live.Verdict),
	}, why, retry)
	return &plan
}

// rejectedPlan is for a run that can't be launched, for a reason that will not pass.
func rejectedPlan(in runInput, why string) *runPlan {
	return &runPlan{
		Authorized: authorizedReport(in.Live.Verdict),
		Ready:      report{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRejected, Message: why, Stalled: true},
		Succeeded:  failed(v1alpha1.StateRejected, why),
		FinishedAt: &metav1.Time{Time: in.Now},
	}
}

// waiting says what the run waits for; left is the time until its starting deadline, or 0.
func waiting(plan runPlan, message string, left time.Duration) runPlan {
	plan.Ready.Message = message
	plan.Succeeded = running(v1alpha1.StatePending, message)
	plan.RequeueAfter = max(left, 0)
	return plan
}
