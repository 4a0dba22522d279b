package controllers

import (
	"context"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/conditions"
)

// Replicas says by what every replica decides.
type Replicas interface {
	// Holds reports whether all of them decide by what a kind (acl, grant, group) was at a version.
	Holds(kind string, version uint64) bool
	// Subscribe returns a channel that receives when that may have changed, until ctx ends.
	Subscribe(ctx context.Context) <-chan struct{}
}

const (
	// spreadPause and spreadEach bound how often conditions are written that no other write of a status has taken along:
	// 50 a second, however many objects wait.
	spreadPause, spreadEach = 200 * time.Millisecond, 10
	// spreadPatience is after how long an object says that it waits. The write of that is an event, too, by which
	// every replica comes further.
	spreadPatience = 10 * time.Second
)

// propagation says on the objects of a kind when every replica decides by them. The nil propagation says nothing.
type propagation struct {
	replicas Replicas
	kind     string
	clock    clock.PassiveClock

	mu      sync.Mutex
	waiting map[string]*waiter // by name
}

// waiter is an object by which not every replica is known to decide.
type waiter struct {
	uid        types.UID // another object of the same name is at generation 1, too
	generation int64
	version    uint64 // that a replica must have come to
	since      time.Time
	due        bool // it has been enqueued because every replica has
	late       bool // it has been enqueued because it has waited for long
}

// newPropagation returns nil if there are no replicas to ask about.
func newPropagation(replicas Replicas, kind string, c clock.PassiveClock) *propagation {
	if replicas == nil {
		return nil
	}
	return &propagation{replicas: replicas, kind: kind, clock: c, waiting: map[string]*waiter{}}
}

// say sets the condition Propagated if it can be said now. It takes along a write of the status that there is anyway;
// where there is none, it waits for its turn, so that a new leader does not write 100,000 of them at once.
func (p *propagation) say(obj client.Object, conds *[]metav1.Condition, isWritten bool, now time.Time) {
	if p == nil {
		return
	}
	if c := meta.FindStatusCondition(*conds, v1alpha1.ConditionPropagated); c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == obj.GetGeneration() {
		p.forget(obj.GetName())
		return
	}
	w := p.await(obj)
	c := metav1.Condition{Type: v1alpha1.ConditionPropagated, ObservedGeneration: obj.GetGeneration()}
	switch {
	case (isWritten || w.due) && p.replicas.Holds(p.kind, w.version):
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonEnforced, "Every replica decides by this generation."
		p.forget(obj.GetName())
	case w.late:
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, v1alpha1.ReasonSpreading,
			"Not every replica is known to decide by this generation. One that is not heard of stops to decide by an older one within --max-view-age."
	default:
		return
	}
	conditions.Set(conds, c, now)
}

// getPolicyObject reads an ACL, a Grant or a Group, and reports whether there is a status to write. There is none of what is
// gone, nor of what is being deleted: it counts no more, whoever holds it with a finalizer. Such a one waits for nobody.
func getPolicyObject(ctx context.Context, c client.Reader, p *propagation, key client.ObjectKey, obj client.Object) (isThere bool, err error) {
	err = c.Get(ctx, key, obj)
	if err == nil && obj.GetDeletionTimestamp().IsZero() {
		return true, nil
	}
	if err = client.IgnoreNotFound(err); err == nil {
		p.forget(key.Name)
	}
	return false, err
}

// patchPolicyStatus writes the status of an ACL, a Grant or a Group, and what there is to say of Propagated with it.
// Where it is the status that makes the object count or not, that has to reach every replica first.
func patchPolicyStatus[T client.Object](
	ctx context.Context, c client.StatusClient, p *propagation, v *validator, before, after T, conds *[]metav1.Condition, now time.Time,
) error {
	turns := v.counts(before) != v.counts(after)
	if turns {
		meta.RemoveStatusCondition(conds, v1alpha1.ConditionPropagated)
	} else {
		p.say(after, conds, !equality.Semantic.DeepEqual(before, after), now)
	}
	if err := patchStatus(ctx, c, before, after); err != nil {
		return err
	}
	if turns {
		p.restart(after)
	}
	return nil
}

// restart lets an object wait anew, as it was written just now: what its status says has begun to count, or has ceased to.
func (p *propagation) restart(obj client.Object) {
	if p == nil {
		return
	}
	p.forget(obj.GetName())
	p.await(obj)
}

// await returns what is known of an object that waits; it waits from now on if it did not.
func (p *propagation) await(obj client.Object) waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.waiting[obj.GetName()]
	if w == nil || w.uid != obj.GetUID() || w.generation != obj.GetGeneration() {
		version, _ := strconv.ParseUint(obj.GetResourceVersion(), 10, 64) // of a server with others: 0, which is soon
		w = &waiter{uid: obj.GetUID(), generation: obj.GetGeneration(), version: version, since: p.clock.Now()}
		p.waiting[obj.GetName()] = w
	}
	return *w
}

// forget lets an object wait no more: all is said of it, or it is gone.
func (p *propagation) forget(name string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, name)
}

// watch makes a controller look again once every replica has come to what waits.
func (p *propagation) watch(b *builder.Builder) *builder.Builder {
	if p == nil {
		return b
	}
	return b.WatchesRawSource(source.Func(p.enqueue))
}

// enqueue enqueues objects that wait once every replica has come to them, a few at a time.
func (p *propagation) enqueue(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	changed := p.replicas.Subscribe(ctx)
	go lookAgain(ctx, changed, spreadPause, func() time.Duration {
		for _, name := range p.next() {
			queue.Add(reconcile.Request{NamespacedName: client.ObjectKey{Name: name}})
		}
		return spreadPause
	})
	return nil
}

// next are some of those of which something can be said.
func (p *propagation) next() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock.Now()
	for name, w := range p.waiting {
		switch {
		case len(names) == spreadEach:
			return names
		case p.replicas.Holds(p.kind, w.version):
			w.due = true
			names = append(names, name)
		case !w.late && now.Sub(w.since) > spreadPatience:
			w.late = true
			names = append(names, name)
		}
	}
	return names
}
