package controllers

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// clockCheck is how often the clock is read while a Job waits for its time: so late is a time noticed at
// the most after the clock was set or the machine has slept.
const clockCheck = time.Second

// dueTimes is when each Job is to be looked at next. One goroutine waits for the earliest; a Job that waits
// costs nothing. The zero value is empty and ready for use.
type dueTimes struct {
	mu    sync.Mutex
	queue dueQueue
	jobs  map[types.NamespacedName]*dueTime
	// earlier is told that there is an earlier time to wait for.
	earlier chan struct{}
	// seen is what the clock said last, without a monotonic reading: that is never set back.
	seen time.Time
}

type dueTime struct {
	job   types.NamespacedName
	at    time.Time
	index int
}

// set makes a Job due at a time, and at no other. The zero time is never.
func (d *dueTimes) set(job types.NamespacedName, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	known := d.jobs[job]
	switch {
	case at.IsZero():
		if known != nil {
			heap.Remove(&d.queue, known.index)
			delete(d.jobs, job)
		}
		return
	case known != nil:
		known.at = at
		heap.Fix(&d.queue, known.index)
	default:
		if d.jobs == nil {
			d.jobs = map[types.NamespacedName]*dueTime{}
		}
		known = &dueTime{job: job, at: at}
		d.jobs[job] = known
		heap.Push(&d.queue, known)
	}
	if d.queue[0] == known {
		select {
		case d.wake() <- struct{}{}:
		default:
		}
	}
}

func (d *dueTimes) forget(job types.NamespacedName) { d.set(job, time.Time{}) }

// wake is the channel that is told of earlier times. The caller holds the lock.
func (d *dueTimes) wake() chan struct{} {
	if d.earlier == nil {
		d.earlier = make(chan struct{}, 1)
	}
	return d.earlier
}

// take removes the Jobs that are due, and returns them with the time until the next one; negative if there
// is none. When the clock was set back all are due: by the clock that was ahead they wait for times that are far away.
func (d *dueTimes) take(now time.Time) (due []types.NamespacedName, next time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now = now.Round(0)
	wasSetBack := now.Before(d.seen.Add(-clockCheck))
	d.seen = now
	for len(d.queue) > 0 && (wasSetBack || !d.queue[0].at.After(now)) {
		first := heap.Pop(&d.queue).(*dueTime)
		delete(d.jobs, first.job)
		due = append(due, first.job)
	}
	if len(d.queue) == 0 {
		return due, -1
	}
	return due, d.queue[0].at.Sub(now)
}

// source enqueues each Job at its time. Jobs stay due while nobody listens.
func (d *dueTimes) source(clock clock.PassiveClock) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		d.mu.Lock()
		earlier := d.wake()
		d.mu.Unlock()
		go func() {
			for {
				due, next := d.take(clock.Now())
				for _, job := range due {
					queue.Add(reconcile.Request{NamespacedName: job})
				}
				var timer <-chan time.Time
				if next >= 0 {
					timer = time.After(min(next, clockCheck)) //nolint:forbidigo // the clock decides, this only waits
				}
				select {
				case <-ctx.Done():
					return
				case <-earlier:
				case <-timer:
				}
			}
		}()
		return nil
	})
}

// dueQueue is a heap, the earliest time first.
type dueQueue []*dueTime

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *dueQueue) Push(x any) {
	due := x.(*dueTime)
	due.index = len(*q)
	*q = append(*q, due)
}

func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	due := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return due
}
