package controllers

import (
	"context"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/grantry/grantry/api/v1alpha1"
)

// GroupReconciler writes the status of Groups. Decisions do not depend on it.
type GroupReconciler struct {
	client.Client
	Clock clock.PassiveClock

	validator   *validator   // nil without admission
	propagation *propagation // nil if there is nobody to ask about
}

var _ reconcile.Reconciler = (*GroupReconciler)(nil)

// +kubebuilder:rbac:groups=grantry.dev,resources=groups,verbs=get;list;watch
// +kubebuilder:rbac:groups=grantry.dev,resources=groups/status,verbs=patch

// Reconcile brings the status of one Group up to date.
func (r *GroupReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	group := &v1alpha1.Group{}
	if isThere, err := getPolicyObject(ctx, r.Client, r.propagation, req.NamespacedName, group); err != nil || !isThere {
		return ctrl.Result{}, err
	}
	why, err := r.validator.validate(ctx, group, group.Spec.GrantedBy)
	if err != nil {
		return ctrl.Result{}, err
	}
	before := group.DeepCopy()
	now := r.Clock.Now()
	setGroupStatus(group, why, now)
	if err := patchPolicyStatus(ctx, r.Client, r.propagation, r.validator, before, group, &group.Status.Conditions, now); err != nil || why == "" {
		return unlessConflict(err)
	}
	return ctrl.Result{RequeueAfter: revalidation}, nil
}

// SetupWithManager makes the manager run the reconciler.
func (r *GroupReconciler) SetupWithManager(mgr ctrl.Manager, concurrency int) error {
	b := ctrl.NewControllerManagedBy(mgr).For(&v1alpha1.Group{}, builder.WithPredicates(specChanged))
	return r.propagation.watch(b).
		WithOptions(policyOptions(concurrency)).
		Complete(r)
}
