package controllers

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/index"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// jobStage is an API server at noon with one Job of alice's, which has a schedule for each full hour that was
// dealt with until eleven. Reconcilers come and go over it, as operators do.
type jobStage struct {
	server client.WithWatch
	clock  *clocktesting.FakePassiveClock
}

func setJobStage(t *testing.T, edits ...func(*v1alpha1.Job)) *jobStage {
	t.Helper()
	job := plannedJob(append([]func(*v1alpha1.Job){hourly}, edits...)...)
	b := fake.NewClientBuilder().WithScheme(grantrytesting.Scheme).WithStatusSubresource(&v1alpha1.Job{}, &v1alpha1.JobRun{}).WithObjects(job)
	for _, f := range index.Fields() {
		b = b.WithIndex(f.Object, f.Name, f.Values)
	}
	return &jobStage{server: b.Build(), clock: clocktesting.NewFakePassiveClock(policyNoon)}
}

func hourly(job *v1alpha1.Job) {
	job.Spec.Schedules = []v1alpha1.Schedule{{ID: "hourly", Cron: "0 * * * *"}}
	job.Status = v1alpha1.JobStatus{
		ObservedGeneration: job.Generation, FirstAcceptedGeneration: 1,
		Schedules: []v1alpha1.ScheduleStatus{{ID: "hourly", Cron: "0 * * * *", HandledUntil: at(-time.Hour)}},
	}
}

var jobKey = types.NamespacedName{Namespace: "metronome", Name: "dev.batch.job1"}

// operator is a new reconciler, with an empty memory. Its cached reads and its writes go through calls.
func (s *jobStage) operator(t *testing.T, calls interceptor.Funcs) *JobReconciler {
	t.Helper()
	gate, _ := gateOn(t, ModePermissive, s.server, jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", v1alpha1.ActionRun))
	return &JobReconciler{
		Client: interceptor.NewClient(s.server, calls), Live: s.server, Gate: gate, Clock: s.clock,
		Options: batchjob.Options{DefaultImage: "busybox"},
	}
}

func (s *jobStage) reconcile(t *testing.T, calls interceptor.Funcs) error {
	t.Helper()
	_, err := s.operator(t, calls).Reconcile(t.Context(), ctrl.Request{NamespacedName: jobKey})
	return err
}

func (s *jobStage) job(t *testing.T) *v1alpha1.Job {
	t.Helper()
	job := &v1alpha1.Job{}
	if err := s.server.Get(t.Context(), jobKey, job); err != nil {
		t.Fatal(err)
	}
	return job
}

func (s *jobStage) runs(t *testing.T) []v1alpha1.JobRun {
	t.Helper()
	list := &v1alpha1.JobRunList{}
	if err := s.server.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// noStatus is an operator that is killed before it writes a status.
var noStatus = interceptor.Funcs{SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
	return errAPI
}}

func TestJobReconcile_aDueRun(t *testing.T) {
	t.Parallel()
	s := setJobStage(t)
	if err := s.reconcile(t, interceptor.Funcs{}); err != nil {
		t.Fatal(err)
	}
	runs := s.runs(t)
	if len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	want := v1alpha1.JobRunSpec{
		Job: "dev.batch.job1", Trigger: v1alpha1.TriggerSchedule, Schedule: "hourly", ScheduledAt: at(0), StartingDeadlineSeconds: new(int64(900)),
	}
	if diff := cmp.Diff(want, runs[0].Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	job := s.job(t)
	if !metav1.IsControlledBy(&runs[0], job) || runs[0].Labels["in.grantry.dev/dev.batch"] != "" || runs[0].Labels[v1alpha1.LabelJob] != "job-uid" {
		t.Errorf("the run belongs to %v, and has the labels %v", runs[0].OwnerReferences, runs[0].Labels)
	}
	status := job.Status
	if status.ActiveRuns != 1 || status.LastRun.Name != runs[0].Name || !status.NextRunAt.Equal(at(time.Hour)) {
		t.Errorf("the Job says: %d active, last %+v, next %s", status.ActiveRuns, status.LastRun, status.NextRunAt)
	}
	if diff := cmp.Diff([]v1alpha1.ScheduleStatus{{
		ID: "hourly", Cron: "0 * * * *", HandledUntil: at(0), LastScheduledAt: at(0), NextRunAt: at(time.Hour),
	}}, status.Schedules); diff != "" {
		t.Errorf("the schedule's status (-want +got):\n%s", diff)
	}
}

// Killed between the run and the status, however often: one run.
func TestJobReconcile_killedBeforeTheStatus(t *testing.T) {
	t.Parallel()
	s := setJobStage(t)
	for range 3 {
		if err := s.reconcile(t, noStatus); !errors.Is(err, errAPI) {
			t.Fatalf("the operator that can't write says %v", err)
		}
	}
	if err := s.reconcile(t, interceptor.Funcs{}); err != nil {
		t.Fatal(err)
	}
	if n := len(s.runs(t)); n != 1 {
		t.Errorf("%d runs", n)
	}
	if job := s.job(t); job.Status.LastRun == nil || job.Status.LastRun.UID != s.runs(t)[0].UID {
		t.Errorf("the last run is %+v", job.Status.LastRun)
	}
}

// A leader with an old cache creates nothing for a time that another has dealt with, even if the run is gone.
func TestJobReconcile_anotherLeaderDealtWithIt(t *testing.T) {
	t.Parallel()
	s := setJobStage(t)
	old := s.job(t)
	if err := s.reconcile(t, interceptor.Funcs{}); err != nil {
		t.Fatal(err)
	}
	if err := s.server.Delete(t.Context(), &s.runs(t)[0]); err != nil {
		t.Fatal(err)
	}
	stale := interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
		if job, ok := obj.(*v1alpha1.Job); ok {
			old.DeepCopyInto(job)
			return nil
		}
		return c.Get(ctx, key, obj, opts...)
	}}
	if err := s.reconcile(t, stale); err != nil {
		t.Fatal(err)
	}
	if runs := s.runs(t); len(runs) != 0 {
		t.Errorf("created again: %v", names(runs))
	}
}

