package main

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// acts are what runnables do, in order.
type acts struct {
	mu   sync.Mutex
	done []string
}

func (a *acts) note(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = append(a.done, what)
}

// runnable is told to end, takes a time to, and ends with an error; if fails is set, it ends by itself after that.
func (a *acts) runnable(name string, takes, fails time.Duration, err error) manager.Runnable {
	return manager.RunnableFunc(func(ctx context.Context) error {
		if fails == 0 {
			fails = 1000 * time.Hour
		}
		select {
		case <-ctx.Done():
			a.note(name + " is told")
			time.Sleep(takes)
		case <-time.After(fails):
		}
		a.note(name + " ends")
		return err
	})
}

// TestServe: what is on top ends first, all at once, and what it lives on after the last of them.
func TestServe(t *testing.T) {
	t.Parallel()
	failure := errors.New("failure")
	cases := map[string]struct {
		baseFails, oneFails time.Duration // by itself, after that
		baseErr, oneErr     error
		want                []string
		wantErr             error
	}{
		"told to end": {
			want: []string{"one is told", "other is told", "other ends", "one ends", "base is told", "base ends"},
		},
		"one on top fails": {
			oneFails: time.Minute, oneErr: failure, wantErr: failure,
			want: []string{"one ends", "other is told", "other ends", "base is told", "base ends"},
		},
		"the base fails": {
			baseFails: time.Minute, baseErr: failure, wantErr: failure,
			want: []string{"base ends", "one is told", "other is told", "other ends", "one ends"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &acts{}
				ctx, end := context.WithTimeout(t.Context(), time.Hour)
				defer end()
				err := serve(ctx, a.runnable("base", 0, tc.baseFails, tc.baseErr),
					a.runnable("one", 2*time.Second, tc.oneFails, tc.oneErr), a.runnable("other", time.Second, 0, nil))
				if !errors.Is(err, tc.wantErr) {
					t.Errorf("serve() = %v, want %v", err, tc.wantErr)
				}
				for i := range len(a.done) - 1 { // two that are told at once are in no order
					if a.done[i] == "other is told" && a.done[i+1] == "one is told" {
						a.done[i], a.done[i+1] = a.done[i+1], a.done[i]
					}
				}
				if diff := cmp.Diff(tc.want, a.done); diff != "" {
					t.Errorf("what is done, and in which order (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestStopping: a replica that was told to end is not ready, from that moment on.
func TestStopping(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancel(t.Context())
	check := stopping(ctx)
	if err := check(nil); err != nil {
		t.Errorf("not ready: %v", err)
	}
	end()
	if check(nil) == nil {
		t.Error("ready, and about to end")
	}
}
