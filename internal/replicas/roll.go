package replicas

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/grantry/grantry/api/v1alpha1"
)

const (
	// sweepEach is how often Leases are looked through for those that have run out.
	sweepEach = 5 * time.Second
	// forgotten is after how long the Lease of a replica that has ended without a word is deleted.
	forgotten = 10 * time.Minute
)

// Roll knows how far every replica has come. It runs on the leader.
type Roll struct {
	// Config and Options are how to watch Leases, and Client deletes them.
	Config    *rest.Config
	Options   cache.Options
	Client    client.Client
	Namespace string
	Clock     clock.WithTicker

	mu       sync.Mutex
	isSynced bool
	members  map[string]*present
	wake     []chan struct{}
}

// present is what the roll has of a replica. Leases are timed by when they are seen to change, by this replica's own
// clock: clocks of others may be wrong.
type present struct {
	watermarks map[string]uint64
	renewed    time.Time // as the Lease says; compared with itself only
	seen       time.Time
	lasts      time.Duration
}

var (
	_ manager.Runnable               = (*Roll)(nil)
	_ manager.LeaderElectionRunnable = (*Roll)(nil)
)

// NeedLeaderElection is true: who writes nothing need not know.
func (r *Roll) NeedLeaderElection() bool { return true }

// Start follows the Leases until ctx ends.
func (r *Roll) Start(ctx context.Context) error {
	options := r.Options
	options.ByObject = map[client.Object]cache.ByObject{&coordinationv1.Lease{}: {
		Namespaces: map[string]cache.Config{r.Namespace: {}}, Label: labels.SelectorFromSet(labels.Set{v1alpha1.LabelReplica: "true"}),
	}}
	leases, err := cache.New(r.Config, options)
	if err != nil {
		return fmt.Errorf("make a cache of Leases: %w", err)
	}
	informer, err := leases.GetInformer(ctx, &coordinationv1.Lease{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch Leases: %w", err)
	}
	registration, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { r.saw(o) },
		UpdateFunc: func(_, o any) { r.saw(o) },
		DeleteFunc: func(o any) { r.left(o) },
	})
	if err != nil {
		return fmt.Errorf("watch Leases: %w", err)
	}
	go r.sweep(ctx, registration.HasSynced)
	return leases.Start(ctx)
}

// Holds reports whether every replica that is alive decides by what a kind was at a version. Nobody known is not
// everybody.
func (r *Roll) Holds(kind string, version uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	alive, now := 0, r.Clock.Now()
	for _, p := range r.members {
		if now.Sub(p.seen) > p.lasts {
			continue
		}
		if p.watermarks[kind] < version {
			return false
		}
		alive++
	}
	return r.isSynced && alive > 0
}

// Subscribe returns a channel that receives after a replica has come further, or is gone, for as long as the roll lives.
func (r *Roll) Subscribe(context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wake = append(r.wake, ch)
	return ch
}

func (r *Roll) saw(object any) {
	lease, ok := object.(*coordinationv1.Lease)
	if !ok || lease.Spec.RenewTime == nil || lease.Spec.LeaseDurationSeconds == nil {
		return // it is being made
	}
	watermarks := map[string]uint64{}
	if json.Unmarshal([]byte(lease.Annotations[v1alpha1.AnnotationWatermarks]), &watermarks) != nil {
		watermarks = nil // holds nothing up to any version
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.members == nil {
		r.members = map[string]*present{}
	}
	p := r.members[lease.Name]
	if p == nil {
		p = &present{}
		r.members[lease.Name] = p
	}
	if !p.renewed.Equal(lease.Spec.RenewTime.Time) || p.seen.IsZero() {
		p.renewed, p.seen = lease.Spec.RenewTime.Time, r.Clock.Now()
	}
	p.watermarks, p.lasts = watermarks, time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second
	r.tell()
}

func (r *Roll) left(object any) {
	key, err := toolscache.DeletionHandlingMetaNamespaceKeyFunc(object)
	if err != nil {
		return
	}
	_, name, err := toolscache.SplitMetaNamespaceKey(key)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, name)
	r.tell()
}

func (r *Roll) tell() {
	for _, ch := range r.wake {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// sweep tells of Leases that run out, which is no event, and deletes those that have long ago.
func (r *Roll) sweep(ctx context.Context, synced func() bool) {
	ticker := r.Clock.NewTicker(sweepEach)
	defer ticker.Stop()
	if !toolscache.WaitForCacheSync(ctx.Done(), synced) {
		return
	}
	r.mu.Lock()
	r.isSynced = true
	r.mu.Unlock()
	for {
		for _, name := range r.look() {
			lease := &coordinationv1.Lease{}
			lease.Namespace, lease.Name = r.Namespace, name
			if err := client.IgnoreNotFound(r.Client.Delete(ctx, lease)); err != nil && ctx.Err() == nil {
				ctrl.LoggerFrom(ctx).WithName("replicas").V(1).Info("Could not delete the Lease of a replica that is gone", "lease", name, "error", err.Error())
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
	}
}

// look wakes who waits, and returns the Leases that nobody has renewed for long.
func (r *Roll) look() (old []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, p := range r.members {
		if r.Clock.Since(p.seen) > forgotten {
			old = append(old, name)
		}
	}
	r.tell()
	return old
}

// Alone is the roll of an operator that has no other replicas.
type Alone struct{ Policy Policy }

// Holds reports whether this replica decides by what a kind was at a version.
func (a Alone) Holds(kind string, version uint64) bool {
	return a.Policy.Synced() && a.Policy.Watermarks()[kind] >= version
}

// Subscribe returns a channel that receives after a change, until ctx ends.
func (a Alone) Subscribe(ctx context.Context) <-chan struct{} { return a.Policy.Subscribe(ctx) }
