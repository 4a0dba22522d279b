package controllers

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// A run goes through these states; each arrow is a rule of planRun.
//
//	Pending ──launch──► Starting ──► Active ──► Success | Failed
//	   │                                │ ▲
//	   │                        revoked │ │ granted again
//	   │                                ▼ │
//	   │                             Suspended
//	   └─► StartingDeadlineExceeded | Rejected          Active ──revoked──► Revoked
//
// The state is computed from the run, its Job and its child each time. Only what can't be seen any more
// is remembered in status: that a child was seen, and that the run has ended.

// runAct is what is to be done for a run, besides its status.
type runAct int

const (
	actNothing runAct = iota
	actAdopt          // give the run its Job as owner, and its labels
	actConfirm        // read what decides from the API server, then plan again
	actLaunch         // create the child
	actSuspend        // suspend the child, because permission went
	actResume         // resume a child that actSuspend suspended
	actDelete         // delete the child
)

// runInput is everything that a plan is made from.
type runInput struct {
	Run *v1alpha1.JobRun
	// Job and Child are nil if they do not exist, as far as the cache knows.
	Job   *v1alpha1.Job
	Child *batchv1.Job
	// Launched says that this process has created a child for the run, which the status may not tell yet.
	Launched bool
	// Verdict is the snapshot's, for the Job.
	Verdict verdict
	// Invalid says why the Job can't be launched at all; empty if it can.
	Invalid string
	// Live is nil until the API server was asked.
	Live *liveFacts
	// Failure is how the last failed pod ended; nil if that is not known.
	Failure *corev1.ContainerStateTerminated
	Now     time.Time
}

// liveFacts are what the API server itself said, past the cache.
type liveFacts struct {
	// Verdict is of the deciding objects as they are.
	Verdict verdict
	// RunChanged says that the run is gone, going, or further than the cache knows.
	RunChanged bool
	// ChildExists says that there is a child that the cache does not show yet.
	ChildExists bool
}

// runPlan is what to do and what to say.
type runPlan struct {
	Act runAct
	// Authorized, Ready and Succeeded become conditions. A zero one stays as it is.
	Authorized, Ready, Succeeded report
	StartedAt, FinishedAt        *metav1.Time
	Child                        *v1alpha1.ChildReference
	Grant                        string
	FailedAttempts               int32
	Failure                      *corev1.ContainerStateTerminated
	RequeueAfter                 time.Duration
}

// report is a condition without its bookkeeping.
type report struct {
	Status          metav1.ConditionStatus
	Reason, Message string
	Stalled         bool
}

// staleCacheRetry is how soon to look again when the API server knows more than the cache. The cache's
// own event usually comes first; this is for the case that it was the last event.
const staleCacheRetry = time.Second

// planRun decides what happens to a run. It is pure: the same input gives the same plan.
func planRun(in runInput) runPlan {
	switch {
	case isFinished(in.Run):
		return planFinished(in)
	case in.Child != nil:
		return planLaunched(in)
	case in.Run.Status.Child != nil || in.Launched:
		return planLost(in)
	default:
		return planWaiting(in)
	}
}

// planFinished keeps a run as it ended. A child that outlives a revoked run is deleted: the operator may
// have stopped between the two writes.
func planFinished(in runInput) runPlan {
	if runState(in.Run) == v1alpha1.StateRevoked && in.Child != nil && in.Child.DeletionTimestamp.IsZero() {
		return runPlan{Act: actDelete}
	}
	return runPlan{}
}

// planLaunched follows the child, and applies onRevoke to it.
func planLaunched(in runInput) runPlan {
	plan := runPlan{
		Ready:          readyAsLaunched(),
		Authorized:     authorizedReport(in.Verdict),
		Child:          &v1alpha1.ChildReference{Name: in.Child.Name, UID: in.Child.UID},
		Grant:          in.Child.Annotations[v1alpha1.AnnotationGrant],
		StartedAt:      startOf(in),
		FailedAttempts: in.Child.Status.Failed,
	}
	end := endOf(in.Child)
	switch {
	case end != nil:
		return withEnd(plan, in, *end)
	case !in.Child.DeletionTimestamp.IsZero():
		plan.Succeeded = running(v1alpha1.StateActive, "The batch/v1 Job is being deleted")
	case in.Job == nil:
		// Without the Job there is no owner to ask about. Its deletion takes the run along, unless it was
		// told to orphan it.
		plan.Succeeded = progressOf(in.Child)
	default:
		plan = withRevocation(plan, in)
	}
	return settled(plan, in)
}

