package controllers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/policystore"
)

// aclCountDelay is how long changed numbers of an ACL wait for more, so that 100,000 Grants that are
// loaded at once cost an ACL one write a second, and not one each.
const aclCountDelay = time.Second

// ACLReconciler writes the status of ACLs: whether they are in force, what they protect in canonical
// form, and how many Grants and subjects use them. Decisions do not depend on it.
type ACLReconciler struct {
	client.Client
	Clock clock.PassiveClock
	Store *policystore.Store

	validator   *validator   // nil without admission
	propagation *propagation // nil if there is nobody to ask about
}

var _ reconcile.Reconciler = (*ACLReconciler)(nil)

// +kubebuilder:rbac:groups=grantry.dev,resources=acls,verbs=get;list;watch
// +kubebuilder:rbac:groups=grantry.dev,resources=acls/status,verbs=patch

// Reconcile brings the status of one ACL up to date.
func (r *ACLReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	acl := &v1alpha1.ACL{}
	if isThere, err := getPolicyObject(ctx, r.Client, r.propagation, req.NamespacedName, acl); err != nil || !isThere {
		return ctrl.Result{}, err
	}
	why, err := r.validator.validate(ctx, acl, acl.Spec.GrantedBy)
	if err != nil {
		return ctrl.Result{}, err
	}
	before := acl.DeepCopy()
	now := r.Clock.Now()
	setACLStatus(acl, r.Store.Snapshot(), why, now)
	if err := patchPolicyStatus(ctx, r.Client, r.propagation, r.validator, before, acl, &acl.Status.Conditions, now); err != nil || why == "" {
		return unlessConflict(err)
	}
	return ctrl.Result{RequeueAfter: revalidation}, nil
}

// SetupWithManager makes the manager run the reconciler.
func (r *ACLReconciler) SetupWithManager(mgr ctrl.Manager, concurrency int) error {
	b := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.ACL{}, builder.WithPredicates(specChanged)).
		WatchesRawSource(source.Func(r.enqueueCounted))
	return r.propagation.watch(b).
		WithOptions(policyOptions(concurrency)).
		Complete(r)
}

// enqueueCounted enqueues the ACLs whose numbers have changed, in the snapshot that the reconcile will
// read. A waiting request is not postponed by another one for the same ACL.
func (r *ACLReconciler) enqueueCounted(
	ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request],
) error {
	changes := r.Store.SubscribeACLs(ctx)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changes.C():
			}
			for _, name := range changes.Take() {
				queue.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}, aclCountDelay)
			}
		}
	}()
	return nil
}
