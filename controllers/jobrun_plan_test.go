package controllers

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// planned is what a plan says, in short.
type planned struct {
	Act                          runAct
	Ready, Authorized, Succeeded string // "False Waiting: message"
	Finished                     *metav1.Time
	After                        time.Duration
}

func brief(r report) string {
	if r == (report{}) {
		return ""
	}
	text := fmt.Sprintf("%s %s: %s", r.Status, r.Reason, r.Message)
	if r.Stalled {
		text = "stalled " + text
	}
	return text
}

func briefly(p runPlan) planned {
	return planned{
		Act: p.Act, Ready: brief(p.Ready), Authorized: brief(p.Authorized), Succeeded: brief(p.Succeeded),
		Finished: p.FinishedAt, After: p.RequeueAfter,
	}
}

// What plans say again and again.
const (
	saysGranted    = "True Granted: Allowed by Grant alice-dev on ACL dev"
	saysNotGranted = "False NotGranted: user alice may not: no grant comes near"
	saysLaunched   = "True Launched: The batch/v1 Job was created"
	saysActive     = "Unknown Active: At work"
)

func saysWaiting(message string) planned {
	return planned{Ready: "False Waiting: " + message, Authorized: saysGranted, Succeeded: "Unknown Pending: " + message}
}

// The objects of a case are made anew, so that plans can be checked to leave them alone.
type runCase struct {
	job     []func(*v1alpha1.Job) // edits; noJob is none
	noJob   bool
	made    bool // by this process
	run     []func(*v1alpha1.JobRun)
	child   []func(*batchv1.Job) // edits; nil is no child
	verdict verdict
	invalid string
	live    *liveFacts
	pods    []*runPod
	want    planned
}

func (c runCase) input() runInput {
	in := runInput{Run: plannedRun(c.run...), Launched: c.made, Verdict: c.verdict, Invalid: c.invalid, Live: c.live, Pods: c.pods, Now: policyNoon}
	if !c.noJob {
		in.Job = plannedJob(c.job...)
	}
	if c.child != nil {
		in.Child = plannedChild(c.child...)
	}
	return in
}

func (c runCase) with(edit func(*planned)) runCase { edit(&c.want); return c }