// settleTime is how long a new child is given to start before "Starting" is written down: a write that
// the next one, milliseconds later, would make pointless.
const settleTime = 5 * time.Second

// settled leaves the status of a run alone whose child was only just created.
func settled(plan runPlan, in runInput) runPlan {
	left := in.Child.CreationTimestamp.Add(settleTime).Sub(in.Now)
	if plan.Act != actNothing || plan.Succeeded.Reason != v1alpha1.StateStarting || left <= 0 {
		return plan
	}
	return runPlan{RequeueAfter: left}
}

// withEnd reports how the child ended.
func withEnd(plan runPlan, in runInput, end batchv1.JobCondition) runPlan {
	at := end.LastTransitionTime
	if end.Type == batchv1.JobComplete && in.Child.Status.CompletionTime != nil {
		at = *in.Child.Status.CompletionTime
	}
	plan.FinishedAt = &at
	if end.Type == batchv1.JobComplete {
		plan.Succeeded = report{Status: metav1.ConditionTrue, Reason: v1alpha1.StateSuccess, Message: "The run succeeded"}
		return plan
	}
	plan.Failure = in.Failure
	plan.Succeeded = failed(v1alpha1.StateFailed, failureMessage(end, in.Failure))
	return plan
}

// withRevocation suspends, resumes or ends a child that is at work, as the verdict and onRevoke say.
func withRevocation(plan runPlan, in runInput) runPlan {
	suspended := isSuspended(in.Child)
	revoked := isRevoked(in.Child)
	switch {
	case in.Verdict.Allowed && revoked:
		plan.Succeeded = progressOf(in.Child)
		if suspended {
			plan.Succeeded.Message = "Permission is back; the batch/v1 Job is being resumed"
		}
		return confirmed(plan, in, actResume)
	case in.Verdict.Reason == v1alpha1.ReasonPolicyNotSynced, in.Verdict.Allowed, in.Job.Spec.OnRevoke == v1alpha1.RevokeFinish, in.Job.Spec.OnRevoke == "":
		plan.Succeeded = progressOf(in.Child)
	case in.Job.Spec.OnRevoke == v1alpha1.RevokeDelete:
		plan.Act = actDelete
		plan.FinishedAt = &metav1.Time{Time: in.Now}
		plan.Succeeded = failed(v1alpha1.StateRevoked, "Ended because the owner's permission went (onRevoke: Delete): "+in.Verdict.Message)
	default:
		plan.Succeeded = running(v1alpha1.StateSuspended, "Suspended until permission is back (onRevoke: Suspend): "+in.Verdict.Message)
		if !suspended || !revoked {
			plan.Act = actSuspend
		}
	}
	return plan
}

func readyAsLaunched() report {
	return report{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonLaunched, Message: "The batch/v1 Job was created"}
}

// planLost ends a run whose child was seen and is no more, once the API server says so, too.
func planLost(in runInput) runPlan {
	switch {
	case in.Live == nil:
		return runPlan{Act: actConfirm}
	case in.Live.ChildExists || in.Live.RunChanged:
		return runPlan{RequeueAfter: staleCacheRetry}
	default:
		message := fmt.Sprintf("The batch/v1 Job %s was deleted before it ended; delete the JobRun to stop a run", batchjob.ChildName(in.Run))
		return runPlan{
			Ready:      readyAsLaunched(), // for the first time, if the child went at once
			FinishedAt: &metav1.Time{Time: in.Now}, Succeeded: failed(v1alpha1.StateFailed, message),
		}
	}
}

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

