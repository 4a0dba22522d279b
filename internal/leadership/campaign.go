// Package leadership lets one replica at a time do what must be done once, and hands that on without ending a process.
//
//	contend for the lease ─► a term: the work, under a context of its own ─► the work has ended ─► give the lease back ─┐
//	        ▲                                                                                                           │
//	        └───────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//
// controller-runtime's manager ends its process when it loses the lease, and takes along the webhooks that answer well
// without one. Here the work ends, and nothing else. It ends before the lease is given back, and at the latest after
// RenewDeadline without a renewal, when by the others' clocks LeaseDuration has not passed yet. Nothing can promise more
// by time alone: a process that was stopped may send one more request when it goes on. What is written must bear that,
// and does (docs/architecture.md, crash safety).
package leadership

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
)

// What Kubernetes' own components have.
const (
	// LeaseDuration is how long others wait for a leader that is not heard of.
	LeaseDuration = 15 * time.Second
	// RenewDeadline is how long a leader works on without having renewed its lease.
	RenewDeadline = 10 * time.Second
	// RetryPeriod is how often a lease is renewed, and how often it is tried for.
	RetryPeriod = 2 * time.Second
)

// ReturnTimeout is how long it is tried to give a lease back. It runs out by itself, LeaseDuration after it was renewed.
const ReturnTimeout = 5 * time.Second

// Campaign contends for a lease again and again, and works while it has it.
type Campaign struct {
	// Lock is the lease. Nil is no election: there is one term, and its error is the campaign's.
	Lock resourcelock.Interface
	// Name is that of the lease in metrics.
	Name string
	// Prepare is waited for before the first term, if it is set: who is not prepared must not lead.
	Prepare func(ctx context.Context) error
	// Work is what only a leader does. It must stop writing when its context ends, and return soon after. It is called
	// once for each term, and may return earlier: an error is logged, and somebody else's turn comes.
	Work func(ctx context.Context) error
	// LeaseDuration, RenewDeadline, RetryPeriod and ReturnTimeout are those of this package if they are zero.
	LeaseDuration, RenewDeadline, RetryPeriod, ReturnTimeout time.Duration
}

// Start campaigns until ctx ends and the work has.
func (c *Campaign) Start(ctx context.Context) error {
	if c.Prepare != nil {
		if err := c.Prepare(ctx); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it is to end, and had not begun
			}
			return err
		}
	}
	if c.Lock == nil {
		return c.Work(ctx)
	}
	log := ctrl.LoggerFrom(ctx).WithName("leadership")
	for ctx.Err() == nil {
		switch err := c.term(ctx); {
		case errors.Is(err, errTaken), errors.Is(err, errNotRenewed):
			log.Info("Stopped leading", "reason", err.Error())
		case err != nil:
			log.Error(err, "Stopped leading")
		}
		pause(ctx, orDefault(c.RetryPeriod, RetryPeriod))
	}
	return nil
}

// term waits until this replica leads, works until it does not any more, and gives the lease back.
func (c *Campaign) term(ctx context.Context) error {
	// The lease is held until the work has ended, and not only until it is told to.
	held, resign := context.WithCancel(context.WithoutCancel(ctx))
	defer resign()
	lock := &watchedLock{Interface: c.Lock}
	begun, ended := make(chan context.Context), make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: c.Name,
		LeaseDuration: orDefault(c.LeaseDuration, LeaseDuration), RenewDeadline: orDefault(c.RenewDeadline, RenewDeadline), RetryPeriod: orDefault(c.RetryPeriod, RetryPeriod),
		// Not ReleaseOnCancel, which gives the lease back before it ends the context of the work.
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(leading context.Context) {
				select {
				case begun <- leading:
				case <-leading.Done():
				}
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return fmt.Errorf("prepare the election: %w", err)
	}
	go func() {
		defer close(ended)
		elector.Run(held)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	case leading := <-begun:
		err = c.work(ctx, leading, lock)
	}
	resign()
	<-ended
	c.giveBack(ctx)
	return err
}

// errTaken and errNotRenewed are why a term ended that nobody had told to.
var (
	errTaken      = errors.New("the lease has another holder, or none")
	errNotRenewed = errors.New("the lease could not be renewed in time")
)

// work works until ctx ends, or leading, or somebody else is seen to hold the lease.
func (c *Campaign) work(ctx, leading context.Context, lock *watchedLock) error {
	working, stop := context.WithCancelCause(leading)
	defer stop(nil)
	defer context.AfterFunc(ctx, func() { stop(nil) })()
	taken := func() { stop(errTaken) }
	lock.taken.Store(&taken)
	err := c.Work(working)
	switch {
	case errors.Is(context.Cause(working), errTaken):
		return errors.Join(errTaken, err)
	case leading.Err() != nil:
		return errors.Join(errNotRenewed, err)
	}
	return err
}

// giveBack lets others have the lease at once. Nothing is written by it any more. A renewal that was cut off may still
// come between reading the lease and writing it: that is a conflict, and tried again.
func (c *Campaign) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), orDefault(c.ReturnTimeout, ReturnTimeout))
	defer cancel()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		record, _, err := c.Lock.Get(ctx)
		if err != nil || record.HolderIdentity != c.Lock.Identity() {
			return err
		}
		record.HolderIdentity, record.LeaseDurationSeconds = "", 1
		return c.Lock.Update(ctx, *record)
	})
	if err != nil && !apierrors.IsNotFound(err) {
		ctrl.LoggerFrom(ctx).WithName("leadership").Info("Could not give the lease back; it runs out by itself", "lease", c.Lock.Describe(), "error", err.Error())
	}
}

// watchedLock tells a leader at once that somebody else holds the lease, where client-go would try to renew it until
// RenewDeadline; or that it was deleted, where client-go would create it anew and others might have been faster.
type watchedLock struct {
	resourcelock.Interface
	taken atomic.Pointer[func()]
}

// Get is for resourcelock.Interface. A leader asks only after it could not renew the lease as it knew it.
func (l *watchedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	isTaken := apierrors.IsNotFound(err) || err == nil && record.HolderIdentity != l.Identity()
	if taken := l.taken.Load(); taken != nil && isTaken {
		(*taken)()
	}
	return record, raw, err
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
