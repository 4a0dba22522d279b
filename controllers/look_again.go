package controllers

import (
	"context"
	"time"

	"k8s.io/utils/clock"
)

// paced looks, and returns how long to pause then: for least, or for times as long as the look took. So who changes the policy
// all the time, as a tenant may with a Grant of their own, keeps no processor busy.
func paced(clk clock.PassiveClock, least time.Duration, times int, look func()) (pause time.Duration) {
	began := clk.Now()
	look()
	return max(least, time.Duration(times)*clk.Since(began))
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
