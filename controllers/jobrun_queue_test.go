package controllers

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/grantry/grantry/api/v1alpha1"
)

// inQueue gives a child a queue.
func inQueue(child *batchv1.Job) {
	child.Labels = map[string]string{"kueue.x-k8s.io/queue-name": "team"}
}

func TestPlanRun_queue(t *testing.T) {
	t.Parallel()
	const held = "Unknown Suspended: Held back in its queue until permission is back: user alice may not: no grant comes near"
	launched := func(succeeded, authorized string) planned {
		return planned{Ready: saysLaunched, Authorized: authorized, Succeeded: succeeded}
	}
	edits := func(edits ...func(*batchv1.Job)) []func(*batchv1.Job) { return edits }
	policy := func(p v1alpha1.RevokePolicy) []func(*v1alpha1.Job) { return []func(*v1alpha1.Job){onRevoke(p)} }
	cases := map[string]runCase{
		"it waits": runCase{
			child: edits(inQueue, suspendedChild), verdict: granted, want: launched("Unknown Queued: Waits in the queue team (Kueue)", saysGranted),
		}.with(func(p *planned) { p.After = queueRetry }),
		"it was only just created": {
			child:   edits(inQueue, suspendedChild, func(c *batchv1.Job) { c.CreationTimestamp = *at(-time.Second) }),
			verdict: granted, want: planned{After: settleTime - time.Second},
		},
		"Kueue started it": {child: edits(inQueue, active), verdict: granted, want: launched(saysActive, saysGranted)},
		"revoked while it waits, unset: it is held back": runCase{
			child: edits(inQueue, suspendedChild), verdict: notGranted, want: launched(held, saysNotGranted),
		}.with(func(p *planned) { p.Act = actSuspend }),
		"revoked while it waits, Finish: it is held back": runCase{
			job: policy(v1alpha1.RevokeFinish), child: edits(inQueue, suspendedChild), verdict: notGranted, want: launched(held, saysNotGranted),
		}.with(func(p *planned) { p.Act = actSuspend }),
		"revoked while it waited, Finish: it stays so": {
			job: policy(v1alpha1.RevokeFinish), child: edits(inQueue, suspendedChild, revokedChild), verdict: notGranted, want: launched(held, saysNotGranted),
		},
		"revoked while it waited, Finish, and Kueue started it all the same": runCase{
			job: policy(v1alpha1.RevokeFinish), child: edits(inQueue, active, revokedChild), verdict: notGranted, want: launched(held, saysNotGranted),
		}.with(func(p *planned) { p.Act = actSuspend }),
		"revoked at work, Finish: it goes on": {
			job: policy(v1alpha1.RevokeFinish), child: edits(inQueue, active), verdict: notGranted, want: launched(saysActive, saysNotGranted),
		},
		"revoked while it waits, Delete: it ends": runCase{
			job: policy(v1alpha1.RevokeDelete), child: edits(inQueue, suspendedChild), verdict: notGranted,
			want: launched("False Revoked: Ended because the owner's permission went (onRevoke: Delete): "+notGranted.Message, saysNotGranted),
		}.with(func(p *planned) { p.Act, p.Finished = actDelete, at(0) }),
		"not synced holds nothing back": runCase{
			child: edits(inQueue, suspendedChild), verdict: notSynced,
			want: launched("Unknown Queued: Waits in the queue team (Kueue)", "Unknown PolicyNotSynced: not read yet"),
		}.with(func(p *planned) { p.After = queueRetry }),
		"granted again: the mark goes": runCase{
			child: edits(inQueue, suspendedChild, revokedChild), verdict: granted, live: liveYes,
			want: launched("Unknown Suspended: Permission is back; the batch/v1 Job is being resumed", saysGranted),
		}.with(func(p *planned) { p.Act = actResume }),
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, briefly(planRun(tc.input()))); diff != "" {
				t.Errorf("planRun() (-want +got):\n%s", diff)
			}
		})
	}
}

// TestChildSuspension_leavesTheStartToTheQueue: Grantry takes its mark away, and the rest is Kueue's.
func TestChildSuspension_leavesTheStartToTheQueue(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]*bool{"at work": new(false), "waiting": new(true)} {
		child := &batchv1.Job{Spec: batchv1.JobSpec{Suspend: before}}
		inQueue(child)
		suspendedByRevocation(child)
		if !isSuspended(child) || isQueued(child) {
			t.Errorf("%s: it is not held back: %+v", name, child)
		}
		resumed(child)
		if !isQueued(child) {
			t.Errorf("%s: it does not wait in its queue again: %+v", name, child)
		}
	}
}

func TestAsksKueue(t *testing.T) {
	t.Parallel()
	fresh := func(c *batchv1.Job) { c.CreationTimestamp = *at(-time.Second) }
	ended := []func(*v1alpha1.JobRun){inState("False", v1alpha1.StateFailed)}
	cases := map[string]struct {
		in   runCase
		want bool
	}{
		"no child":             {in: runCase{}},
		"no queue":             {in: runCase{child: []func(*batchv1.Job){suspendedChild}}},
		"at work":              {in: runCase{child: []func(*batchv1.Job){inQueue, active}}},
		"held back by Grantry": {in: runCase{child: []func(*batchv1.Job){inQueue, suspendedChild, revokedChild}}},
		"only just created":    {in: runCase{child: []func(*batchv1.Job){inQueue, suspendedChild, fresh}}},
		"ended":                {in: runCase{child: []func(*batchv1.Job){inQueue, suspendedChild}, run: ended}},
		"waiting":              {in: runCase{child: []func(*batchv1.Job){inQueue, suspendedChild}}, want: true},
	}
	for name, tc := range cases {
		if got := asksKueue(tc.in.input()); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

func TestWorkloadSays(t *testing.T) {
	t.Parallel()
	condition := func(kind, status, message string) map[string]any {
		return map[string]any{"type": kind, "status": status, "message": message, "reason": "x", "lastTransitionTime": "2026-01-01T00:00:00Z"}
	}
	with := func(conditions ...any) map[string]any {
		return map[string]any{"status": map[string]any{"conditions": conditions}}
	}
	cases := map[string]struct {
		workload map[string]any
		want     string
	}{
		"new":         {workload: map[string]any{}, want: "Kueue has not looked at it yet"},
		"deactivated": {workload: map[string]any{"spec": map[string]any{"active": false}}, want: "its Workload is deactivated (spec.active)"},
		"active":      {workload: map[string]any{"spec": map[string]any{"active": true}}, want: "Kueue has not looked at it yet"},
		"no quota":    {workload: with(condition("QuotaReserved", "False", "insufficient unused quota for cpu")), want: "insufficient unused quota for cpu"},
		"checks": {
			workload: with(condition("QuotaReserved", "True", ""), condition("Admitted", "False", "")),
			want:     "it has quota, and waits for Kueue's admission checks",
		},
		"admitted": {workload: with(condition("QuotaReserved", "True", ""), condition("Admitted", "True", "")), want: "it has quota, and is about to start"},
		"of a shape that is not known": {
			workload: map[string]any{"status": map[string]any{"conditions": "none"}},
			want:     "its Workload can't be understood: ",
		},
	}
	for name, tc := range cases {
		if got := workloadSays(tc.workload); got != tc.want && (name != "of a shape that is not known" || len(got) <= len(tc.want) || got[:len(tc.want)] != tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
