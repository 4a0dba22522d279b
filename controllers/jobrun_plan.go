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
// From each of them a run is Stopped when somebody asks for it.
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
	actStop           // delete the child, and keep it until its pods have ended
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
	// Pods are those of the child, as far as they are known.
	Pods []*runPod
	// Queue is what Kueue says of a child that waits in a queue; empty if it was not asked.
	Queue string
	Now   time.Time
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
	Tasks                        []v1alpha1.RunTask
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

// planFinished keeps a run as it ended. One that did not end by its child has none that works: the operator may have
// stopped between the two writes that end a run, or the child came after that, by a request that had been given up or of
// another operator.
func planFinished(in runInput) runPlan {
	works := in.Child != nil && endOf(in.Child) == nil && in.Child.DeletionTimestamp.IsZero()
	if works && (endedWithoutChild(in.Run) || !isChildOf(in.Run, in.Child)) {
		return runPlan{Act: actDelete}
	}
	return runPlan{}
}

// endedWithoutChild reports whether a run ended in a way that leaves no child to work.
func endedWithoutChild(run *v1alpha1.JobRun) bool {
	switch runState(run) {
	case v1alpha1.StateRevoked, v1alpha1.StateStopped, v1alpha1.StateStartingDeadlineExceeded, v1alpha1.StateRejected:
		return true
	}
	return false
}

// isChildOf reports whether a child is the one that the run's status tells of. One that came after the first was lost is
// another, of the same name.
func isChildOf(run *v1alpha1.JobRun, child *batchv1.Job) bool {
	return run.Status.Child != nil && run.Status.Child.UID == child.UID
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
		Tasks:          mergedTasks(in.Run.Status.Tasks, in.Pods),
	}
	end := endOf(in.Child)
	switch {
	case in.Run.Spec.Stop && (end == nil || end.Type == batchv1.JobFailed):
		return withStop(plan, in, end)
	case end != nil:
		return withEnd(plan, in, *end)
	case !in.Child.DeletionTimestamp.IsZero():
		plan.Succeeded = running(v1alpha1.StateActive, "The batch/v1 Job is being deleted")
	case in.Job == nil:
		// Without the Job there is no owner to ask about. Its deletion takes the run along, unless it was
		// told to orphan it.
		plan.Succeeded = progressOf(in)
	default:
		plan = withRevocation(plan, in)
	}
	return lookedAtAgain(settled(plan, in))
}

// settleTime is how long a new child is given to start before "Starting" or "Queued" is written down: a write
// that the next one, milliseconds later, would make pointless.
const settleTime = 5 * time.Second

// settled leaves the status of a run alone whose child was only just created.
func settled(plan runPlan, in runInput) runPlan {
	left := settlesIn(in)
	starts := plan.Succeeded.Reason == v1alpha1.StateStarting || plan.Succeeded.Reason == v1alpha1.StateQueued
	if plan.Act != actNothing || !starts || left <= 0 {
		return plan
	}
	return runPlan{RequeueAfter: left}
}

// settlesIn is the time until a child is not new any more.
func settlesIn(in runInput) time.Duration {
	return in.Child.CreationTimestamp.Add(settleTime).Sub(in.Now)
}

// withEnd reports how the child ended.
func withEnd(plan runPlan, in runInput, end batchv1.JobCondition) runPlan {
	at := end.LastTransitionTime
	if end.Type == batchv1.JobComplete && in.Child.Status.CompletionTime != nil {
		at = *in.Child.Status.CompletionTime
	}
	plan.FinishedAt, plan.Tasks = &at, lost(plan.Tasks)
	if end.Type == batchv1.JobComplete {
		plan.Succeeded = report{Status: metav1.ConditionTrue, Reason: v1alpha1.StateSuccess, Message: "The run succeeded"}
		return plan
	}
	plan.Succeeded = failed(v1alpha1.StateFailed, failureMessage(end, lastFailed(plan.Tasks)))
	return plan
}

// withRevocation suspends, resumes or ends a child that is at work, as the verdict and onRevoke say.
func withRevocation(plan runPlan, in runInput) runPlan {
	suspended := isSuspended(in.Child)
	revoked := isRevoked(in.Child)
	switch {
	case in.Verdict.Allowed && revoked:
		plan.Succeeded = progressOf(in)
		if suspended {
			plan.Succeeded.Message = "Permission is back; the batch/v1 Job is being resumed"
		}
		return confirmed(plan, in, actResume)
	case in.Verdict.Reason == v1alpha1.ReasonPolicyNotSynced, in.Verdict.Allowed, mayFinish(in):
		plan.Succeeded = progressOf(in)
	case in.Job.Spec.OnRevoke == v1alpha1.RevokeDelete:
		plan.Act = actDelete
		plan.FinishedAt, plan.Tasks = &metav1.Time{Time: in.Now}, lost(plan.Tasks)
		plan.Succeeded = failed(v1alpha1.StateRevoked, "Ended because the owner's permission went (onRevoke: Delete): "+in.Verdict.Message)
	default:
		why := "Suspended until permission is back (onRevoke: Suspend): "
		if in.Job.Spec.OnRevoke != v1alpha1.RevokeSuspend {
			why = "Held back in its queue until permission is back: "
		}
		plan.Succeeded = running(v1alpha1.StateSuspended, why+in.Verdict.Message)
		if !suspended || !revoked {
			plan.Act = actSuspend
		}
	}
	return plan
}

// mayFinish says whether a child goes on whose owner's permission went. What waits in a queue is not at work, and
// is not started for the sake of onRevoke: Finish.
func mayFinish(in runInput) bool {
	finish := in.Job.Spec.OnRevoke == v1alpha1.RevokeFinish || in.Job.Spec.OnRevoke == ""
	return finish && (batchjob.Queue(in.Child) == "" || !isSuspended(in.Child) && !isRevoked(in.Child))
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
	}
	plan := runPlan{
		Ready: readyAsLaunched(), // for the first time, if the child went at once
		Tasks: mergedTasks(in.Run.Status.Tasks, in.Pods),
	}
	if in.Run.Spec.Stop {
		return stopped(plan, in)
	}
	message := fmt.Sprintf("The batch/v1 Job %s was deleted before it ended; set spec.stop of the JobRun to stop a run", batchjob.ChildName(in.Run))
	plan.Tasks, plan.FinishedAt = lost(plan.Tasks), &metav1.Time{Time: in.Now}
	plan.Succeeded = failed(v1alpha1.StateFailed, message)
	return plan
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

func failureMessage(end batchv1.JobCondition, last *v1alpha1.RunTask) string {
	message := fmt.Sprintf("%s: %s", end.Reason, end.Message)
	if last != nil {
		message = fmt.Sprintf("%s; the last container ended with exit code %d (%s)", message, *last.ExitCode, last.Reason)
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
