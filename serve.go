package main

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// serve runs some things on top of a base that they live on: webhooks and the leader's work on caches, snapshot, this
// replica's Lease and the probes. When ctx ends, those on top end first and all at once, and finish what has begun; the
// base is up to date until the last of them has. What ends by itself with an error ends the rest in the same order.
func serve(ctx context.Context, base manager.Runnable, onTop ...manager.Runnable) error {
	baseCtx, endBase := context.WithCancel(context.WithoutCancel(ctx))
	defer endBase()
	ctx, endTop := context.WithCancel(ctx)
	defer endTop()
	baseEnded := make(chan error, 1)
	go func() {
		defer endTop()
		baseEnded <- base.Start(baseCtx)
	}()
	top, topCtx := errgroup.WithContext(ctx)
	for _, r := range onTop {
		top.Go(func() error { return r.Start(topCtx) })
	}
	err := top.Wait()
	endBase()
	return errors.Join(err, <-baseEnded)
}