func TestPlanRun(t *testing.T) {
	t.Parallel()
	runEdits := func(edits ...func(*v1alpha1.JobRun)) []func(*v1alpha1.JobRun) { return edits }
	jobEdits := func(edits ...func(*v1alpha1.Job)) []func(*v1alpha1.Job) { return edits }
	childEdits := func(edits ...func(*batchv1.Job)) []func(*batchv1.Job) {
		return append([]func(*batchv1.Job){}, edits...)
	}
	launched := func(succeeded string) planned {
		return planned{Ready: saysLaunched, Authorized: saysGranted, Succeeded: succeeded}
	}
	suspended := func(job *v1alpha1.Job) { job.Spec.Suspend = true }
	const noChild = "The Job can't be launched: spec.run.cpus: too many"
	cases := map[string]runCase{
		// Waiting: each obstacle is the first of those that are left.
		"waiting: the deadline comes before everything, and is confirmed": {
			noJob: true, run: runEdits(unowned, withDeadline(60)), verdict: verdict{},
			want: planned{Act: actConfirm},
		},
		"waiting: the deadline has passed": {
			noJob: true, run: runEdits(unowned, withDeadline(60)), live: &liveFacts{},
			want: planned{
				Ready:     "stalled False Rejected: Not launched within 60 seconds: Job metronome/dev.batch.job1 does not exist",
				Succeeded: "False StartingDeadlineExceeded: Not launched within 60 seconds: Job metronome/dev.batch.job1 does not exist",
				Finished:  at(0),
			},
		},
		"waiting: the deadline has passed while the operator was away": {
			run: runEdits(withDeadline(59)), verdict: granted, live: liveYes,
			want: planned{
				Ready:      "stalled False Rejected: Not launched within 59 seconds: no operator was there to launch it",
				Authorized: saysGranted,
				Succeeded:  "False StartingDeadlineExceeded: Not launched within 59 seconds: no operator was there to launch it",
				Finished:   at(0),
			},
		},
		"waiting: the deadline has passed, but there is a child already": {
			run: runEdits(withDeadline(60)), verdict: notGranted, live: liveChild, want: planned{After: staleCacheRetry},
		},
		"waiting: the deadline has passed, but the run has gone on already": {
			run: runEdits(withDeadline(60)), verdict: notGranted, live: liveMoved, want: planned{After: staleCacheRetry},
		},
		"waiting: a second is left": {
			run: runEdits(withDeadline(61)), verdict: notGranted,
			want: planned{
				Ready: "False Waiting: " + notGranted.Message, Authorized: saysNotGranted,
				Succeeded: "Unknown Pending: " + notGranted.Message, After: time.Second,
			},
		},
		"waiting: no Job, nothing is said of authorization": {
			noJob: true, run: runEdits(unowned),
			want: planned{
				Ready:     "False Waiting: Job metronome/dev.batch.job1 does not exist",
				Succeeded: "Unknown Pending: Job metronome/dev.batch.job1 does not exist",
			},
		},
		"waiting: a user's run is adopted first, and nothing is written besides": {
			job: jobEdits(suspended), run: runEdits(unowned), verdict: notGranted, invalid: "bad", want: planned{Act: actAdopt},
		},
		"waiting: a run of an earlier Job of that name is not launched": {
			job: jobEdits(suspended), run: runEdits(ofEarlierJob), verdict: granted, invalid: "bad",
			want: saysWaiting("The run belongs to an earlier Job of that name, and goes with it"),
		},
		"waiting: an invalid Job, confirmed first": {
			job: jobEdits(suspended), verdict: notGranted, invalid: "spec.run.cpus: too many", want: planned{Act: actConfirm},
		},
		"waiting: an invalid Job": {
			job: jobEdits(suspended), verdict: notGranted, invalid: "spec.run.cpus: too many", live: liveNo,
			want: planned{
				Ready: "stalled False Rejected: " + noChild, Authorized: saysNotGranted,
				Succeeded: "False Rejected: " + noChild, Finished: at(0),
			},
		},
		"waiting: an invalid Job, but the run was launched before it became so": {
			verdict: granted, invalid: "spec.run.cpus: too many", live: liveChild, want: planned{After: staleCacheRetry},
		},
		"waiting: a suspended Job": {
			job: jobEdits(suspended), verdict: granted, want: saysWaiting("The Job is suspended (spec.suspend)"),
		},
		"waiting: a suspended Job comes before the grant": runCase{
			job: jobEdits(suspended), verdict: notGranted, want: saysWaiting("The Job is suspended (spec.suspend)"),
		}.with(func(p *planned) { p.Authorized = saysNotGranted }),
		"waiting: no grant": runCase{verdict: notGranted, want: saysWaiting(notGranted.Message)}.with(func(p *planned) { p.Authorized = saysNotGranted }),
		"waiting: the policy is not synced": runCase{verdict: notSynced, want: saysWaiting("not read yet")}.with(func(p *planned) {
			p.Authorized = "Unknown PolicyNotSynced: not read yet"
		}),
		"waiting: granted, and to be confirmed": runCase{verdict: granted, want: saysWaiting("Being launched")}.with(func(p *planned) { p.Act = actConfirm }),

		// The live answer.
		"launch: confirmed": runCase{verdict: granted, live: liveYes, want: saysWaiting("Being launched")}.with(func(p *planned) { p.Act = actLaunch }),
		"launch: refused live": runCase{verdict: granted, live: liveNo, want: saysWaiting(liveNo.Verdict.Message)}.with(func(p *planned) {
			p.Authorized, p.After = "False NotGranted: "+liveNo.Verdict.Message, staleCacheRetry
		}),
		"launch: the cache is behind the run": {verdict: granted, live: liveMoved, want: planned{After: staleCacheRetry}},

		// Launched: the state follows the child.
		"starting": {
			run: runEdits(), child: childEdits(), verdict: granted,
			want: launched("Unknown Starting: The batch/v1 Job was created and has no pod yet"),
		},
		"starting: the status waits as long as the start may need": {
			child:   childEdits(func(c *batchv1.Job) { c.CreationTimestamp = *at(-500 * time.Millisecond) }),
			verdict: granted, want: planned{After: settleTime - 500*time.Millisecond},
		},
		"active within the settle time is told at once": {
			child:   childEdits(active, func(c *batchv1.Job) { c.CreationTimestamp = *at(0) }),
			verdict: granted, want: launched(saysActive),
		},
		"active":                           {child: childEdits(active), verdict: granted, want: launched(saysActive)},
		"active: failed pods are work too": {child: childEdits(func(c *batchv1.Job) { c.Status.Failed = 1 }), verdict: granted, want: launched(saysActive)},
		"active: so are succeeded ones":    {child: childEdits(func(c *batchv1.Job) { c.Status.Succeeded = 1 }), verdict: granted, want: launched(saysActive)},
		"active: an invalid or suspended Job does not matter any more": {
			job: jobEdits(suspended), child: childEdits(active), verdict: granted, invalid: "bad", want: launched(saysActive),
		},
		"active: the Job is gone": {
			noJob: true, child: childEdits(active), want: planned{Ready: saysLaunched, Succeeded: saysActive},
		},
		"suspended by somebody else": {
			child: childEdits(suspendedChild), verdict: granted,
			want: launched("Unknown Suspended: The batch/v1 Job is suspended, and not by Grantry"),
		},
		"the child is being deleted": {
			child: childEdits(active, func(c *batchv1.Job) { c.DeletionTimestamp = at(0) }), verdict: granted,
			want: launched("Unknown Active: The batch/v1 Job is being deleted"),
		},

		// The end.
		"success": runCase{
			child:   childEdits(active, ended(batchv1.JobComplete, "CompletionsReached", "Reached expected number of succeeded pods")),
			verdict: granted, want: launched("True Success: The run succeeded"),
		}.with(func(p *planned) { p.Finished = at(-5 * time.Second) }),
		"success: the completion time wins": runCase{
			child: childEdits(ended(batchv1.JobComplete, "", ""), func(c *batchv1.Job) { c.Status.CompletionTime = at(-7 * time.Second) }),
			run:   runEdits(), verdict: granted, want: launched("True Success: The run succeeded"),
		}.with(func(p *planned) { p.Finished = at(-7 * time.Second) }),
		"success counts although permission went": runCase{
			job:     jobEdits(onRevoke(v1alpha1.RevokeDelete)),
			child:   childEdits(ended(batchv1.JobComplete, "", "")),
			verdict: notGranted, want: launched("True Success: The run succeeded"),
		}.with(func(p *planned) { p.Finished, p.Authorized = at(-5*time.Second), saysNotGranted }),
		"failed": runCase{
			child:   childEdits(ended(batchv1.JobFailed, "BackoffLimitExceeded", "Job has reached the specified backoff limit")),
			verdict: granted, want: launched("False Failed: BackoffLimitExceeded: Job has reached the specified backoff limit"),
		}.with(func(p *planned) { p.Finished = at(-5 * time.Second) }),
		"failed: the last container tells": runCase{
			child:   childEdits(ended(batchv1.JobFailed, "BackoffLimitExceeded", "Limit reached")),
			pods:    []*runPod{exited("pod1", 137, "OOMKilled")},
			verdict: granted, want: launched("False Failed: BackoffLimitExceeded: Limit reached; the last container ended with exit code 137 (OOMKilled)"),
		}.with(func(p *planned) { p.Finished = at(-5 * time.Second) }),

		// Revocation.
		"revoked, unset: it goes on": runCase{child: childEdits(active), verdict: notGranted, want: launched(saysActive)}.with(func(p *planned) { p.Authorized = saysNotGranted }),
		"revoked, Finish: it goes on": runCase{
			job: jobEdits(onRevoke(v1alpha1.RevokeFinish)), child: childEdits(active), verdict: notGranted, want: launched(saysActive),
		}.with(func(p *planned) { p.Authorized = saysNotGranted }),
		"revoked, Suspend": runCase{
			job: jobEdits(onRevoke(v1alpha1.RevokeSuspend)), child: childEdits(active), verdict: notGranted,
			want: launched("Unknown Suspended: Suspended until permission is back (onRevoke: Suspend): " + notGranted.Message),
		}.with(func(p *planned) { p.Act, p.Authorized = actSuspend, saysNotGranted }),
		"revoked, Suspend: a child that was only just created, too": runCase{
			job:     jobEdits(onRevoke(v1alpha1.RevokeSuspend)),
			child:   childEdits(func(c *batchv1.Job) { c.CreationTimestamp = *at(0) }),
			verdict: notGranted,
			want:    launched("Unknown Suspended: Suspended until permission is back (onRevoke: Suspend): " + notGranted.Message),
		}.with(func(p *planned) { p.Act, p.Authorized = actSuspend, saysNotGranted }),
		"revoked, Suspend: it is": runCase{
			job: jobEdits(onRevoke(v1alpha1.RevokeSuspend)), child: childEdits(suspendedChild, revokedChild), verdict: notGranted,
			want: launched("Unknown Suspended: Suspended until permission is back (onRevoke: Suspend): " + notGranted.Message),
		}.with(func(p *planned) { p.Authorized = saysNotGranted }),
		"revoked, Suspend: somebody else resumed it": runCase{
			job: jobEdits(onRevoke(v1alpha1.RevokeSuspend)), child: childEdits(revokedChild, active), verdict: notGranted,
			want: launched("Unknown Suspended: Suspended until permission is back (onRevoke: Suspend): " + notGranted.Message),
		}.with(func(p *planned) { p.Act, p.Authorized = actSuspend, saysNotGranted }),
		"revoked, Suspend: somebody else had suspended it": runCase{
			job: jobEdits(onRevoke(v1alpha1.RevokeSuspend)), child: childEdits(suspendedChild), verdict: notGranted,
			want: launched("Unknown Suspended: Suspended until permission is back (onRevoke: Suspend): " + notGranted.Message),
		}.with(func(p *planned) { p.Act, p.Authorized = actSuspend, saysNotGranted }),
		"revoked, then onRevoke changed to Finish: it stays suspended and says by whom": runCase{
			job: jobEdits(onRevoke(v1alpha1.RevokeFinish)), child: childEdits(suspendedChild, revokedChild), verdict: notGranted,
			want: launched("Unknown Suspended: Suspended since the owner's permission went, until it is back"),
		}.with(func(p *planned) { p.Authorized = saysNotGranted }),
		"not synced revokes nothing": runCase{
			job: jobEdits(onRevoke(v1alpha1.RevokeDelete)), child: childEdits(active), verdict: notSynced, want: launched(saysActive),
		}.with(func(p *planned) { p.Authorized = "Unknown PolicyNotSynced: not read yet" }),
		"not synced resumes nothing": runCase{
			job: jobEdits(onRevoke(v1alpha1.RevokeSuspend)), child: childEdits(suspendedChild, revokedChild), verdict: notSynced,
			want: launched("Unknown Suspended: Suspended since the owner's permission went, until it is back"),
		}.with(func(p *planned) { p.Authorized = "Unknown PolicyNotSynced: not read yet" }),
		"revoked, Delete": runCase{
			job: jobEdits(onRevoke(v1alpha1.RevokeDelete)), child: childEdits(active), verdict: notGranted,
			want: launched("False Revoked: Ended because the owner's permission went (onRevoke: Delete): " + notGranted.Message),
		}.with(func(p *planned) { p.Act, p.Authorized, p.Finished = actDelete, saysNotGranted, at(0) }),
		"granted again: confirmed first": runCase{
			child: childEdits(suspendedChild, revokedChild), verdict: granted,
			want: launched("Unknown Suspended: Permission is back; the batch/v1 Job is being resumed"),
		}.with(func(p *planned) { p.Act = actConfirm }),
		"granted again: resumed": runCase{
			child: childEdits(suspendedChild, revokedChild), verdict: granted, live: liveYes,
			want: launched("Unknown Suspended: Permission is back; the batch/v1 Job is being resumed"),
		}.with(func(p *planned) { p.Act = actResume }),
		"granted again, says the cache alone: it stays suspended, and launched": runCase{
			child: childEdits(suspendedChild, revokedChild), verdict: granted, live: liveNo,
			want: launched("Unknown Suspended: " + liveNo.Verdict.Message),
		}.with(func(p *planned) { p.Authorized, p.After = "False NotGranted: "+liveNo.Verdict.Message, staleCacheRetry }),
		"granted again, and somebody else resumed it: Grantry lets go of it": runCase{
			child: childEdits(revokedChild, active), verdict: granted, live: liveYes, want: launched(saysActive),
		}.with(func(p *planned) { p.Act = actResume }),

		// Stopped.
		"stop: before it was launched, and before everything else": {
			job: jobEdits(suspended), run: runEdits(stopRequested), verdict: notGranted, invalid: "bad", want: planned{Act: actConfirm},
		},
		"stop: before it was launched, confirmed": {
			run: runEdits(stopRequested), verdict: granted, live: &liveFacts{},
			want: planned{
				Ready: "stalled False Stopped: Stopped by User bob before it was launched", Authorized: saysGranted,
				Succeeded: "False Stopped: Stopped by User bob before it was launched", Finished: at(0),
			},
		},
		"stop: nobody wrote down by whom": {
			run: runEdits(stopRequested, func(r *v1alpha1.JobRun) { r.Spec.StoppedBy = nil }), verdict: granted, live: &liveFacts{},
			want: planned{
				Ready: "stalled False Stopped: Stopped before it was launched", Authorized: saysGranted,
				Succeeded: "False Stopped: Stopped before it was launched", Finished: at(0),
			},
		},
		"stop: of a Job that is not there": {
			noJob: true, run: runEdits(unowned, stopRequested), live: &liveFacts{},
			want: planned{
				Ready:     "stalled False Stopped: Stopped by User bob before it was launched",
				Succeeded: "False Stopped: Stopped by User bob before it was launched", Finished: at(0),
			},
		},
		"stop: it was launched, and the cache is behind": {run: runEdits(stopRequested), verdict: granted, live: liveChild, want: planned{After: staleCacheRetry}},
		"stop: adopted first":                            {run: runEdits(unowned, stopRequested), verdict: granted, want: planned{Act: actAdopt}},
		"stop: at work": runCase{
			run: runEdits(stopRequested), child: childEdits(active), verdict: notGranted, job: jobEdits(onRevoke(v1alpha1.RevokeSuspend)),
			want: launched("Unknown Active: Being stopped by User bob: its pods are ending"),
		}.with(func(p *planned) { p.Act, p.Authorized = actStop, saysNotGranted }),
		"stop: suspended work": runCase{
			run: runEdits(stopRequested), child: childEdits(suspendedChild, revokedChild), verdict: granted,
			want: launched("Unknown Active: Being stopped by User bob: its pods are ending"),
		}.with(func(p *planned) { p.Act = actStop }),
		"stop: only just launched": runCase{
			run: runEdits(stopRequested), child: childEdits(func(c *batchv1.Job) { c.CreationTimestamp = *at(0) }), verdict: granted,
			want: launched("Unknown Active: Being stopped by User bob: its pods are ending"),
		}.with(func(p *planned) { p.Act = actStop }),
		"stop: the pods are ending": {
			run:   runEdits(stopRequested),
			child: childEdits(active, func(c *batchv1.Job) { c.DeletionTimestamp = at(0) }), verdict: granted,
			want: launched("Unknown Active: Being stopped by User bob: its pods are ending"),
		},
		"stop: the pods have ended, which the Job controller takes for a failure": runCase{
			run:   runEdits(stopRequested),
			child: childEdits(ended(batchv1.JobFailed, "BackoffLimitExceeded", "")), verdict: granted, want: launched("False Stopped: Stopped by User bob"),
		}.with(func(p *planned) { p.Finished = at(0) }),
		"stop: the work had succeeded": runCase{
			run:   runEdits(stopRequested),
			child: childEdits(ended(batchv1.JobComplete, "", "")), verdict: granted, want: launched("True Success: The run succeeded"),
		}.with(func(p *planned) { p.Finished = at(-5 * time.Second) }),
		"stop: the child is gone, confirmed first": {run: runEdits(stopRequested, sawChild), verdict: granted, want: planned{Act: actConfirm}},
		"stop: the child is gone": {
			run: runEdits(stopRequested, sawChild), verdict: granted, live: &liveFacts{},
			want: planned{Ready: saysLaunched, Succeeded: "False Stopped: Stopped by User bob", Finished: at(0)},
		},

		// What pods wait for.
		"starting: the pod says what it waits for": {
			child: childEdits(active), verdict: granted, pods: []*runPod{waitingPodFor("pod1", "ImagePullBackOff: no such image")},
			want: launched("Unknown Starting: Pod pod1 waits to start: ImagePullBackOff: no such image"),
		},
		"active: one pod works, another waits": {
			child: childEdits(active), verdict: granted, pods: []*runPod{waitingPodFor("pod1", "Unschedulable: no room"), working("pod2")}, want: launched(saysActive),
		},
		"active: the pod is to start again": {
			child: childEdits(active, func(c *batchv1.Job) { c.Status.Failed = 1 }), verdict: granted, pods: []*runPod{waitingPodFor("pod1", "CrashLoopBackOff")},
			want: launched("Unknown Active: Pod pod1 waits: CrashLoopBackOff"),
		},

		// A child that was seen and is no more.
		"lost: confirmed first": {run: runEdits(sawChild), verdict: granted, want: planned{Act: actConfirm}},
		"lost": {
			run: runEdits(sawChild), verdict: granted, live: liveYes,
			want: planned{
				Ready:     saysLaunched,
				Succeeded: "False Failed: The batch/v1 Job " + batchjob.ChildName(plannedRun()) + " was deleted before it ended; set spec.stop of the JobRun to stop a run",
				Finished:  at(0),
			},
		},
		"launched by this process, and lost before the status told of it: confirmed first": {made: true, verdict: granted, want: planned{Act: actConfirm}},
		"launched by this process, and lost before the status told of it: not again": {
			made: true, verdict: granted, live: liveYes,
			want: planned{
				Ready:     saysLaunched,
				Succeeded: "False Failed: The batch/v1 Job " + batchjob.ChildName(plannedRun()) + " was deleted before it ended; set spec.stop of the JobRun to stop a run",
				Finished:  at(0),
			},
		},
		"launched by this process, and not in the cache yet": {made: true, verdict: granted, live: liveChild, want: planned{After: staleCacheRetry}},
		"lost by the cache only":                             {run: runEdits(sawChild), verdict: granted, live: liveChild, want: planned{After: staleCacheRetry}},
		"lost, and the run is further on":                    {run: runEdits(sawChild), verdict: granted, live: liveMoved, want: planned{After: staleCacheRetry}},
		"lost, and the Job with it":                          {noJob: true, run: runEdits(sawChild), want: planned{Act: actConfirm}},
		"lost: a run is not launched again,":                 {run: runEdits(sawChild, withDeadline(600)), verdict: granted, want: planned{Act: actConfirm}},

		// Finished.
		"finished: success":      {run: runEdits(sawChild, inState(metav1.ConditionTrue, v1alpha1.StateSuccess)), child: childEdits(active), verdict: granted},
		"finished: never runs":   {run: runEdits(inState(metav1.ConditionFalse, v1alpha1.StateRejected)), verdict: granted, live: liveYes},
		"finished: revoked":      {run: runEdits(inState(metav1.ConditionFalse, v1alpha1.StateRevoked)), verdict: granted, live: liveYes},
		"finished: not adopted":  {run: runEdits(unowned, inState(metav1.ConditionFalse, v1alpha1.StateFailed)), verdict: granted},
		"finished: the deadline": {run: runEdits(withDeadline(1), inState(metav1.ConditionFalse, v1alpha1.StateStartingDeadlineExceeded))},
		"finished: revoked, and the operator stopped before it deleted the child": {
			run: runEdits(inState(metav1.ConditionFalse, v1alpha1.StateRevoked)), child: childEdits(active), verdict: granted,
			want: planned{Act: actDelete},
		},
		"finished: stopped before it was launched, and the child came all the same": {
			run: runEdits(inState(metav1.ConditionFalse, v1alpha1.StateStopped)), child: childEdits(active), verdict: granted,
			want: planned{Act: actDelete},
		},
		"finished: too late, and the child came all the same": {
			run: runEdits(inState(metav1.ConditionFalse, v1alpha1.StateStartingDeadlineExceeded)), child: childEdits(active), verdict: granted,
			want: planned{Act: actDelete},
		},
		"finished: lost before the status told of it, and the child came all the same": {
			run: runEdits(inState(metav1.ConditionFalse, v1alpha1.StateFailed)), child: childEdits(active), verdict: granted,
			want: planned{Act: actDelete},
		},
		"finished: lost, and another child came": {
			run: runEdits(sawChild, inState(metav1.ConditionFalse, v1alpha1.StateFailed)), verdict: granted,
			child: childEdits(active, func(c *batchv1.Job) { c.UID = "another" }),
			want:  planned{Act: actDelete},
		},
		"finished: lost, and another child came and ended": {
			run: runEdits(sawChild, inState(metav1.ConditionFalse, v1alpha1.StateFailed)), verdict: granted,
			child: childEdits(ended(batchv1.JobComplete, "", ""), func(c *batchv1.Job) { c.UID = "another" }),
		},
		"finished: revoked, and the child is going": {
			run:   runEdits(inState(metav1.ConditionFalse, v1alpha1.StateRevoked)),
			child: childEdits(active, func(c *batchv1.Job) { c.DeletionTimestamp = at(0) }),
		},
		"looked at before, and not finished": runCase{
			run: runEdits(inState(metav1.ConditionUnknown, v1alpha1.StatePending)), verdict: granted, want: saysWaiting("Being launched"),
		}.with(func(p *planned) { p.Act = actConfirm }),
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := tc.input()
			plan := planRun(in)
			if diff := cmp.Diff(tc.want, briefly(plan)); diff != "" {
				t.Errorf("planRun() (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.input(), in, cmp.AllowUnexported(verdict{}, decider{}, runPod{})); diff != "" {
				t.Errorf("planRun changed its input (-before +after):\n%s", diff)
			}
			setRunStatus(in.Run, plan, in.Now)
			if plan.Ready.Reason != "" {
				grantrytesting.CheckConditions(t, in.Run)
			}
		})
	}
}