// confirmed lets a plan act only on what the API server itself confirms.
func confirmed(plan runPlan, in runInput, act runAct) runPlan {
	switch {
	case in.Live == nil:
		plan.Act = actConfirm
	case in.Live.RunChanged:
		return runPlan{RequeueAfter: staleCacheRetry}
	case !in.Live.Verdict.Allowed:
		plan.Authorized = authorizedReport(in.Live.Verdict)
		plan.Succeeded.Message = in.Live.Verdict.Message
		if plan.Ready.Status != metav1.ConditionTrue { // a launched run stays launched
			plan.Ready.Message = in.Live.Verdict.Message
		}
		plan.RequeueAfter = staleCacheRetry
	default:
		plan.Act = act
		plan.Grant = in.Live.Verdict.Grant
	}
	return plan
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

func running(state, message string) report {
	return report{Status: metav1.ConditionUnknown, Reason: state, Message: message}
}

func failed(state, message string) report {
	return report{Status: metav1.ConditionFalse, Reason: state, Message: message}
}

// authorizedReport says what a verdict is; nothing, if there is no Job that one could be about.
func authorizedReport(v verdict) report {
	status := metav1.ConditionFalse
	switch {
	case v.Reason == "":
		return report{}
	case v.Allowed:
		status = metav1.ConditionTrue
	case v.Reason == v1alpha1.ReasonPolicyNotSynced:
		status = metav1.ConditionUnknown
	}
	return report{Status: status, Reason: v.Reason, Message: v.Message}
}

// progressOf says how far a child is that is not finished. Somebody else than Grantry may have suspended
// it: Kueue, while it waits for quota.
func progressOf(child *batchv1.Job) report {
	switch {
	case isSuspended(child) && isRevoked(child):
		return running(v1alpha1.StateSuspended, "Suspended since the owner's permission went, until it is back")
	case isSuspended(child):
		return running(v1alpha1.StateSuspended, "The batch/v1 Job is suspended, and not by Grantry")
	case child.Status.Active > 0 || child.Status.Failed > 0 || child.Status.Succeeded > 0:
		return running(v1alpha1.StateActive, "At work")
	default:
		return running(v1alpha1.StateStarting, "The batch/v1 Job was created and has no pod yet")
	}
}

func isSuspended(child *batchv1.Job) bool {
	return child.Spec.Suspend != nil && *child.Spec.Suspend
}

// isRevoked says whether Grantry keeps a child suspended for want of permission.
func isRevoked(child *batchv1.Job) bool {
	return child.Annotations[v1alpha1.AnnotationSuspendedByRevocation] != ""
}

// startingTimeLeft is the time until the starting deadline, if there is one. It counts from the time that
// the run is scheduled for, or else from its creation.
func startingTimeLeft(in runInput) (left time.Duration, limited bool) {
	seconds := in.Run.Spec.StartingDeadlineSeconds
	if seconds == nil {
		return 0, false
	}
	from := in.Run.CreationTimestamp
	if in.Run.Spec.ScheduledAt != nil {
		from = *in.Run.Spec.ScheduledAt
	}
	return from.Add(time.Duration(*seconds) * time.Second).Sub(in.Now), true
}

// startOf is when work first began. A resumed batch/v1 Job starts its own clock anew; the run does not.
func startOf(in runInput) *metav1.Time {
	if in.Run.Status.StartedAt != nil {
		return in.Run.Status.StartedAt
	}
	return in.Child.Status.StartTime
}

// endOf is the condition with which a batch/v1 Job has ended, or nil.
func endOf(child *batchv1.Job) *batchv1.JobCondition {
	for i, c := range child.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return &child.Status.Conditions[i]
		}
	}
	return nil
}

func failureMessage(end batchv1.JobCondition, last *corev1.ContainerStateTerminated) string {
	message := fmt.Sprintf("%s: %s", end.Reason, end.Message)
	if last != nil {
		message = fmt.Sprintf("%s; the last container ended with exit code %d (%s)", message, last.ExitCode, last.Reason)
	}
	return message
}

// isFinished says whether a run has ended, well or badly. An ended run never changes.
func isFinished(run *v1alpha1.JobRun) bool {
	c := succeeded(run)
	return c != nil && c.Status != metav1.ConditionUnknown
}

// runState is the reason of the Succeeded condition; a run that was not looked at yet is Pending.
func runState(run *v1alpha1.JobRun) string {
	if c := succeeded(run); c != nil {
		return c.Reason
	}
	return v1alpha1.StatePending
}

func succeeded(run *v1alpha1.JobRun) *metav1.Condition {
	return meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionSucceeded)
}

// ownership says whose a run is.
type ownership int

const (
	belongsToNobody ownership = iota
	belongsToJob
	belongsToAnother
)

// belonging says whether a run is controlled by a Job: by that object, not by one of its name.
func belonging(run *v1alpha1.JobRun, job *v1alpha1.Job) ownership {
	owner := metav1.GetControllerOf(run)
	switch {
	case owner == nil:
		return belongsToNobody
	case owner.UID == job.UID && isJob(owner):
		return belongsToJob
	default:
		return belongsToAnother
	}
}

func isJob(owner *metav1.OwnerReference) bool {
	return owner.Kind == "Job" && owner.APIVersion == v1alpha1.GroupVersion.String()
}

func foreignOwner(owner *metav1.OwnerReference) string {
	if isJob(owner) {
		return "The run belongs to an earlier Job of that name, and goes with it"
	}
	return fmt.Sprintf("The run is controlled by %s %s and not by its Job: create it without ownerReferences", owner.Kind, owner.Name)
}
