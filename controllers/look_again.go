package controllers

import (
	"context"
	"time"

	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// pace is how long to pause after a look: for least, or for times as long as the look took. So who changes the policy
// all the time, as a tenant may with a Grant of their own, keeps no processor busy.
type pace struct {
	clock clock.PassiveClock
	least time.Duration
	times int
}

// enqueue enqueues what a look finds, logs what it could not, and returns how long to pause then.
func (p pace) enqueue(
	ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request], what string,
	look func(context.Context) ([]reconcile.Request, error),
) (pause time.Duration) {
	began := p.clock.Now()
	requests, err := look(ctx)
	if err != nil {
		ctrl.LoggerFrom(ctx).Error(err, what)
	}
	for _, request := range requests {
		queue.Add(request)
	}
	return max(p.least, time.Duration(p.times)*p.clock.Since(began))
}

// lookAgain looks whenever it is woken, and otherwise every so often, until ctx ends. After each look it pauses for as
// long as that says.
func lookAgain(ctx context.Context, woken <-chan struct{}, every time.Duration, look func() (pause time.Duration)) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-woken:
		case <-ticker.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(look()): //nolint:forbidigo // a pause, not a decision
		}
	}
}