// A schedule that was deleted, or a Job that was suspended or is gone, a moment ago: the cache says otherwise.
func TestJobReconcile_whatHasJustChangedCounts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *jobStage, job *v1alpha1.Job) error{
		"the schedule is gone": func(s *jobStage, job *v1alpha1.Job) error {
			job.Spec.Schedules = nil
			return s.server.Update(t.Context(), job)
		},
		"suspended": func(s *jobStage, job *v1alpha1.Job) error {
			job.Spec.Suspend = true
			return s.server.Update(t.Context(), job)
		},
		"deleted": func(s *jobStage, job *v1alpha1.Job) error { return s.server.Delete(t.Context(), job) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setJobStage(t)
			old := s.job(t)
			if err := change(s, s.job(t)); err != nil {
				t.Fatal(err)
			}
			stale := interceptor.Funcs{Get: func(_ context.Context, _ client.WithWatch, _ client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
				old.DeepCopyInto(obj.(*v1alpha1.Job))
				return nil
			}}
			if err := s.reconcile(t, stale); err != nil {
				t.Fatal(err)
			}
			if runs := s.runs(t); len(runs) != 0 {
				t.Errorf("created: %v", names(runs))
			}
		})
	}
}

func TestJobReconcile_replaceStopsFirst(t *testing.T) {
	t.Parallel()
	s := setJobStage(t, func(job *v1alpha1.Job) { job.Spec.Schedules[0].ConcurrencyPolicy = "REPLACE" })
	active := makeRun("metronome", "by-hand", "dev.batch.job1")
	if err := s.server.Create(t.Context(), active); err != nil {
		t.Fatal(err)
	}
	broken := interceptor.Funcs{Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error { return errAPI }}
	if err := s.reconcile(t, broken); !errors.Is(err, errAPI) {
		t.Fatalf("what can't stop the active run says %v", err)
	}
	if got := names(s.runs(t)); !slices.Equal(got, []string{"by-hand"}) {
		t.Fatalf("before the active run is stopped there are %v", got)
	}
	var order []string
	recorded := interceptor.Funcs{
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			order = append(order, "delete "+obj.GetName())
			return c.Delete(ctx, obj, opts...)
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			order = append(order, "create "+obj.GetName())
			return c.Create(ctx, obj, opts...)
		},
	}
	if err := s.reconcile(t, recorded); err != nil {
		t.Fatal(err)
	}
	due := batchjob.ScheduledRunName(s.job(t), "hourly", policyNoon)
	if diff := cmp.Diff([]string{"delete by-hand", "create " + due}, order); diff != "" {
		t.Errorf("writes (-want +got):\n%s", diff)
	}
	if job := s.job(t); job.Status.ActiveRuns != 1 {
		t.Errorf("the Job counts %d active runs", job.Status.ActiveRuns)
	}
}

