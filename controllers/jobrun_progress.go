package controllers

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	"github.com/grantry/grantry/api/v1alpha1"
)

// How many writes a second may tell of progress alone, and how many of them at once. A run that is launched and ends
// is written twice; what happens in between is worth a write while there is time for it. Where hundreds of runs are
// launched at once, it waits, and the launches don't.
const (
	progressRate  = 5
	progressBurst = 10
	// progressAhead is how far ahead turns are given. Most runs that wait for one end before it comes, and do not give it
	// back: a longer queue would be of turns that nobody takes. Who gets none asks again then.
	progressAhead = 10 * time.Second
)

// progressPace spreads the writes that tell of progress. The zero value is ready for use.
type progressPace struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	turns   map[types.NamespacedName]time.Time
}

// wait is how long a run's progress has to wait to be written; 0 if it is its turn.
func (p *progressPace) wait(run types.NamespacedName, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limiter == nil {
		p.limiter, p.turns = rate.NewLimiter(progressRate, progressBurst), map[types.NamespacedName]time.Time{}
	}
	turn, waits := p.turns[run]
	if !waits {
		given := p.limiter.ReserveN(now, 1)
		delay := given.DelayFrom(now)
		if delay > progressAhead {
			given.CancelAt(now) // the last one given: all of it comes back
			return progressAhead
		}
		turn = now.Add(delay)
	}
	if left := turn.Sub(now); left > 0 {
		p.turns[run] = turn
		return left
	}
	delete(p.turns, run)
	return 0
}

// forget gives up the turn of a run: its status was written for another reason, or it is gone.
func (p *progressPace) forget(run types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.turns, run)
}

// isProgress says whether a status differs in nothing but how far the work is: that it starts, and how its pods stand.
func isProgress(before, after *v1alpha1.JobRun) bool {
	is := runState(after)
	if isFinished(after) || equality.Semantic.DeepEqual(before.Status, after.Status) {
		return false
	}
	if is == v1alpha1.StateStarting {
		return true
	}
	same := func(kind string) bool {
		return equality.Semantic.DeepEqual(meta.FindStatusCondition(before.Status.Conditions, kind), meta.FindStatusCondition(after.Status.Conditions, kind))
	}
	return is == runState(before) && succeeded(before) != nil && same(v1alpha1.ConditionAuthorized) && same(v1alpha1.ConditionReady)
}

// progressOf says how far a child is that is not finished.
func progressOf(in runInput) report {
	child := in.Child
	switch {
	case isSuspended(child) && isRevoked(child):
		return running(v1alpha1.StateSuspended, "Suspended since the owner's permission went, until it is back")
	case isQueued(child):
		return running(v1alpha1.StateQueued, queuedMessage(in))
	case isSuspended(child):
		return running(v1alpha1.StateSuspended, "The batch/v1 Job is suspended, and not by Grantry")
	}
	waiting := waitingPod(in.Pods)
	began := child.Status.Failed > 0 || child.Status.Succeeded > 0 || slices.ContainsFunc(in.Pods, func(pod *runPod) bool { return pod.task.StartedAt != nil })
	switch {
	case waiting != nil && began:
		return running(v1alpha1.StateActive, waiting.says("waits"))
	case waiting != nil:
		return running(v1alpha1.StateStarting, waiting.says("waits to start"))
	case began, child.Status.Active > 0:
		return running(v1alpha1.StateActive, "At work")
	default:
		return running(v1alpha1.StateStarting, "The batch/v1 Job was created and has no pod yet")
	}
}

// waitingPod is a pod that waits while none works, or nil.
func waitingPod(pods []*runPod) (waits *runPod) {
	for _, pod := range pods {
		switch {
		case pod.task.State == v1alpha1.TaskRunning:
			return nil
		case pod.task.State == v1alpha1.TaskWaiting && (waits == nil || pod.Name < waits.Name):
			waits = pod
		}
	}
	return waits
}

// says is a sentence on what a pod waits for.
func (p *runPod) says(what string) string {
	sentence := fmt.Sprintf("Pod %s %s", p.Name, what)
	if p.waits != "" {
		sentence += ": " + p.waits
	}
	return sentence
}
