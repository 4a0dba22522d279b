package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// endedRun is a run that ended some time before noon.
func endedRun(name, state string, ago time.Duration) v1alpha1.JobRun {
	status := metav1.ConditionFalse
	if state == v1alpha1.StateSuccess {
		status = metav1.ConditionTrue
	}
	run := plannedRun(inState(status, state), func(r *v1alpha1.JobRun) {
		r.Name, r.Status.FinishedAt, r.CreationTimestamp = name, at(-ago), *at(-ago - time.Minute)
	})
	return *run
}

func waitingRun(name string, ago time.Duration) v1alpha1.JobRun {
	return *plannedRun(func(r *v1alpha1.JobRun) { r.Name, r.CreationTimestamp = name, *at(-ago) })
}

func names(runs []v1alpha1.JobRun) (list []string) {
	for _, run := range runs {
		list = append(list, run.Name)
	}
	return list
}

func withReady(status metav1.ConditionStatus) func(*v1alpha1.Job) {
	return func(job *v1alpha1.Job) {
		job.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: status, Reason: "Any"}}
	}
}

func startPolicy(policy v1alpha1.StartPolicy) func(*v1alpha1.Job) {
	return func(job *v1alpha1.Job) { job.Spec.StartPolicy = policy }
}

func withSchedule(job *v1alpha1.Job) {
	job.Spec.Schedules = []v1alpha1.Schedule{{ID: "nightly", Cron: "0 3 * * *"}}
}

// accepted is a Job whose definition was once accepted.
func accepted(job *v1alpha1.Job) { job.Status.FirstAcceptedGeneration = 1 }

func withDependency(job *v1alpha1.Job) { job.Spec.Dependencies = []v1alpha1.Dependency{{ID: "first"}} }

