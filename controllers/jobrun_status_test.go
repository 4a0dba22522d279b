package controllers

import (
	"testing"

	batchv1 "k8s.io/api/batch/v1"
)

func TestSetRunStatus_aSuccessHasAnExitCode(t *testing.T) {
	t.Parallel()
	run := plannedRun()
	in := runInput{Run: run, Job: plannedJob(), Child: plannedChild(ended(batchv1.JobComplete, "", "")), Verdict: granted, Now: policyNoon}
	setRunStatus(run, planRun(in), policyNoon)
	if run.Status.ExitCode == nil || *run.Status.ExitCode != 0 || run.Status.ExitReason != "Completed" {
		t.Errorf("exit code %v, reason %q; want 0, Completed", run.Status.ExitCode, run.Status.ExitReason)
	}
}
