package joblookup

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// slow reads what there is after a time, unless the reader's context ends before.
func slow(after func(n int64) time.Duration) (*Lookup, *atomic.Int64) {
	full, _ := reader(false, there()...)
	empty, _ := reader(false)
	reads := &atomic.Int64{}
	live := interceptor.NewClient(full.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
			select {
			case <-time.After(after(reads.Add(1))):
				return c.Get(ctx, key, into, opts...)
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	return &Lookup{Cached: empty, Work: empty, Live: live, NotFound: errNone, OfNoRun: errOfNoRun}, reads
}

func always(d time.Duration) func(int64) time.Duration { return func(int64) time.Duration { return d } }

// TestLookup_oneDeadline: all reads for a request together end before the API server gives the request up.
func TestLookup_oneDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for each, want := range map[time.Duration]bool{liveTimeout / 4: true, liveTimeout * 3 / 4: false} {
			l, _ := slow(always(each))
			began := time.Now()
			got, err := l.JobOfPod(t.Context(), "n", "pod")
			if (got == "dev.job") != want || want != (err == nil) || !want && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("three reads of %s: %q, %v", each, got, err)
			}
			if took := time.Since(began); took > liveTimeout {
				t.Errorf("three reads of %s take %s", each, took)
			}
			synctest.Wait()
		}
	})
}

// TestLookup_sharesReads: those who ask for the same at a time wait for the same reads, and none for the patience of
// another.
func TestLookup_sharesReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, reads := slow(always(time.Second))
		first, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() {
			_, err := l.JobOfRun(first, "n", "run")
			left <- err
		}()
		synctest.Wait()
		const others = 20
		answers := make(chan string, others)
		for range others {
			go func() {
				job, err := l.JobOfRun(t.Context(), "n", "run")
				if err != nil {
					t.Error(err)
				}
				answers <- job
			}()
		}
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who went away: %v", err)
		}
		for range others {
			if job := <-answers; job != "dev.job" {
				t.Errorf("%q", job)
			}
		}
		if n := reads.Load(); n != 1 {
			t.Errorf("%d reads", n)
		}
	})
}

// TestLookup_joinsNoRefusal: an object that came after a read began is found by those who ask after it came.
func TestLookup_joinsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var came atomic.Bool
		l, reads := slow(always(0))
		there := l.Live
		l.Live = interceptor.NewClient(there.(client.WithWatch), interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
				before := !came.Load()
				time.Sleep(time.Second / 2)
				if before {
					key.Name = "none"
				}
				return c.Get(ctx, key, into, opts...)
			},
		})
		early := make(chan error, 1)
		go func() {
			_, err := l.JobOfRun(t.Context(), "n", "run")
			early <- err
		}()
		synctest.Wait()
		came.Store(true)
		const late = 5
		answers := make(chan string, late)
		for range late {
			go func() {
				job, err := l.JobOfRun(t.Context(), "n", "run")
				if err != nil {
					t.Error(err)
				}
				answers <- job
			}()
		}
		if err := <-early; !errors.Is(err, errNone) {
			t.Errorf("who asked before: %v", err)
		}
		for range late {
			if job := <-answers; job != "dev.job" {
				t.Errorf("%q", job)
			}
		}
		if n := reads.Load(); n != 2 {
			t.Errorf("%d reads", n)
		}
	})
}