func TestPlanJob_theRunOfACreation(t *testing.T) {
	t.Parallel()
	invalid := field.ErrorList{field.Invalid(field.NewPath("spec"), "x", "bad")}
	cases := map[string]struct {
		job     []func(*v1alpha1.Job)
		invalid field.ErrorList
		want    bool
	}{
		"a new Job":                             {want: true},
		"OnCreate":                              {job: []func(*v1alpha1.Job){startPolicy(v1alpha1.StartOnCreate)}, want: true},
		"OnCreate with a schedule":              {job: []func(*v1alpha1.Job){startPolicy(v1alpha1.StartOnCreate), withSchedule}, want: true},
		"OnDemand":                              {job: []func(*v1alpha1.Job){startPolicy(v1alpha1.StartOnDemand)}},
		"unset, with a schedule":                {job: []func(*v1alpha1.Job){withSchedule}},
		"unset, with a dependency":              {job: []func(*v1alpha1.Job){withDependency}},
		"an invalid definition has none":        {invalid: invalid},
		"a definition that was mended has one":  {job: []func(*v1alpha1.Job){withReady(metav1.ConditionFalse)}, want: true},
		"accepted without one, edited since":    {job: []func(*v1alpha1.Job){accepted}},
		"accepted but not Ready, edited since":  {job: []func(*v1alpha1.Job){accepted, withReady(metav1.ConditionFalse)}},
		"a suspended Job's run waits":           {job: []func(*v1alpha1.Job){func(j *v1alpha1.Job) { j.Spec.Suspend = true }}, want: true},
		"a Job without owner has one, it waits": {job: []func(*v1alpha1.Job){noOwner}, want: true},
		"it was created":                        {job: []func(*v1alpha1.Job){func(j *v1alpha1.Job) { j.Status.CreationRun = "r" }}},
		"it was created, then the Job was not accepted": {job: []func(*v1alpha1.Job){
			withReady(metav1.ConditionFalse), func(j *v1alpha1.Job) { j.Status.CreationRun = "r" },
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := plannedJob(tc.job...)
			plan := planJob(jobInput{Job: job, Invalid: tc.invalid, Verdict: granted, Now: policyNoon})
			if !tc.want {
				if plan.Create != nil {
					t.Errorf("it creates %s", plan.Create.Name)
				}
				return
			}
			want := &v1alpha1.JobRun{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "metronome", Name: batchjob.CreationRunName(job),
					Labels: map[string]string{
						"in.grantry.dev/dev": "", "in.grantry.dev/dev.batch": "", "in.grantry.dev/dev.batch.job1": "",
						v1alpha1.LabelJob: "job-uid",
					},
				},
				Spec: v1alpha1.JobRunSpec{Job: "dev.batch.job1", Trigger: v1alpha1.TriggerCreation},
			}
			if diff := cmp.Diff(want, plan.Create); diff != "" {
				t.Errorf("it creates (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanJob_history(t *testing.T) {
	t.Parallel()
	success := func(name string, ago time.Duration) v1alpha1.JobRun {
		return endedRun(name, v1alpha1.StateSuccess, ago)
	}
	going := success("going", 10*time.Hour)
	going.DeletionTimestamp = at(0)
	noTime := endedRun("no-time", v1alpha1.StateFailed, 0)
	noTime.Status.FinishedAt = nil
	cases := map[string]struct {
		good, bad *int32
		runs      []v1alpha1.JobRun
		want      []string
	}{
		"nothing to delete": {runs: []v1alpha1.JobRun{success("a", 1), success("b", 2), success("c", 3)}},
		"the oldest go first": {
			runs: []v1alpha1.JobRun{success("a", 3*time.Hour), success("b", 5*time.Hour), success("c", time.Hour), success("d", 4*time.Hour), success("e", 2*time.Hour)},
			want: []string{"b", "d"},
		},
		"of the same second, by name": {
			good: new(int32(1)),
			runs: []v1alpha1.JobRun{success("c", time.Hour), success("a", time.Hour), success("b", time.Hour)}, want: []string{"a", "b"},
		},
		"zero keeps none": {good: new(int32(0)), runs: []v1alpha1.JobRun{success("a", time.Hour)}, want: []string{"a"}},
		"good and bad ones are counted apart": {
			good: new(int32(1)), bad: new(int32(2)),
			runs: []v1alpha1.JobRun{
				success("g1", 3*time.Hour), endedRun("failed", v1alpha1.StateFailed, 4*time.Hour), success("g2", 2*time.Hour),
				endedRun("rejected", v1alpha1.StateRejected, 3*time.Hour), endedRun("revoked", v1alpha1.StateRevoked, 2*time.Hour),
				endedRun("late", v1alpha1.StateStartingDeadlineExceeded, time.Hour),
			},
			want: []string{"g1", "failed", "rejected"},
		},
		"what is at work or goes already is not counted": {
			good: new(int32(1)), runs: []v1alpha1.JobRun{going, waitingRun("w", 9*time.Hour), success("a", time.Hour)},
		},
		"a run without a time is the oldest": {
			bad: new(int32(1)), runs: []v1alpha1.JobRun{endedRun("a", v1alpha1.StateFailed, 100*time.Hour), noTime}, want: []string{"no-time"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := plannedJob(startPolicy(v1alpha1.StartOnDemand), func(j *v1alpha1.Job) {
				j.Spec.SuccessfulRunsHistoryLimit, j.Spec.FailedRunsHistoryLimit = tc.good, tc.bad
			})
			before := names(tc.runs)
			plan := planJob(jobInput{Job: job, Runs: tc.runs, Now: policyNoon})
			if diff := cmp.Diff(tc.want, names(plan.Delete)); diff != "" {
				t.Errorf("it deletes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, names(tc.runs)); diff != "" {
				t.Errorf("the caller's runs were sorted:\n%s", diff)
			}
		})
	}
}

func TestJobReady(t *testing.T) {
	t.Parallel()
	owner := verdict{Reason: v1alpha1.ReasonOwnerMissing, Message: "no owner"}
	invalid := field.ErrorList{
		field.Invalid(field.NewPath("spec", "run", "cpus"), 0, "too few"),
		field.Required(field.NewPath("spec", "run", "cmd"), "what to run"),
	}
	cases := map[string]struct {
		job     func(*v1alpha1.Job)
		verdict verdict
		invalid field.ErrorList
		want    string
	}{
		"accepted":                       {verdict: granted, want: "True Accepted: The definition is accepted"},
		"accepted, whoever may run it":   {verdict: notGranted, want: "True Accepted: The definition is accepted"},
		"accepted before we know who":    {verdict: notSynced, want: "True Accepted: The definition is accepted"},
		"invalid comes before the owner": {verdict: owner, invalid: invalid, want: "stalled False SpecInvalid: spec.run.cpus: Invalid value: 0: too few; spec.run.cmd: Required value: what to run"},
		"no owner comes before the rest": {job: withSchedule, verdict: owner, want: "stalled False OwnerMissing: no owner"},
		"schedules":                      {job: withSchedule, verdict: granted, want: "True Accepted: The definition is accepted"},
		"dependencies":                   {job: withDependency, verdict: granted, want: "True Accepted: The definition is accepted"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := plannedJob()
			if tc.job != nil {
				tc.job(job)
			}
			in := jobInput{Job: job, Verdict: tc.verdict, Invalid: tc.invalid, Now: policyNoon}
			if diff := cmp.Diff(tc.want, brief(jobReady(in))); diff != "" {
				t.Errorf("jobReady() (-want +got):\n%s", diff)
			}
			setJobStatus(job, in, planJob(in))
			grantrytesting.CheckConditions(t, job)
		})
	}
}

func TestSetJobStatus(t *testing.T) {
	t.Parallel()
	failedLongAgo := at(-100 * time.Hour)
	cases := map[string]struct {
		before v1alpha1.JobStatus
		job    []func(*v1alpha1.Job)
		runs   []v1alpha1.JobRun
		want   v1alpha1.JobStatus // but for what the other tests look at
	}{
		"a new Job counts the run that is being created": {
			want: v1alpha1.JobStatus{
				CreationRun: batchjob.CreationRunName(plannedJob()), ActiveRuns: 1,
				LastRun: &v1alpha1.RunSummary{Name: batchjob.CreationRunName(plannedJob()), State: v1alpha1.StateActive},
			},
		},
		"the run that is being created is in the cache already": {
			runs: []v1alpha1.JobRun{waitingRun(batchjob.CreationRunName(plannedJob()), 0)},
			want: v1alpha1.JobStatus{
				CreationRun: batchjob.CreationRunName(plannedJob()), ActiveRuns: 1,
				LastRun: &v1alpha1.RunSummary{
					Name: batchjob.CreationRunName(plannedJob()), State: v1alpha1.StateActive, UID: "run-uid", CreatedAt: at(0),
				},
			},
		},
		"no runs": {job: []func(*v1alpha1.Job){startPolicy(v1alpha1.StartOnDemand)}},
		"the latest of each kind": {
			job: []func(*v1alpha1.Job){startPolicy(v1alpha1.StartOnDemand)},
			runs: []v1alpha1.JobRun{
				endedRun("a", v1alpha1.StateSuccess, 3*time.Hour), endedRun("b", v1alpha1.StateSuccess, time.Hour),
				endedRun("c", v1alpha1.StateSuccess, 2*time.Hour),
				endedRun("d", v1alpha1.StateRevoked, 4*time.Hour), endedRun("e", v1alpha1.StateFailed, 5*time.Hour),
				waitingRun("w", time.Minute), waitingRun("v", time.Minute),
			},
			want: v1alpha1.JobStatus{
				SuccessCount: 3, FailureCount: 2, ActiveRuns: 2, LastRun: &v1alpha1.RunSummary{Name: "w", State: v1alpha1.StateActive, UID: "run-uid", CreatedAt: at(-time.Minute)},
				LastSuccessAt: at(-time.Hour), LastFailureAt: at(-4 * time.Hour),
			},
		},
		"the times outlive their runs, and go on": {
			before: v1alpha1.JobStatus{LastSuccessAt: at(-time.Hour), LastFailureAt: failedLongAgo, ActiveRuns: 9, SuccessCount: 7, FailureCount: 8},
			job:    []func(*v1alpha1.Job){startPolicy(v1alpha1.StartOnDemand)},
			runs: []v1alpha1.JobRun{
				endedRun("a", v1alpha1.StateSuccess, 3*time.Hour), endedRun("b", v1alpha1.StateFailed, 50*time.Hour),
			},
			want: v1alpha1.JobStatus{
				LastRun: &v1alpha1.RunSummary{
					Name: "a", State: v1alpha1.StateSuccess, UID: "run-uid", CreatedAt: at(-3*time.Hour - time.Minute), FinishedAt: at(-3 * time.Hour),
				},
				LastSuccessAt: at(-time.Hour), LastFailureAt: at(-50 * time.Hour), SuccessCount: 8, FailureCount: 9,
			},
		},
		"the last run outlives itself, if it has ended": {
			before: v1alpha1.JobStatus{LastRun: &v1alpha1.RunSummary{
				Name: "gone", State: v1alpha1.StateSuccess, CreatedAt: at(-2 * time.Hour), FinishedAt: at(-time.Hour),
			}},
			job:  []func(*v1alpha1.Job){startPolicy(v1alpha1.StartOnDemand)},
			runs: []v1alpha1.JobRun{endedRun("a", v1alpha1.StateFailed, 3*time.Hour)},
			want: v1alpha1.JobStatus{
				LastRun: &v1alpha1.RunSummary{
					Name: "gone", State: v1alpha1.StateSuccess, CreatedAt: at(-2 * time.Hour), FinishedAt: at(-time.Hour),
				},
				LastFailureAt: at(-3 * time.Hour), FailureCount: 1,
			},
		},
		"one that was stopped gives way to the last that is left": {
			before: v1alpha1.JobStatus{LastRun: &v1alpha1.RunSummary{Name: "gone", State: v1alpha1.StateActive, CreatedAt: at(-2 * time.Hour)}},
			job:    []func(*v1alpha1.Job){startPolicy(v1alpha1.StartOnDemand)},
			runs:   []v1alpha1.JobRun{endedRun("a", v1alpha1.StateFailed, 3*time.Hour)},
			want: v1alpha1.JobStatus{
				LastRun: &v1alpha1.RunSummary{
					Name: "a", State: v1alpha1.StateFailed, UID: "run-uid", CreatedAt: at(-3*time.Hour - time.Minute), FinishedAt: at(-3 * time.Hour),
				},
				LastFailureAt: at(-3 * time.Hour), FailureCount: 1,
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := plannedJob(tc.job...)
			job.Status = tc.before
			in := jobInput{Job: job, Runs: tc.runs, Verdict: granted, Now: policyNoon}
			setJobStatus(job, in, planJob(in))
			grantrytesting.CheckConditions(t, job)
			got := *job.Status.DeepCopy()
			got.Conditions, got.CountedRuns = nil, nil
			tc.want.ObservedGeneration, tc.want.FirstAcceptedGeneration, tc.want.Grant = 1, 1, "alice-dev"
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
			again := job.DeepCopy()
			in.Now = in.Now.Add(time.Minute)
			setJobStatus(again, jobInput{Job: again, Runs: tc.runs, Verdict: granted, Now: in.Now}, jobPlan{})
			job.Status.CountedRuns, again.Status.CountedRuns = nil, nil // the runs of this test share a UID
			if len(tc.runs) > 0 {
				if diff := cmp.Diff(job, again); diff != "" {
					t.Errorf("nothing happened, and it changed (-before +after):\n%s", diff)
				}
			}
		})
	}
}

func TestSummaryState(t *testing.T) {
	t.Parallel()
	fresh := plannedRun()
	in := func(state string) *v1alpha1.JobRun { return plannedRun(inState(metav1.ConditionUnknown, state)) }
	ok := jobInput{Job: plannedJob(), Verdict: granted}
	cases := map[string]struct {
		run  *v1alpha1.JobRun
		in   jobInput
		want string
	}{
		"being launched":                  {run: fresh, in: ok, want: v1alpha1.StateActive},
		"starting":                        {run: in(v1alpha1.StateStarting), in: ok, want: v1alpha1.StateActive},
		"it waits for something else":     {run: in(v1alpha1.StatePending), in: ok, want: v1alpha1.StatePending},
		"suspended":                       {run: in(v1alpha1.StateSuspended), in: ok, want: v1alpha1.StateSuspended},
		"not looked at, no grant":         {run: fresh, in: jobInput{Job: plannedJob(), Verdict: notGranted}, want: v1alpha1.StatePending},
		"not looked at, the Job is held":  {run: fresh, in: jobInput{Job: plannedJob(func(j *v1alpha1.Job) { j.Spec.Suspend = true }), Verdict: granted}, want: v1alpha1.StatePending},
		"not looked at, the Job is wrong": {run: fresh, in: jobInput{Job: plannedJob(), Verdict: granted, Invalid: field.ErrorList{field.Required(field.NewPath("spec"), "")}}, want: v1alpha1.StatePending},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := summaryState(tc.run, tc.in); got != tc.want {
				t.Errorf("summaryState() = %s, want %s", got, tc.want)
			}
		})
	}
}

func TestSetJobStatus_aRefusalTakesTheGrantAway(t *testing.T) {
	t.Parallel()
	job := plannedJob()
	for _, v := range []verdict{granted, notGranted, notSynced} {
		in := jobInput{Job: job, Verdict: v, Now: policyNoon}
		setJobStatus(job, in, planJob(in))
		if job.Status.Grant != v.Grant {
			t.Errorf("%s: the Job says Grant %q", v.Reason, job.Status.Grant)
		}
		if differs(job.Status.Conditions, authorizedReport(v)) {
			t.Errorf("%s: the status says %+v", v.Reason, job.Status.Conditions)
		}
	}
}

func TestDiffers(t *testing.T) {
	t.Parallel()
	is := metav1.Condition{Type: v1alpha1.ConditionAuthorized, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonGranted, Message: "by a"}
	same := report{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonGranted, Message: "by a"}
	cases := map[string]struct {
		conditions []metav1.Condition
		edit       func(*report)
		want       bool
	}{
		"the same":             {conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady}, is}},
		"nothing is said yet":  {conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady}}, want: true},
		"another status":       {conditions: []metav1.Condition{is}, edit: func(r *report) { r.Status = metav1.ConditionFalse }, want: true},
		"another reason":       {conditions: []metav1.Condition{is}, edit: func(r *report) { r.Reason = v1alpha1.ReasonNotGranted }, want: true},
		"by another Grant now": {conditions: []metav1.Condition{is}, edit: func(r *report) { r.Message = "by b" }, want: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := same
			if tc.edit != nil {
				tc.edit(&want)
			}
			if got := differs(tc.conditions, want); got != tc.want {
				t.Errorf("differs() = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestEffectiveStartPolicy_isSetForEveryJob(t *testing.T) {
	t.Parallel()
	for job, want := range map[*v1alpha1.Job]v1alpha1.StartPolicy{
		plannedJob():                                    v1alpha1.StartOnCreate,
		plannedJob(withSchedule):                        v1alpha1.StartOnDemand,
		plannedJob(withDependency):                      v1alpha1.StartOnDemand,
		plannedJob(startPolicy(v1alpha1.StartOnDemand)): v1alpha1.StartOnDemand,
		plannedJob(startPolicy(v1alpha1.StartOnCreate), withSchedule): v1alpha1.StartOnCreate,
	} {
		if got := effectiveStartPolicy(job); got != want {
			t.Errorf("%+v starts %s, want %s", job.Spec, got, want)
		}
	}
}

func TestSummaryMessage_tellsWhatAPersonWouldAsk(t *testing.T) {
	t.Parallel()
	says := func(status metav1.ConditionStatus, state, message string) v1alpha1.JobRun {
		run := plannedRun(inState(status, state))
		run.Status.Conditions[0].Message = message
		return *run
	}
	cases := map[string]struct {
		run  v1alpha1.JobRun
		want string
	}{
		"it waits":         {run: says(metav1.ConditionUnknown, v1alpha1.StatePending, "not granted"), want: "not granted"},
		"it is suspended":  {run: says(metav1.ConditionUnknown, v1alpha1.StateSuspended, "permission went"), want: "permission went"},
		"it starts":        {run: says(metav1.ConditionUnknown, v1alpha1.StateStarting, "Pod a waits")},
		"it works":         {run: says(metav1.ConditionUnknown, v1alpha1.StateActive, "At work")},
		"it has succeeded": {run: says(metav1.ConditionTrue, v1alpha1.StateSuccess, "The run succeeded")},
		"it has failed":    {run: says(metav1.ConditionFalse, v1alpha1.StateFailed, "exit code 3"), want: "exit code 3"},
		"at length":        {run: says(metav1.ConditionFalse, v1alpha1.StateFailed, strings.Repeat("x", 2000)), want: strings.Repeat("x", maxSummaryBytes-3) + "…"},
		"it is new":        {run: *plannedRun()},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var status v1alpha1.JobStatus
			summarizeRuns(&status, []v1alpha1.JobRun{tc.run}, jobInput{Job: plannedJob(), Verdict: granted, Now: policyNoon})
			if status.LastRun.Message != tc.want {
				t.Errorf("the Job says %q, want %q", status.LastRun.Message, tc.want)
			}
		})
	}
}
