package controllers

import (
	"context"
	"time"

	"k8s.io/utils/clock"
)

// lookShare is how many times as long as a look the pause after it is at least, so that who changes the policy all the
// time, as a tenant may with a Grant of their own, takes a tenth of one processor for each kind of look and no more.
const lookShare = 10

// paced looks, and returns how long to pause then: for least, or in proportion to what the look took.
func paced(clk clock.PassiveClock, least time.Duration, look func()) (pause time.Duration) {
	began := clk.Now()
	look()
	return max(least, lookShare*clk.Since(began))
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
