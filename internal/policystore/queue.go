package policystore

import (
	"strconv"
	"sync"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
)

type kind uint8

const (
	kindACL kind = iota
	kindGrant
	kindGroup
)

// watched is what the policy consists of.
var watched = [...]client.Object{
	kindACL:   &v1alpha1.ACL{},
	kindGrant: &v1alpha1.Grant{},
	kindGroup: &v1alpha1.Group{},
}

type objectKey struct {
	kind kind
	name string
}

// queue holds the latest state of each object that has an event which the snapshot hasn't seen. Objects
// come from informers and are only read.
type queue struct {
	wake   chan struct{}            // capacity 1; received from when there may be something to take
	counts func(client.Object) bool // set before the informers start; nil counts everything

	listed func(kind) (first, last uint64) // the versions of the first and of the last list of a kind; nil is 0

	mu      sync.Mutex
	latest  map[objectKey]client.Object // nil for an object that is gone
	isTaken bool                        // what was taken is not in the snapshot yet
	seen    watermarks
	taken   watermarks // what was seen when it was taken
	applied watermarks
}

// watermarks are the resource versions up to which everything of a kind has come.
type watermarks [len(kindLabels)]uint64

// saw takes note of an event that has been put. Those of a watch come in the order of their versions, each after what
// was listed, and have higher ones; those of a list say nothing.
func (q *queue) saw(k kind, obj client.Object) {
	version, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return
	}
	if q.listed != nil {
		if _, last := q.listed(k); version <= last {
			return
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.seen[k] = max(q.seen[k], version)
	if len(q.latest) == 0 && !q.isTaken {
		q.applied[k] = max(q.applied[k], q.seen[k]) // it changed nothing
	}
}

// rewind takes note of a list that is older than what was seen: etcd was restored, and gives those versions out anew. Nothing
// of the kind is known to be applied until an event follows the list. It reports whether that is so.
func (q *queue) rewind(k kind, listed uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if listed >= max(q.seen[k], q.applied[k]) {
		return false
	}
	q.seen[k], q.taken[k], q.applied[k] = 0, 0, 0
	return true
}

// loaded says that the snapshot holds the first lists. It need not hold what was listed anew while it was made.
func (q *queue) loaded() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for k := range q.seen {
		if q.listed != nil {
			first, last := q.listed(kind(k))
			q.taken[k] = max(q.taken[k], min(first, last)) // the last is the lower one if etcd was restored meanwhile
		}
	}
	q.settle()
}

// done says that what was taken is in the snapshot.
func (q *queue) done() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle()
}

func (q *queue) settle() {
	q.isTaken = false
	for k := range q.seen {
		q.applied[k] = max(q.applied[k], q.taken[k])
		if len(q.latest) == 0 {
			q.applied[k] = max(q.applied[k], q.seen[k])
		}
	}
}

// put takes what does not count for what is not there.
func (q *queue) put(key objectKey, obj client.Object) {
	if obj != nil && !q.isCounted(obj) {
		obj = nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.latest == nil {
		q.latest = map[objectKey]client.Object{}
	}
	q.latest[key] = obj
	poke(q.wake)
}

// len is how many objects wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.latest)
}

// take empties the queue. The order does not matter: there is one entry for each object, and a
// snapshot does not depend on the order in which it learns of objects.
func (q *queue) take() []pending {
	q.mu.Lock()
	latest := q.latest
	q.latest = nil
	q.isTaken, q.taken = true, q.seen
	q.mu.Unlock()
	all := make([]pending, 0, len(latest))
	for key, obj := range latest {
		all = append(all, pending{objectKey: key, obj: obj})
	}
	return all
}

// handler puts the events of one informer into the queue.
func (q *queue) handler(k kind) toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) {
			o := obj.(client.Object)
			q.put(objectKey{k, o.GetName()}, o)
			q.saw(k, o)
		},
		UpdateFunc: func(before, after any) {
			was, is := before.(client.Object), after.(client.Object)
			defer q.saw(k, is)
			if decidesTheSame(was, is) && q.isCounted(was) == q.isCounted(is) {
				return // a status was written, or labels
			}
			q.put(objectKey{k, is.GetName()}, is)
		},
		DeleteFunc: func(obj any) {
			q.put(objectKey{k, deletedName(obj)}, nil)
			if o, ok := obj.(client.Object); ok { // a tombstone has no version of its own
				q.saw(k, o)
			}
		},
	}
}

func (q *queue) isCounted(obj client.Object) bool { return q.counts == nil || q.counts(obj) }

// deletedName is the name of what a deletion is about. A deletion that was missed while the watch was
// down comes as a tombstone, which has the key; our kinds have no namespace, so the key is the name.
func deletedName(obj any) string {
	switch o := obj.(type) {
	case client.Object:
		return o.GetName()
	case toolscache.DeletedFinalStateUnknown:
		return o.Key
	}
	return "" // changes nothing
}

// decidesTheSame reports whether two states of a name are the same for every decision, given that both
// count or neither does. An object may be deleted and made again between two states, when the watch was
// down.
func decidesTheSame(was, is client.Object) bool {
	return was.GetUID() == is.GetUID() && was.GetGeneration() == is.GetGeneration() &&
		was.GetDeletionTimestamp().IsZero() == is.GetDeletionTimestamp().IsZero()
}

// pending is an object with an event, as it is now.
type pending struct {
	objectKey
	obj client.Object
}

// served is the object if it counts, else nil: one that is being deleted is as good as gone.
func (p pending) served() client.Object {
	if p.obj == nil || !p.obj.GetDeletionTimestamp().IsZero() {
		return nil
	}
	return p.obj
}

// change is what the event means for a snapshot, and whether a part of the object can't be served.
func (p pending) change() (c effective.Change, invalid bool) {
	switch obj := p.served().(type) {
	case *v1alpha1.ACL:
		acl, err := ACLOf(obj)
		if err == nil {
			return effective.SetACL(acl), false
		}
		return effective.DeleteACL(p.name), true
	case *v1alpha1.Grant:
		grant, problems := GrantOf(obj)
		return effective.SetGrant(grant), len(problems) > 0
	case *v1alpha1.Group:
		group, problems := GroupOf(obj)
		return effective.SetGroup(group), len(problems) > 0
	}
	switch p.kind {
	case kindACL:
		return effective.DeleteACL(p.name), false
	case kindGrant:
		return effective.DeleteGrant(p.name), false
	case kindGroup:
		return effective.DeleteGroup(p.name), false
	}
	return effective.Change{}, false // changes nothing
}
