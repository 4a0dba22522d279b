// Package policystore keeps the effective snapshot of a replica up to date from informers.
//
//	ACL ──┐             latest object of            one goroutine
//	Grant ┼─ informers ─ each name, waiting ─ Build once, then Apply ─ atomic pointer ─ readers
//	Group ┘                                               └─ wake-ups
//
// It runs on every replica, whoever leads. There is no snapshot before all informers have delivered
// all that the API server held, so that nobody is refused, or finds a Group empty, for want of the
// second half of the policy. After that a burst of events costs one swap, and each event costs what
// it changes.
//
// What can't be served is left out and nothing else is: a malformed ACL, a subject without a name, an
// object that is being deleted, and, with admission on, what nobody with the authority for it has written
// (Rule). ACLOf, GrantOf and GroupOf say what was left out and why; the
// controllers write that to the object's status, and the launch gate uses the same three for objects
// that it reads live.
//
// Windows need no upkeep: a decision looks at the time of its query. The store only wakes its
// subscribers when one opens or closes.
package policystore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/freshness"
	"github.com/grantry/grantry/internal/metrics"
)

// maxSleep is how long the store sleeps at most while it waits for the edge of a window. Timers don't
// follow a clock that is set, or a machine that was suspended; so a wake-up is late by this at most.
const maxSleep = time.Minute

// Why there is no snapshot to decide by. Both are for users to read; ", until it has" can follow.
var (
	// ErrNotSynced says that there is no complete snapshot yet.
	ErrNotSynced = errors.New("Grantry has not read every ACL, Grant and Group yet") //nolint:staticcheck // a name begins it
	// ErrTooOld says that there is a snapshot, and that nobody knows whether it still holds.
	ErrTooOld = errors.New("Grantry has not heard from the API server lately enough to know what is granted") //nolint:staticcheck // a name begins it
)

// Store holds the current snapshot. Use New.
type Store struct {
	// Rule says what counts. Set it before the store is started; the zero Rule counts everything.
	Rule Rule
	// View says whether the snapshot may still be decided by. Set it before the store is started; nil says that it
	// always may.
	View *freshness.Monitor

	cache    cache.Cache
	clock    clock.Clock
	snapshot atomic.Pointer[effective.Snapshot]
	queue    queue
	report   report
	loaded   chan struct{} // closed once there is a snapshot

	mu          sync.Mutex
	subscribers []chan struct{}
	aclChanges  []*ACLChanges
}

var (
	_ manager.Runnable               = (*Store)(nil)
	_ manager.LeaderElectionRunnable = (*Store)(nil)
)

// New returns a store that reads from c once it is started.
func New(c cache.Cache, clk clock.Clock) *Store {
	return &Store{cache: c, clock: clk, queue: queue{wake: make(chan struct{}, 1)}, loaded: make(chan struct{})}
}

// NeedLeaderElection is false: every replica decides.
func (s *Store) NeedLeaderElection() bool { return false }

// Snapshot is the current snapshot, or nil if there is none to decide by: no complete one yet, or one that is too
// old. It takes no lock.
func (s *Store) Snapshot() *effective.Snapshot {
	if s.View != nil && !s.View.Fresh(s.clock.Now()) {
		return nil
	}
	return s.snapshot.Load()
}

// Synced reports whether there is a snapshot to decide by.
func (s *Store) Synced() bool { return s.Snapshot() != nil }

// Unavailable says why there is no snapshot to decide by: ErrNotSynced or ErrTooOld.
func (s *Store) Unavailable() error {
	if s.snapshot.Load() == nil {
		return ErrNotSynced
	}
	return ErrTooOld
}

// WaitSynced waits until there is a complete snapshot, or returns why ctx ended.
func (s *Store) WaitSynced(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNotSynced, context.Cause(ctx))
	case <-s.loaded:
		return nil
	}
}

// ReadyCheck is a readiness check: a replica that knows no policy, or whose policy is too old, must not be asked.
func (s *Store) ReadyCheck(*http.Request) error {
	if s.Synced() {
		return nil
	}
	err := s.Unavailable()
	if errors.Is(err, ErrTooOld) {
		return fmt.Errorf("%w: the view is %s old, and %s is the limit", err, s.View.Age(s.clock.Now()).Round(time.Second), s.View.Limit())
	}
	return err
}

