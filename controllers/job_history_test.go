package controllers

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/grantry/grantry/api/v1alpha1"
)

// kept makes runs with UIDs of their own.
func kept(runs ...v1alpha1.JobRun) []v1alpha1.JobRun {
	for i := range runs {
		runs[i].UID = types.UID(fmt.Sprintf("%08d-0000-4000-8000-%s", i, runs[i].Name))
	}
	return runs
}

func TestCountRuns_eachOnce(t *testing.T) {
	t.Parallel()
	runs := kept(
		endedRun("a", v1alpha1.StateSuccess, time.Hour), endedRun("b", v1alpha1.StateFailed, time.Hour),
		endedRun("c", v1alpha1.StateStartingDeadlineExceeded, time.Hour), waitingRun("d", 0),
	)
	status := v1alpha1.JobStatus{}
	expect := func(what string, runs []v1alpha1.JobRun, success, failure int64, remembered int) {
		t.Helper()
		countRuns(&status, runs)
		if status.SuccessCount != success || status.FailureCount != failure || len(status.CountedRuns) != remembered {
			t.Errorf("%s: %d and %d, and remembers %v", what, status.SuccessCount, status.FailureCount, status.CountedRuns)
		}
	}
	expect("at first", runs, 1, 2, 3)
	expect("again", runs, 1, 2, 3)
	ended := kept(runs[0], runs[1], runs[2], endedRun("d", v1alpha1.StateSuccess, 0))
	expect("the last has ended", ended, 2, 2, 4)
	expect("an old cache does not know that yet", runs, 2, 2, 4)
	expect("the new one does", ended, 2, 2, 4)
	expect("the history drops two", ended[2:], 2, 2, 2)
	expect("and all", nil, 2, 2, 0)
}

func TestPlanJob_runsAreKeptForATime(t *testing.T) {
	t.Parallel()
	job := plannedJob(hourly, func(job *v1alpha1.Job) { job.Spec.TTLSecondsAfterFinished = new(int32(3600)) })
	job.Status.Schedules[0].HandledUntil = at(0)
	runs := kept(
		endedRun("fresh", v1alpha1.StateSuccess, 10*time.Minute), endedRun("old", v1alpha1.StateSuccess, time.Hour),
		endedRun("older", v1alpha1.StateFailed, 2*time.Hour), waitingRun("waits", 9*time.Hour),
	)
	plan := planJob(jobInput{Job: job, Runs: runs, Verdict: granted, Now: policyNoon})
	if diff := cmp.Diff([]string{"old", "older"}, names(plan.Delete)); diff != "" {
		t.Errorf("it deletes (-want +got):\n%s", diff)
	}
	if want := policyNoon.Add(50 * time.Minute); !plan.Wake.Equal(want) || !plan.NextRun.Equal(policyNoon.Add(time.Hour)) {
		t.Errorf("it wakes at %s, want %s; the next run is at %s", plan.Wake, want, plan.NextRun)
	}
	job.Spec.TTLSecondsAfterFinished = nil
	plan = planJob(jobInput{Job: job, Runs: runs, Verdict: granted, Now: policyNoon})
	if len(plan.Delete) != 0 || !plan.Wake.Equal(plan.NextRun) {
		t.Errorf("without a limit it deletes %v, and wakes at %s", names(plan.Delete), plan.Wake)
	}
	job.Spec.Schedules, job.Spec.TTLSecondsAfterFinished = nil, new(int32(0))
	plan = planJob(jobInput{Job: job, Runs: runs, Verdict: granted, Now: policyNoon})
	if diff := cmp.Diff([]string{"fresh", "old", "older"}, names(plan.Delete)); diff != "" || !plan.Wake.IsZero() {
		t.Errorf("kept for no time: it wakes at %s, and deletes (-want +got):\n%s", plan.Wake, diff)
	}
}
