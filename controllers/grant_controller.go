package controllers

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/index"
)

// GrantReconciler writes the status of Grants: whether they are in force, on what and until when. It
// looks again when the ACL comes or goes, and at the moment when the window opens or closes. Decisions
// do not depend on it.
type GrantReconciler struct {
	client.Client
	Clock    clock.PassiveClock
	Recorder events.EventRecorder

	validator   *validator   // nil without admission
	granters    *granters    // nil without admission
	propagation *propagation // nil if there is nobody to ask about
}

var _ reconcile.Reconciler = (*GrantReconciler)(nil)

// +kubebuilder:rbac:groups=grantry.dev,resources=grants,verbs=get;list;watch
// +kubebuilder:rbac:groups=grantry.dev,resources=grants/status,verbs=patch
// +kubebuilder:rbac:groups=grantry.dev,resources=acls,verbs=get;list;watch

// Reconcile brings the status of one Grant up to date.
func (r *GrantReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	grant := &v1alpha1.Grant{}
	if isThere, err := getPolicyObject(ctx, r.Client, r.propagation, req.NamespacedName, grant); err != nil || !isThere {
		return ctrl.Result{}, err
	}
	acl, err := r.aclOf(ctx, grant)
	if err != nil {
		return ctrl.Result{}, err
	}
	standing, err := r.standingOf(ctx, grant, acl)
	if err != nil {
		return ctrl.Result{}, err
	}
	now := r.Clock.Now()
	before := grant.DeepCopy()
	setGrantStatus(grant, acl, standing, now)
	if err := patchPolicyStatus(ctx, r.Client, r.propagation, r.validator, before, grant, &grant.Status.Conditions, now); err != nil {
		return unlessConflict(err)
	}
	r.tell(before, grant)
	again := nextGrantEdge(grant, now)
	if (standing.invalid != "" || standing.aclWaits) && (again == 0 || again > revalidation) {
		again = revalidation
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// standingOf says whether who wrote the Grant may write it, and still could, and whether its ACL counts.
func (r *GrantReconciler) standingOf(ctx context.Context, grant *v1alpha1.Grant, acl *v1alpha1.ACL) (standing, error) {
	why, err := r.validator.validate(ctx, grant, grant.Spec.GrantedBy)
	if err != nil {
		return standing{}, err
	}
	return standing{invalid: why, lost: why == "" && r.granters.hasLost(grant), aclWaits: acl != nil && !r.validator.counts(acl)}, nil
}

// aclOf is the ACL that the Grant names, or nil if there is none.
func (r *GrantReconciler) aclOf(ctx context.Context, grant *v1alpha1.Grant) (*v1alpha1.ACL, error) {
	acl := &v1alpha1.ACL{}
	switch err := r.Get(ctx, types.NamespacedName{Name: grant.Spec.ACL}, acl); {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("get ACL %s: %w", grant.Spec.ACL, err)
	}
	return acl, nil
}

// SetupWithManager makes the manager run the reconciler. It needs the index of Grants by ACL.
func (r *GrantReconciler) SetupWithManager(mgr ctrl.Manager, concurrency int) error {
	b := ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Grant{}, builder.WithPredicates(specChanged)).
		Watches(&v1alpha1.ACL{}, handler.EnqueueRequestsFromMapFunc(r.grantsOf),
			builder.WithPredicates(predicate.Or(specChanged, predicate.Funcs{UpdateFunc: r.validityChanged})))
	if r.granters != nil {
		b = b.WatchesRawSource(source.Func(r.granters.enqueue))
	}
	return r.propagation.watch(b).
		WithOptions(policyOptions(concurrency)).
		Complete(r)
}

// validityChanged passes an ACL that begins to count or stops to, without another spec.
func (r *GrantReconciler) validityChanged(e event.UpdateEvent) bool {
	return r.validator.counts(e.ObjectOld) != r.validator.counts(e.ObjectNew)
}

// grantsOf are the Grants that name an ACL. Only their names are read, so they are not copied: there
// may be 100,000.
func (r *GrantReconciler) grantsOf(ctx context.Context, acl client.Object) []reconcile.Request {
	var grants v1alpha1.GrantList
	err := r.List(ctx, &grants, client.MatchingFields{index.GrantACL: acl.GetName()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Grants of an ACL can't be listed; their status is late until they change", "acl", acl.GetName())
		return nil
	}
	requests := make([]reconcile.Request, len(grants.Items))
	for i := range grants.Items {
		requests[i].Name = grants.Items[i].Name
	}
	return requests
}
