package controllers

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/grantry/grantry/api/v1alpha1"
)

// drawRunInput makes any combination of what a plan is made from, the impossible ones included. Half of
// them are a run that is to be launched with few changes, else hardly any were.
func drawRunInput(t *rapid.T) runInput {
	rare := 1
	if rapid.Bool().Draw(t, "nearly to be launched") {
		rare = 15
	}
	odd := func(name string) bool { return rapid.IntRange(0, rare).Draw(t, name) == rare }
	pick := func(name string, usual verdict) verdict {
		if odd(name + " differs") {
			return rapid.SampledFrom([]verdict{{}, granted, notGranted, notSynced}).Draw(t, name)
		}
		return usual
	}
	in := runInput{Run: plannedRun(), Job: plannedJob(), Verdict: pick("verdict", granted), Now: policyNoon}
	if odd("state") {
		state := rapid.SampledFrom([]string{
			v1alpha1.StatePending, v1alpha1.StateActive, v1alpha1.StateSuccess, v1alpha1.StateFailed, v1alpha1.StateRevoked,
		}).Draw(t, "state")
		inState(rapid.SampledFrom([]metav1.ConditionStatus{"Unknown", "True", "False"}).Draw(t, "succeeded"), state)(in.Run)
	}
	in.Launched = odd("launched by this process")
	if odd("saw a child") {
		sawChild(in.Run)
	}
	if odd("is an earlier Job's") {
		ofEarlierJob(in.Run)
	}
	if odd("has no owner") {
		unowned(in.Run)
	}
	if odd("is to stop") {
		stopRequested(in.Run)
	}
	if odd("has a deadline") {
		withDeadline(rapid.Int64Range(1, 120).Draw(t, "deadline"))(in.Run)
	}
	if odd("is invalid") {
		in.Invalid = "bad"
	}
	in.Job.Spec.Suspend = odd("is suspended")
	in.Job.Spec.OnRevoke = rapid.SampledFrom([]v1alpha1.RevokePolicy{"", "Finish", "Suspend", "Delete"}).Draw(t, "onRevoke")
	if odd("has no Job") {
		in.Job = nil
	}
	if odd("has a child") {
		in.Child = drawChild(t)
	}
	if !odd("was not confirmed") {
		in.Live = &liveFacts{
			Verdict: pick("live verdict", granted), RunChanged: odd("the run changed"), ChildExists: odd("there is a child, live"),
		}
	}
	return in
}

func drawChild(t *rapid.T) *batchv1.Job {
	child := plannedChild()
	for _, edit := range []struct {
		name string
		make func(*batchv1.Job)
	}{
		{"suspended", suspendedChild},
		{"revoked", revokedChild},
		{"active", active},
		{"deleting", func(c *batchv1.Job) { c.DeletionTimestamp = at(0) }},
		{"complete", ended(batchv1.JobComplete, "", "")},
		{"failed", ended(batchv1.JobFailed, "", "")},
	} {
		if rapid.Bool().Draw(t, "the child is "+edit.name) {
			edit.make(child)
		}
	}
	return child
}

func TestPlanRun_neverLaunchesWhatItMustNot(t *testing.T) {
	t.Parallel()
	launches := 0
	rapid.Check(t, func(t *rapid.T) {
		in := drawRunInput(t)
		plan := planRun(in)
		finished := isFinished(in.Run)
		if plan.Act == actLaunch {
			launches++
			switch {
			case finished, in.Child != nil, in.Run.Status.Child != nil, in.Launched:
				t.Fatal("it launches a run that was launched or has ended")
			case in.Live == nil || !in.Live.Verdict.Allowed || in.Live.RunChanged:
				t.Fatal("it launches without the API server's word")
			case in.Run.Spec.Stop:
				t.Fatal("it launches a run that is to stop")
			case !in.Verdict.Allowed || in.Job == nil || in.Job.Spec.Suspend || in.Invalid != "" || belonging(in.Run, in.Job) != belongsToJob:
				t.Fatal("it launches a Job that can't be launched")
			}
			if left, limited := startingTimeLeft(in); limited && left <= 0 {
				t.Fatal("it launches after the deadline")
			}
		}
		if finished {
			deletes := in.Child != nil && (runState(in.Run) == v1alpha1.StateRevoked || !isChildOf(in.Run, in.Child))
			if plan.Act != actNothing && (plan.Act != actDelete || !deletes) {
				t.Fatalf("an ended run is to %v", plan.Act)
			}
			plan.Act = actNothing
			if diff := cmp.Diff(planned{}, briefly(plan)); diff != "" {
				t.Fatalf("an ended run changes:\n%s", diff)
			}
		}
		if plan.Act == actConfirm && in.Live != nil {
			t.Fatal("it asks the API server twice")
		}
		if (plan.Act == actSuspend || plan.Act == actDelete) && !finished && (in.Verdict.Allowed || in.Verdict.Reason == v1alpha1.ReasonPolicyNotSynced) {
			t.Fatalf("it is to %v although nothing is revoked", plan.Act)
		}
		if plan.Act == actResume && (in.Live == nil || !in.Live.Verdict.Allowed || !in.Verdict.Allowed) {
			t.Fatal("it resumes without permission")
		}
		if plan.Act == actStop && !in.Run.Spec.Stop || in.Run.Spec.Stop && (plan.Act == actSuspend || plan.Act == actResume) {
			t.Fatalf("it is to %v, and to stop: %v", plan.Act, in.Run.Spec.Stop)
		}
		if (plan.Act == actSuspend || plan.Act == actResume || plan.Act == actDelete || plan.Act == actStop) && in.Child == nil {
			t.Fatalf("it is to %v a child that does not exist", plan.Act)
		}
		ends := plan.Succeeded.Status == metav1.ConditionTrue || plan.Succeeded.Status == metav1.ConditionFalse
		if ends != (plan.FinishedAt != nil) {
			t.Fatalf("it ends: %v; finished at: %v", ends, plan.FinishedAt)
		}
	})
	if launches == 0 {
		t.Error("no input was to be launched: this test shows nothing")
	}
}
