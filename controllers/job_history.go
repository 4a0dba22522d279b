package controllers

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
)

// Defaults of the history limits, those of a CronJob's failed and successful Jobs taken together.
const (
	defaultSuccessfulRuns = 3
	defaultFailedRuns     = 3
)

// limitHistory plans to delete the finished runs that were kept for long enough, and those that the limits
// leave no room for. Rejected and revoked runs, and those whose deadline passed, count as failed.
func (p *jobPlan) limitHistory(in jobInput) {
	p.Wake = p.NextRun
	var good, bad []v1alpha1.JobRun
	for _, run := range in.Runs {
		expires := expiryOf(&run, in.Job.Spec.TTLSecondsAfterFinished)
		switch {
		case !isFinished(&run) || !run.DeletionTimestamp.IsZero():
			continue
		case expires.IsZero():
		case !expires.After(in.Now):
			p.Delete = append(p.Delete, run)
			continue
		case p.Wake.IsZero() || expires.Before(p.Wake):
			p.Wake = expires
		}
		switch {
		case runState(&run) == v1alpha1.StateSuccess:
			good = append(good, run)
		default:
			bad = append(bad, run)
		}
	}
	p.Delete = append(p.Delete, oldest(good, limit(in.Job.Spec.SuccessfulRunsHistoryLimit, defaultSuccessfulRuns))...)
	p.Delete = append(p.Delete, oldest(bad, limit(in.Job.Spec.FailedRunsHistoryLimit, defaultFailedRuns))...)
}

// expiryOf is when a finished run was kept for long enough; zero is never.
func expiryOf(run *v1alpha1.JobRun, ttl *int32) time.Time {
	if ttl == nil || run.Status.FinishedAt == nil {
		return time.Time{}
	}
	return run.Status.FinishedAt.Add(time.Duration(*ttl) * time.Second)
}

func limit(set *int32, unset int) int {
	if set == nil {
		return unset
	}
	return int(*set)
}

// oldest are the runs beyond the keep latest, by the time of their end, then by name.
func oldest(runs []v1alpha1.JobRun, keep int) []v1alpha1.JobRun {
	if len(runs) <= keep {
		return nil
	}
	slices.SortFunc(runs, func(a, b v1alpha1.JobRun) int {
		if c := timeOf(a.Status.FinishedAt).Compare(timeOf(b.Status.FinishedAt)); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return runs[:len(runs)-keep]
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// countRuns adds the runs that have ended to the counts, each once. What is in the counts is remembered in the
// same write for as long as the run is there; that the cache shows it as it was before its end does not matter.
func countRuns(status *v1alpha1.JobStatus, runs []v1alpha1.JobRun) {
	var counted []string
	for i := range runs {
		run := &runs[i]
		id := countedAs(run)
		_, known := slices.BinarySearch(status.CountedRuns, id)
		switch {
		case known:
		case !isFinished(run):
			continue
		case runState(run) == v1alpha1.StateSuccess:
			status.SuccessCount++
		default:
			status.FailureCount++
		}
		counted = append(counted, id)
	}
	slices.Sort(counted)
	status.CountedRuns = counted[:min(len(counted), maxCountedRuns)]
}

// maxCountedRuns is how many runs the status remembers as counted: its schema takes no more.
const maxCountedRuns = 10000

// countedAs is the beginning of a run's UID: 48 random bits are enough to tell the runs of one Job apart.
func countedAs(run *v1alpha1.JobRun) string {
	return string(run.UID[:min(len(run.UID), 13)])
}

func later(a, b *metav1.Time) *metav1.Time {
	if a == nil || (b != nil && b.After(a.Time)) {
		return b
	}
	return a
}