// Watermarks are the resource versions up to which the snapshot holds everything, by kind: acl, grant, group. They
// follow what changes; what is quiet stays behind. They go back where etcd was restored.
func (s *Store) Watermarks() map[string]uint64 {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	versions := make(map[string]uint64, len(kindLabels))
	for k, version := range s.queue.applied {
		versions[kindLabels[k]] = version
	}
	return versions
}

// Subscribe returns a channel that receives after the snapshot was swapped and after the edge of a
// window has passed, until ctx ends. Wake-ups that nobody has received yet are one; each subscriber has
// its own channel.
func (s *Store) Subscribe(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subscribers = append(s.subscribers, ch)
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.subscribers = slices.DeleteFunc(s.subscribers, func(other chan struct{}) bool { return other == ch })
	})
	return ch
}

// SubscribeACLs returns the ACLs whose numbers may have changed, from now on until ctx ends.
func (s *Store) SubscribeACLs(ctx context.Context) *ACLChanges {
	c := &ACLChanges{wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aclChanges = append(s.aclChanges, c)
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.aclChanges = slices.DeleteFunc(s.aclChanges, func(other *ACLChanges) bool { return other == c })
	})
	return c
}

// Start loads the policy and keeps it up to date until ctx ends. It is called once.
func (s *Store) Start(ctx context.Context) error {
	s.queue.counts = s.Rule.Counts
	s.queue.listed = func(k kind) (first, last uint64) { return s.View.Listed(kindLabels[k]) }
	s.View.OnReopen(s.wakeSubscribers) // what was held up goes on
	s.View.OnList(s.rewind)
	synced, err := s.watch(ctx)
	if err != nil {
		return err
	}
	for _, checker := range synced {
		select {
		case <-ctx.Done():
			return nil
		case <-checker.Done():
		}
	}
	s.load(ctx, s.queue.take())
	s.queue.loaded()
	close(s.loaded)
	s.follow(ctx)
	return nil
}

// rewind has it told to everybody when the watermark of a kind goes back.
func (s *Store) rewind(label string, listed uint64) {
	if k := slices.Index(kindLabels[:], label); k >= 0 && s.queue.rewind(kind(k), listed) {
		s.wakeSubscribers()
	}
}

// watch sends the events of every kind to the queue, and returns what to wait for until the queue has
// received all that there was.
func (s *Store) watch(ctx context.Context) (synced []toolscache.DoneChecker, err error) {
	for i, obj := range watched {
		informer, err := s.cache.GetInformer(ctx, obj, cache.BlockUntilSynced(false))
		if err != nil {
			return nil, fmt.Errorf("watch %T: %w", obj, err)
		}
		s.report.watch(kind(i), informer)
		registration, err := informer.AddEventHandler(s.queue.handler(kind(i)))
		if err != nil {
			return nil, fmt.Errorf("watch %T: %w", obj, err)
		}
		// The registration has synced once the handler has returned for each object of the first list;
		// the informer alone has synced before that.
		synced = append(synced, registration.HasSyncedChecker())
	}
	return synced, nil
}

// load makes the first snapshot.
func (s *Store) load(ctx context.Context, all []pending) {
	var in effective.Input
	var acls []string
	for _, p := range all {
		switch obj := p.served().(type) {
		case *v1alpha1.ACL:
			acls = append(acls, obj.Name)
			acl, err := ACLOf(obj)
			if err == nil {
				in.ACLs = append(in.ACLs, acl)
			}
			s.report.note(p.objectKey, err != nil)
		case *v1alpha1.Grant:
			grant, problems := GrantOf(obj)
			in.Grants = append(in.Grants, grant)
			s.report.note(p.objectKey, len(problems) > 0)
		case *v1alpha1.Group:
			group, problems := GroupOf(obj)
			in.Groups = append(in.Groups, group)
			s.report.note(p.objectKey, len(problems) > 0)
		}
	}
	started := s.clock.Now()
	snapshot, problems := effective.Build(in)
	took := s.clock.Since(started)
	metrics.PolicyUpdateSeconds.WithLabelValues("build").Observe(took.Seconds())
	// What the problems are is on the objects that have them.
	ctrl.LoggerFrom(ctx).WithName("policystore").Info("Policy loaded", "counts", snapshot.Counts(), "problems", len(problems), "took", took)
	s.publish(snapshot, acls)
}

