package controllers

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/policystore"
)

// policyPause is how long at least lies between two looks at what a change of policy affects. A look
// costs about a microsecond for each Job that may be launched, and more for one that may not, which is told why; while
// Grants stream in, this bounds how often it is paid, and policyShare does where there are many Jobs: the pause is at least
// so many times as long as the look. It is short, as running work that a revocation ends waits for it.
const (
	policyPause = 50 * time.Millisecond
	policyShare = 3
)

// groupsCheck is how often it is asked which owners' groups have become too old to count: no change of the
// policy tells.
const groupsCheck = time.Minute

// policySource is a source of reconcile requests: whenever the policy changes or a window opens or closes,
// and every so often, it asks what that affects.
type policySource struct {
	store    *policystore.Store
	clock    clock.PassiveClock // by which a look is timed
	affected func(context.Context) ([]ctrl.Request, error)
	// every is how often it asks without a change.
	every time.Duration
}

var _ source.SyncingSource = policySource{}

// policyPatience is how long a controller waits for the first snapshot before it starts to work. After
// that it works without, so that those who wait are told: nothing is launched, and every status says why.
const policyPatience = 5 * time.Second

// WaitForSync holds the controller's workers back until the policy is known. Without it, an operator that
// starts would write "not synced" into every status, and take it back milliseconds later.
func (s policySource) WaitForSync(ctx context.Context) error {
	err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, policyPatience, true, func(context.Context) (bool, error) {
		return s.store.Synced(), nil
	})
	if ctx.Err() == nil && wait.Interrupted(err) {
		ctrl.LoggerFrom(ctx).Info("Policy is not loaded yet; nothing is launched until it is")
		return nil
	}
	return err
}

// Start begins to listen, and returns.
func (s policySource) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	changed := s.store.Subscribe(ctx)
	go lookAgain(ctx, changed, s.every, func() time.Duration {
		if errors.Is(s.store.Unavailable(), policystore.ErrTooOld) && !s.store.Synced() {
			return 0 // nothing is launched; every status stays as it is, until it is known what it should be
		}
		return s.look(ctx, queue)
	})
	return nil
}

// look enqueues what the policy affects, and returns how long to pause then.
func (s policySource) look(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) (pause time.Duration) {
	return pace{s.clock, policyPause, policyShare}.enqueue(ctx, queue, "Find what a change of policy affects", s.affected)
}

// differs says whether the Authorized condition is not what it should be.
func differs(conditions []metav1.Condition, want report) bool {
	have := meta.FindStatusCondition(conditions, v1alpha1.ConditionAuthorized)
	return have == nil || have.Status != want.Status || have.Reason != want.Reason || have.Message != want.Message
}
