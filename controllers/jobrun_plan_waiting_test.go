package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWaitingPlan_comesBackInTimeForTheDeadline(t *testing.T) {
	t.Parallel()
	in := runInput{Run: plannedRun(), Job: plannedJob(), Live: liveYes, Verdict: granted, Now: policyNoon}
	if got := waitingPlan(in, "no node", nodeRetry).RequeueAfter; got != nodeRetry {
		t.Errorf("without a deadline it comes back after %v, want %v", got, nodeRetry)
	}
	in.Run.Spec.StartingDeadlineSeconds = new(int64(65))
	if got := waitingPlan(in, "no node", nodeRetry).RequeueAfter; got != 5*time.Second {
		t.Errorf("with one it comes back after %v, want 5s", got)
	}
	want := planned{Ready: "False Waiting: no node", Authorized: saysGranted, Succeeded: "Unknown Pending: no node", After: 5 * time.Second}
	if diff := cmp.Diff(want, briefly(*waitingPlan(in, "no node", nodeRetry))); diff != "" {
		t.Errorf("waitingPlan() (-want +got):\n%s", diff)
	}
	want = planned{
		Ready: "stalled False Rejected: bad", Authorized: saysGranted, Succeeded: "False Rejected: bad", Finished: at(0),
	}
	if diff := cmp.Diff(want, briefly(*rejectedPlan(in, "bad"))); diff != "" {
		t.Errorf("rejectedPlan() (-want +got):\n%s", diff)
	}
}
