package controllers

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/grantry/grantry/api/v1alpha1"
)

// asked is a function of a policySource that tells each time when it is asked.
func asked(answer func() ([]ctrl.Request, error)) (func(context.Context) ([]ctrl.Request, error), <-chan time.Time) {
	times := make(chan time.Time, 100)
	return func(context.Context) ([]ctrl.Request, error) {
		times <- time.Now()
		return answer()
	}, times
}

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(waitFor):
		t.Fatalf("no %s after %v", what, waitFor)
		panic("unreachable")
	}
}

func TestPolicySource_enqueuesWhatAChangeAffects(t *testing.T) {
	t.Parallel()
	clk := clocktesting.NewFakeClock(policyNoon)
	held := holdPolicy(t, clk)
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]())
	t.Cleanup(queue.ShutDown)
	affected, times := asked(func() ([]ctrl.Request, error) { return []ctrl.Request{request("run")}, nil })
	if err := (policySource{store: held.Store, clock: clock.RealClock{}, affected: affected, every: time.Hour}).Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	next := func(what string) {
		t.Helper()
		receive(t, times, "question after "+what)
		got, _ := queue.Get()
		queue.Done(got)
		if got != request("run") {
			t.Errorf("after %s: %v was enqueued", what, got)
		}
	}
	grant := makeGrant("g", "dev", "alice", v1alpha1.ActionRun)
	grant.Spec.NotBefore = at(time.Hour)
	held.tell(t, grant)
	next("a change")
	held.forget(t, makeGrant("unknown", "dev", "alice"))
	next("another change")
	clk.SetTime(policyNoon.Add(time.Hour))
	next("the edge of a window")
}

func TestPolicySource_asksWithoutAChange(t *testing.T) {
	t.Parallel()
	held := holdPolicy(t, clocktesting.NewFakeClock(policyNoon))
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]())
	t.Cleanup(queue.ShutDown)
	affected, times := asked(func() ([]ctrl.Request, error) { return []ctrl.Request{request("run")}, nil })
	if err := (policySource{store: held.Store, clock: clock.RealClock{}, affected: affected, every: time.Millisecond}).Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	receive(t, times, "question")
	receive(t, times, "second question")
}

func TestPolicySource_anErrorIsNotTheLastQuestion(t *testing.T) {
	t.Parallel()
	held := holdPolicy(t, clocktesting.NewFakeClock(policyNoon))
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]())
	t.Cleanup(queue.ShutDown)
	affected, times := asked(func() ([]ctrl.Request, error) { return nil, errors.New("no list") })
	if err := (policySource{store: held.Store, clock: clock.RealClock{}, affected: affected, every: time.Hour}).Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	held.tell(t, makeACL("dev", "dcos:adminrouter:acs"))
	first := receive(t, times, "question")
	held.tell(t, makeACL("ops", "dcos:adminrouter:acs"))
	if pause := receive(t, times, "second question").Sub(first); pause < policyPause {
		t.Errorf("asked again after %v, want %v at least", pause, policyPause)
	}
	if queue.Len() != 0 {
		t.Errorf("%d requests are queued, want none", queue.Len())
	}
}

// TestPolicySource_bounded: whoever changes the policy all the time gets a part of the leader's time, however many Jobs a look
// is at.
func TestPolicySource_bounded(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]time.Duration{0: policyPause, time.Millisecond: policyPause, time.Second: 3 * time.Second} {
		clk := clocktesting.NewFakeClock(policyNoon)
		held := holdPolicy(t, clk)
		queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[ctrl.Request]())
		t.Cleanup(queue.ShutDown)
		affected := func(context.Context) ([]ctrl.Request, error) {
			clk.Step(took)
			return []ctrl.Request{request("run")}, nil
		}
		pause := policySource{store: held.Store, clock: clk, affected: affected}.look(t.Context(), queue)
		if pause != want || queue.Len() != 1 {
			t.Errorf("after %v: a pause of %v, want %v; %d queued", took, pause, want, queue.Len())
		}
	}
}