func TestPlanRun_whatALaunchedRunRemembers(t *testing.T) {
	t.Parallel()
	run := plannedRun()
	child := plannedChild(active, func(c *batchv1.Job) { c.Status.Failed = 2 })
	in := runInput{Run: run, Job: plannedJob(), Child: child, Verdict: granted, Now: policyNoon}
	setRunStatus(run, planRun(in), policyNoon)
	if got := run.Status.StartedAt; !got.Equal(at(-20 * time.Second)) {
		t.Errorf("started at %v", got)
	}
	want := &v1alpha1.ChildReference{Name: "run1-child", UID: "child-uid"}
	if diff := cmp.Diff(want, run.Status.Child); diff != "" {
		t.Errorf("child (-want +got):\n%s", diff)
	}
	if run.Status.Grant != "alice-dev" || run.Status.FailedAttempts != 2 {
		t.Errorf("grant %q, %d failed attempts; want alice-dev and 2", run.Status.Grant, run.Status.FailedAttempts)
	}

	// Suspended and resumed, the child starts its clock anew.
	child.Status.StartTime = at(0)
	setRunStatus(run, planRun(in), policyNoon)
	if got := run.Status.StartedAt; !got.Equal(at(-20 * time.Second)) {
		t.Errorf("after a resume it started at %v", got)
	}

	ended(batchv1.JobFailed, "PodFailurePolicy", "exit")(child)
	in.Pods = []*runPod{exited("pod1", 3, "Error"), {ObjectMeta: metav1.ObjectMeta{Name: "pod2"}, task: v1alpha1.RunTask{Name: "pod2", State: v1alpha1.TaskRunning}}}
	setRunStatus(run, planRun(in), policyNoon)
	if run.Status.ExitCode == nil || *run.Status.ExitCode != 3 || run.Status.ExitReason != "Error" {
		t.Errorf("exit code %v, %q; want 3 and Error", run.Status.ExitCode, run.Status.ExitReason)
	}
	if got := run.Status.Tasks; len(got) != 2 || got[0].State != v1alpha1.TaskFailed || got[1].State != v1alpha1.TaskLost {
		t.Errorf("tasks %+v, want one that failed and one that is lost", got)
	}
	if got := run.Status.FinishedAt; !got.Equal(at(-5 * time.Second)) {
		t.Errorf("finished at %v", got)
	}

	before := run.DeepCopy()
	setRunStatus(run, planRun(in), policyNoon.Add(time.Hour))
	if diff := cmp.Diff(before, run); diff != "" {
		t.Errorf("an ended run changed (-before +after):\n%s", diff)
	}
}