// A run in the way that is not the Job's is an error that names it, until somebody deletes it.
func TestJobReconcile_aDueRunsNameIsTaken(t *testing.T) {
	t.Parallel()
	s := setJobStage(t)
	foreign := makeRun("metronome", batchjob.ScheduledRunName(s.job(t), "hourly", policyNoon), "dev.other")
	if err := s.server.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	if err := s.reconcile(t, interceptor.Funcs{}); err == nil {
		t.Fatal("a foreign run of that name is taken for ours")
	}
	if job := s.job(t); !job.Status.Schedules[0].HandledUntil.Equal(at(-time.Hour)) {
		t.Errorf("the time counts as dealt with: %s", job.Status.Schedules[0].HandledUntil)
	}
	if err := s.server.Delete(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	if err := s.reconcile(t, interceptor.Funcs{}); err != nil {
		t.Fatal(err)
	}
}

// The history is deleted after the status remembers it: whatever a crash leaves, no time comes twice.
func TestJobReconcile_historyGoesAfterTheStatus(t *testing.T) {
	t.Parallel()
	s := setJobStage(t, func(job *v1alpha1.Job) { job.Spec.SuccessfulRunsHistoryLimit = new(int32(0)) })
	if err := s.reconcile(t, noStatus); !errors.Is(err, errAPI) {
		t.Fatal(err)
	}
	run := &s.runs(t)[0]
	run.Status.FinishedAt = at(time.Minute)
	run.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionSucceeded, Status: metav1.ConditionTrue, Reason: v1alpha1.StateSuccess}}
	if err := s.server.Status().Update(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if err := s.reconcile(t, noStatus); !errors.Is(err, errAPI) {
		t.Fatal(err)
	}
	if n := len(s.runs(t)); n != 1 {
		t.Fatalf("the status does not remember it, and there are %d runs", n)
	}
	if err := s.reconcile(t, interceptor.Funcs{}); err != nil {
		t.Fatal(err)
	}
	if n := len(s.runs(t)); n != 0 {
		t.Errorf("%d runs are left", n)
	}
	if err := s.reconcile(t, interceptor.Funcs{}); err != nil || len(s.runs(t)) != 0 {
		t.Errorf("it came again: %v, %v", names(s.runs(t)), err)
	}
	if last := s.job(t).Status.LastRun; last == nil || last.State != v1alpha1.StateSuccess || !last.FinishedAt.Equal(at(time.Minute)) {
		t.Errorf("the last run is %+v", last)
	}
}

func TestPlanJob_heldOnlyByARefusal(t *testing.T) {
	t.Parallel()
	job := plannedJob(hourly)
	waiting := *plannedRun(func(r *v1alpha1.JobRun) {
		r.Name, r.Spec.Trigger, r.Spec.Schedule = "waits", v1alpha1.TriggerSchedule, "hourly"
	})
	for v, want := range map[string]struct {
		verdict verdict
		due     int
	}{"granted": {granted, 1}, "refused": {notGranted, 0}, "not known yet": {notSynced, 0}} {
		plan := planJob(jobInput{Job: job, Runs: []v1alpha1.JobRun{waiting}, Verdict: want.verdict, Now: policyNoon})
		if len(plan.Due) != want.due {
			t.Errorf("%s: %d runs are due, want %d", v, len(plan.Due), want.due)
		}
	}
}

