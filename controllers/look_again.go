package controllers

import (
	"context"
	"time"
)

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