// follow applies events and tells of window edges until ctx ends.
func (s *Store) follow(ctx context.Context) {
	told := s.clock.Now() // of edges up to here
	timer := s.clock.NewTimer(maxSleep)
	defer timer.Stop()
	for {
		now := s.clock.Now()
		if edge, ok := s.snapshot.Load().NextEdge(told); ok && !edge.After(now) {
			s.wakeSubscribers()
		}
		told = now // also if the clock was set back: those edges will pass again
		edge, ok := s.snapshot.Load().NextEdge(now)
		if ok {
			timer.Reset(min(edge.Sub(now), maxSleep))
		} else {
			timer.Reset(maxSleep)
		}
		if ok && !edge.After(s.clock.Now()) {
			continue // the clock was set forward while the timer was not armed yet
		}
		select {
		case <-ctx.Done():
			return
		case <-s.queue.wake:
			s.apply(ctx, s.queue.take())
			s.queue.done()
		case <-timer.C():
		}
	}
}

// apply makes the next snapshot from the current one and what has happened since.
func (s *Store) apply(ctx context.Context, events []pending) {
	if len(events) == 0 {
		return // taken together with an earlier wake-up
	}
	started := s.clock.Now()
	before := s.snapshot.Load()
	changes := make([]effective.Change, len(events))
	touched := map[string]struct{}{}
	for i, p := range events {
		change, invalid := p.change()
		changes[i] = change
		s.report.note(p.objectKey, invalid)
		if p.kind != kindGrant {
			continue
		}
		if old, ok := before.GrantNamed(p.name); ok {
			touched[old.ACL] = struct{}{}
		}
		if grant, ok := p.served().(*v1alpha1.Grant); ok {
			touched[grant.Spec.ACL] = struct{}{}
		}
	}
	after := before.Apply(changes...)
	var acls []string
	for name := range touched {
		was, is := before.ACLStats(name), after.ACLStats(name)
		if was.Grants != is.Grants || was.Subjects != is.Subjects {
			acls = append(acls, name)
		}
	}
	metrics.PolicyUpdateSeconds.WithLabelValues("apply").Observe(s.clock.Since(started).Seconds())
	if log := ctrl.LoggerFrom(ctx).WithName("policystore").V(2); log.Enabled() {
		log.Info("Policy changed", "events", len(events), "counts", after.Counts())
	}
	s.publish(after, acls)
}

// publish swaps the snapshot and then tells everybody, in this order: who is woken sees the new one.
func (s *Store) publish(next *effective.Snapshot, acls []string) {
	s.snapshot.Store(next)
	s.report.changed.Store(s.clock.Now().UnixNano())
	s.wakeSubscribers()
	if len(acls) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.aclChanges {
		c.add(acls)
	}
}

func (s *Store) wakeSubscribers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.subscribers {
		poke(ch)
	}
}

// poke leaves a wake-up in a channel of capacity 1, unless there is one.
func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// ACLChanges collects the names of ACLs of which the number of grants or subjects has changed. It
// exists because the events of an informer come too early: when they do, the snapshot that counts may
// not be there yet.
type ACLChanges struct {
	wake chan struct{}

	mu    sync.Mutex
	names map[string]struct{}
}

// C receives when there is something to take.
func (c *ACLChanges) C() <-chan struct{} { return c.wake }

// Take returns the names that have come since the last call, sorted. The snapshot that they belong to
// is in place.
func (c *ACLChanges) Take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := slices.Sorted(maps.Keys(c.names))
	c.names = nil
	return names
}

func (c *ACLChanges) add(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names == nil {
		c.names = make(map[string]struct{}, len(names))
	}
	for _, name := range names {
		c.names[name] = struct{}{}
	}
	poke(c.wake)
}
