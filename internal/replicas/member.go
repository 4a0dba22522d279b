// Package replicas tells the replica that writes how far every other one has come, so that a status can say when all of
// them decide by it.
//
//	each replica ─► a Lease of its own, with the resource version of each kind up to which it decides
//	the leader   ─► all Leases ─► does every replica that is alive decide by version N?
//
// A replica renews its Lease only while its view is not too old, and a Lease outlives the limit on that age. So a replica
// whose Lease has run out decides nothing any more: it need not be waited for.
package replicas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/grantry/grantry/api/v1alpha1"
)

const (
	// renewEach is how often a Lease is renewed when nothing changes, and changeEach how often at most when the policy
	// does.
	renewEach, changeEach = 10 * time.Second, time.Second
	// margin is by how much a Lease outlives the limit on the age of a view.
	margin = 5 * time.Second
	// patience is how long one attempt to write the Lease may take.
	patience = 5 * time.Second
	// farewell is how long a replica that ends waits for its Lease to be deleted.
	farewell = 2 * time.Second
)

// Policy is what a replica decides by.
type Policy interface {
	// Watermarks are the resource versions up to which the snapshot holds everything, by kind.
	Watermarks() map[string]uint64
	// Synced reports whether anything is decided by it.
	Synced() bool
	// Subscribe returns a channel that receives after a change, until ctx ends.
	Subscribe(ctx context.Context) <-chan struct{}
}

// Member publishes how far this replica has come. It runs on every replica.
type Member struct {
	// Client writes Leases; it need not read them.
	Client client.Client
	// Namespace and Name are those of the Lease. Name is this process's alone.
	Namespace, Name string
	Policy          Policy
	// MaxAge is the limit on the age of a view, 0 for none.
	MaxAge time.Duration
	Clock  clock.Clock

	isCounted bool        // the Lease has been written
	mayServe  atomic.Bool // see ReadyCheck
}

var (
	_ manager.Runnable               = (*Member)(nil)
	_ manager.LeaderElectionRunnable = (*Member)(nil)
)

// NeedLeaderElection is false: every replica has a Lease.
func (m *Member) NeedLeaderElection() bool { return false }

// ReadyCheck is a readiness check: nobody waits for a replica that was refused its Lease, so it must not be asked. Where the
// API server can't write, as with an etcd that is full, it is: no status is written then that would say who decides by what.
func (m *Member) ReadyCheck(*http.Request) error {
	if !m.mayServe.Load() {
		return errors.New("this replica has not said yet how far it has come: its Lease was refused, or not written yet")
	}
	return nil
}

// Start publishes until ctx ends, and then takes the Lease away, so that nobody waits for this replica.
func (m *Member) Start(ctx context.Context) error {
	changed := m.Policy.Subscribe(ctx)
	complaints := rate.Sometimes{Interval: renewEach}
	for {
		pause := renewEach - changeEach
		if m.Policy.Synced() {
			if err := m.publish(ctx); err != nil && ctx.Err() == nil {
				pause = 0
				complaints.Do(func() { m.complain(ctx, err) })
			}
		}
		if !m.sleep(ctx, changeEach, nil) || !m.sleep(ctx, pause, changed) {
			return m.leave(ctx)
		}
	}
}

// complain logs that the Lease could not be written.
func (m *Member) complain(ctx context.Context, err error) {
	ctrl.LoggerFrom(ctx).WithName("replicas").Info("Could not say how far this replica has come; Propagated waits for it until its Lease has run out, and it is not ready if it was refused its first",
		"lease", m.Name, "lasts", m.lasts(), "ready", m.mayServe.Load(), "error", err.Error())
}

// lasts is how long a Lease lasts that is not renewed.
func (m *Member) lasts() time.Duration { return m.MaxAge + margin + renewEach }

// sleep waits for a time or a wake-up, and reports whether ctx goes on.
func (m *Member) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := m.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-timer.C():
	}
	return true
}

// publish writes the Lease: one request, three for the first time.
func (m *Member) publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := m.write(ctx)
	m.isCounted = m.isCounted || err == nil
	m.mayServe.Store(m.isCounted || !isRefusal(err))
	return err
}

// isRefusal reports whether the API server works, and would not have a request for what it is.
func isRefusal(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return false
	}
	code := status.Status().Code
	return code >= http.StatusBadRequest && code < http.StatusInternalServerError && code != http.StatusTooManyRequests
}

func (m *Member) write(ctx context.Context) error {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name}}
	watermarks, err := json.Marshal(m.Policy.Watermarks())
	if err != nil {
		return err
	}
	content, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"labels":      map[string]string{v1alpha1.LabelReplica: "true"},
			"annotations": map[string]string{v1alpha1.AnnotationWatermarks: string(watermarks)},
		},
		"spec": coordinationv1.LeaseSpec{
			HolderIdentity: &m.Name, LeaseDurationSeconds: new(int32(m.lasts() / time.Second)), RenewTime: new(metav1.NewMicroTime(m.Clock.Now())),
		},
	})
	if err != nil {
		return err
	}
	patch := client.RawPatch("application/merge-patch+json", content)
	err = m.Client.Patch(ctx, lease, patch)
	if !apierrors.IsNotFound(err) {
		return err
	}
	if err := m.Client.Create(ctx, lease); err != nil {
		return fmt.Errorf("create the Lease: %w", err)
	}
	return m.Client.Patch(ctx, lease, patch)
}

// leave deletes the Lease. If that fails, it runs out.
func (m *Member) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	err := m.Client.Delete(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name}})
	if client.IgnoreNotFound(err) != nil {
		ctrl.LoggerFrom(ctx).WithName("replicas").Info("Could not delete the Lease; it runs out by itself", "lease", m.Name, "error", err.Error())
	}
	return nil
}