func TestDueTimes(t *testing.T) {
	t.Parallel()
	key := func(name string) types.NamespacedName { return types.NamespacedName{Name: name} }
	var d dueTimes
	if due, next := d.take(policyNoon); len(due) != 0 || next >= 0 {
		t.Errorf("empty: %v, next in %s", due, next)
	}
	for name, minutes := range map[string]int{"a": 3, "b": 1, "c": 2, "d": 5, "gone": 1} {
		d.set(key(name), at(time.Duration(minutes)*time.Minute).Time)
	}
	d.set(key("d"), policyNoon.Add(time.Minute))
	d.set(key("b"), policyNoon.Add(4*time.Minute))
	d.forget(key("gone"))
	d.forget(key("never was"))
	for _, step := range []struct {
		at   time.Duration
		due  []types.NamespacedName
		next time.Duration
	}{
		{0, nil, time.Minute},
		{time.Minute, []types.NamespacedName{key("d")}, time.Minute},
		{3 * time.Minute, []types.NamespacedName{key("c"), key("a")}, time.Minute},
		{10 * time.Minute, []types.NamespacedName{key("b")}, -1},
	} {
		due, next := d.take(policyNoon.Add(step.at))
		if diff := cmp.Diff(step.due, due); diff != "" || next != step.next {
			t.Errorf("after %s: next in %s, want %s; due (-want +got):\n%s", step.at, next, step.next, diff)
		}
	}
}

// What is due is asked for once, also after the clock was set, and what comes earlier is not overslept.
func TestDueTimes_source(t *testing.T) {
	t.Parallel()
	var d dueTimes
	clock := clocktesting.NewFakePassiveClock(policyNoon)
	queue := workqueue.NewTypedRateLimitingQueue(retryLimiter())
	defer queue.ShutDown()
	late, early := types.NamespacedName{Name: "late"}, types.NamespacedName{Name: "early"}
	d.set(late, policyNoon.Add(24*time.Hour))
	if err := d.source(clock).Start(t.Context(), queue); err != nil {
		t.Fatal(err)
	}
	expect := func(want types.NamespacedName) {
		t.Helper()
		got, _ := queue.Get()
		if got != (reconcile.Request{NamespacedName: want}) {
			t.Errorf("asked for %s, want %s", got, want)
		}
		queue.Done(got)
	}
	d.set(early, policyNoon)
	expect(early)
	clock.SetTime(policyNoon.Add(25 * time.Hour)) // nobody tells: the clock is looked at
	expect(late)
	if queue.Len() != 0 {
		t.Errorf("%d more are asked for", queue.Len())
	}
}

// Not to know what the grants allow is like not being there: whatever the policy, nothing begins and nothing ends
// meanwhile, and one run comes of it afterwards.
func TestPlanJob_schedulesWhileThePolicyIsNotKnown(t *testing.T) {
	t.Parallel()
	for _, policy := range []v1alpha1.ConcurrencyPolicy{v1alpha1.ConcurrencyAllow, v1alpha1.ConcurrencyForbid, v1alpha1.ConcurrencyReplace} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			job := plannedJob(hourly)
			job.Spec.Schedules[0].ConcurrencyPolicy = policy
			job.Status.NextRunAt = at(0)
			in := jobInput{Job: job, Now: policyNoon, Verdict: notSynced}
			if policy == v1alpha1.ConcurrencyReplace {
				in.Runs = []v1alpha1.JobRun{waitingRun("before", time.Hour)}
			}
			for range 3 {
				plan := planJob(in)
				if len(plan.Due)+len(plan.Stop) > 0 || !plan.NextRun.IsZero() {
					t.Fatalf("%d runs begin, %d end, next at %s", len(plan.Due), len(plan.Stop), plan.NextRun)
				}
				setJobStatus(job, in, plan)
			}
			in.Verdict = granted
			if plan := planJob(in); len(plan.Due) != 1 || len(plan.Stop) != len(in.Runs) {
				t.Errorf("afterwards %d runs begin and %d end", len(plan.Due), len(plan.Stop))
			}
		})
	}
}
