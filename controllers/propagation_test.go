package controllers

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/grantry/grantry/api/v1alpha1"
)

var propagationBegin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// upTo is replicas that have come to a version.
type upTo struct{ version uint64 }

func (u *upTo) Holds(_ string, version uint64) bool       { return version <= u.version }
func (u *upTo) Subscribe(context.Context) <-chan struct{} { return nil }

func grantAt(name string, generation int64, version string) *v1alpha1.Grant {
	return &v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: generation, ResourceVersion: version}}
}

// propagated is what a Grant says: "absent", or status, reason and generation.
func propagated(grant *v1alpha1.Grant) string {
	c := meta.FindStatusCondition(grant.Status.Conditions, v1alpha1.ConditionPropagated)
	if c == nil {
		return "absent"
	}
	return fmt.Sprintf("%s %s %d", c.Status, c.Reason, c.ObservedGeneration)
}

func expectPropagated(t *testing.T, grant *v1alpha1.Grant, want string) {
	t.Helper()
	if got := propagated(grant); got != want {
		t.Errorf("Propagated is %s, want %s", got, want)
	}
}

// TestPropagation_say: one write says both where it can, and a condition that is true stays so for its generation.
func TestPropagation_say(t *testing.T) {
	t.Parallel()
	replicas, clock := &upTo{9}, clocktesting.NewFakePassiveClock(propagationBegin)
	p := newPropagation(replicas, "grant", clock)

	grant := grantAt("a", 1, "9")
	p.say(grant, &grant.Status.Conditions, true, propagationBegin)
	expectPropagated(t, grant, "True Enforced 1")
	if len(p.waiting) != 0 {
		t.Error("it waits all the same")
	}

	grant.Generation, grant.ResourceVersion = 2, "12"
	p.say(grant, &grant.Status.Conditions, true, propagationBegin)
	expectPropagated(t, grant, "True Enforced 1") // of an earlier generation: kubectl wait does not take it
	replicas.version = 11
	if names := p.next(); len(names) != 0 {
		t.Errorf("%q are enqueued before every replica has come to them", names)
	}
	replicas.version = 12
	if names := p.next(); len(names) != 1 {
		t.Errorf("%q are enqueued", names)
	}
	grant.ResourceVersion = "20" // its status was written meanwhile, which nobody needs to wait for
	p.say(grant, &grant.Status.Conditions, false, propagationBegin)
	expectPropagated(t, grant, "True Enforced 2")
	replicas.version = 0
	p.say(grant, &grant.Status.Conditions, true, propagationBegin)
	expectPropagated(t, grant, "True Enforced 2")
}

// TestPropagation_newLeader: what nothing else is written of takes its turn, a few at a time.
func TestPropagation_newLeader(t *testing.T) {
	t.Parallel()
	p := newPropagation(&upTo{9}, "grant", clocktesting.NewFakePassiveClock(propagationBegin))
	for i := range 3 * spreadEach {
		grant := grantAt(fmt.Sprintf("g%d", i), 1, "9")
		p.say(grant, &grant.Status.Conditions, false, propagationBegin)
		expectPropagated(t, grant, "absent")
	}
	for range 3 {
		names := p.next()
		if len(names) != spreadEach {
			t.Fatalf("%d at once", len(names))
		}
		for _, name := range names {
			grant := grantAt(name, 1, "9")
			p.say(grant, &grant.Status.Conditions, false, propagationBegin)
			expectPropagated(t, grant, "True Enforced 1")
		}
	}
	if names := p.next(); len(names) != 0 || len(p.waiting) != 0 {
		t.Errorf("%q wait", names)
	}
}

// TestPropagation_pace: those that wait when nothing happens any more have as many turns as when something does.
func TestPropagation_pace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p := newPropagation(&upTo{9}, "grant", clock.RealClock{})
		for i := range 100 * spreadEach {
			p.await(grantAt(fmt.Sprintf("g%d", i), 1, "9"))
		}
		queue := workqueue.NewTypedRateLimitingQueue(retryLimiter())
		if err := p.enqueue(ctx, queue); err != nil {
			t.Fatal(err)
		}
		const seconds = 10
		turns := 0
		for began := time.Now(); time.Since(began) < seconds*time.Second; time.Sleep(spreadPause / 2) {
			for ; queue.Len() > 0; turns++ {
				next, _ := queue.Get()
				p.forget(next.Name)
				queue.Done(next)
			}
		}
		cancel()
		queue.ShutDown()
		if most := seconds * int(time.Second/spreadPause) * spreadEach; turns < most*4/5 || turns > most {
			t.Errorf("%d had their turn in %d s, and %d may", turns, seconds, most)
		}
	})
}

// TestPropagation_late: who waits for long is told why, once.
func TestPropagation_late(t *testing.T) {
	t.Parallel()
	replicas, clock := &upTo{}, clocktesting.NewFakePassiveClock(propagationBegin)
	p := newPropagation(replicas, "grant", clock)
	grant := grantAt("a", 1, "9")
	p.say(grant, &grant.Status.Conditions, true, propagationBegin)
	expectPropagated(t, grant, "absent")
	clock.SetTime(propagationBegin.Add(spreadPatience + time.Second))
	for _, want := range []int{1, 0} {
		if got := p.next(); len(got) != want {
			t.Errorf("%q are enqueued", got)
		}
	}
	p.say(grant, &grant.Status.Conditions, false, clock.Now())
	expectPropagated(t, grant, "False Spreading 1")
	replicas.version = 9
	p.next()
	p.say(grant, &grant.Status.Conditions, false, clock.Now())
	expectPropagated(t, grant, "True Enforced 1")
}

// TestPropagation_recreated: another object of the same name and generation waits by itself.
func TestPropagation_recreated(t *testing.T) {
	t.Parallel()
	replicas := &upTo{8}
	p := newPropagation(replicas, "grant", clocktesting.NewFakePassiveClock(propagationBegin))
	grant := grantAt("a", 1, "9")
	grant.UID = "first"
	p.say(grant, &grant.Status.Conditions, true, propagationBegin)
	replicas.version = 9
	again := grantAt("a", 1, "12")
	again.UID = "second"
	p.say(again, &again.Status.Conditions, true, propagationBegin)
	expectPropagated(t, again, "absent")
	replicas.version = 12
	p.say(again, &again.Status.Conditions, true, propagationBegin)
	expectPropagated(t, again, "True Enforced 1")
}

// TestPropagation_restart: where a status makes an object count, that status must reach every replica.
func TestPropagation_restart(t *testing.T) {
	t.Parallel()
	p := newPropagation(&upTo{10}, "grant", clocktesting.NewFakePassiveClock(propagationBegin))
	grant := grantAt("a", 1, "9")
	p.restart(grant)
	grant.ResourceVersion = "11"
	p.restart(grant)
	p.say(grant, &grant.Status.Conditions, true, propagationBegin)
	expectPropagated(t, grant, "absent")

	none := (*propagation)(nil)
	none.restart(grant)
	none.say(grant, &grant.Status.Conditions, true, propagationBegin)
	expectPropagated(t, grant, "absent")
}
