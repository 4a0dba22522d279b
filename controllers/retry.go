package controllers

import (
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// conflictRetry is how soon to look again after a write that somebody else's was ahead of. The event of
// that other write usually comes first; this is for the case that it came before.
const conflictRetry = 100 * time.Millisecond

// unlessConflict is how a reconcile ends with an error. A conflict is none: it says that the object was
// not read as it is, so it is read again, and nobody is told.
func unlessConflict(err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictRetry}, nil
	}
	return ctrl.Result{}, err
}

// The first retry of a failed reconcile comes after retryFloor, and each further one after twice the time,
// up to retryCeiling: so much later than the cause ends does a launch come that it held up.
const (
	retryFloor   = 5 * time.Millisecond
	retryCeiling = 30 * time.Second
)

// options are those of a controller of runs or Jobs. Each is retried by itself, however many fail.
func options(concurrency int) controller.Options {
	return controller.Options{MaxConcurrentReconciles: concurrency, RateLimiter: retryLimiter()}
}

// retriesEach second, and retriesAtOnce, are what all objects of a kind of the policy have together. The ten that a
// controller has else are hours where 100,000 have failed, since the API server was away; without a bound one that refuses
// everything would be asked thousands of times a second.
const retriesEach, retriesAtOnce = 200, 1000

// policyOptions are those of a controller of ACLs, Grants or Groups, of which it writes nothing but the status.
func policyOptions(concurrency int) controller.Options {
	together := &workqueue.TypedBucketRateLimiter[reconcile.Request]{Limiter: rate.NewLimiter(retriesEach, retriesAtOnce)}
	return controller.Options{MaxConcurrentReconciles: concurrency, RateLimiter: workqueue.NewTypedMaxOfRateLimiter(retryLimiter(), together)}
}

func retryLimiter() workqueue.TypedRateLimiter[reconcile.Request] {
	return workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryFloor, retryCeiling)
}
