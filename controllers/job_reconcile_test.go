package controllers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// job is the Job's reconciler, on the stage of the run's.
func (s *stage) job() *JobReconciler {
	return &JobReconciler{Client: s.Client, Live: s.Client, Gate: s.Gate, Clock: s.Clock, Options: s.Options}
}

var jobRequest = ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "metronome", Name: "dev.batch.job1"}}

func (s *stage) jobStatus(t *testing.T) v1alpha1.JobStatus {
	t.Helper()
	job := &v1alpha1.Job{}
	if err := s.server.Get(t.Context(), jobRequest.NamespacedName, job); err != nil {
		t.Fatal(err)
	}
	return job.Status
}

func TestJobReconciler_errors(t *testing.T) {
	t.Parallel()
	type create = func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error
	type remove = func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error
	creating := func(err error) create {
		return func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return err }
	}
	deleting := func(err error) remove {
		return func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error { return err }
	}
	var old []client.Object
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		run := endedRun(name, v1alpha1.StateSuccess, time.Hour)
		run.UID = types.UID(name)
		old = append(old, &run)
	}
	runs := schema.GroupResource{Group: "grantry.dev", Resource: "jobruns"}
	cases := map[string]struct {
		funcs      interceptor.Funcs
		runs       []client.Object
		want       error
		wantResult ctrl.Result
		wantStatus bool // was written
	}{
		"the Job can't be read":              {funcs: interceptor.Funcs{Get: failGet[*v1alpha1.Job](errAPI)}, want: errAPI},
		"its runs can't be listed":           {funcs: failList(errAPI), want: errAPI},
		"its run can't be created":           {funcs: interceptor.Funcs{Create: creating(errAPI)}, want: errAPI},
		"its run was created before":         {funcs: interceptor.Funcs{Create: creating(apierrors.NewAlreadyExists(runs, "x"))}, wantStatus: true},
		"an old run can't be deleted":        {funcs: interceptor.Funcs{Delete: deleting(errAPI)}, runs: old, want: errAPI, wantStatus: true},
		"an old run was deleted by somebody": {funcs: interceptor.Funcs{Delete: deleting(apierrors.NewNotFound(runs, "a"))}, runs: old, wantStatus: true},
		"the status was changed by someone else": {funcs: interceptor.Funcs{SubResourcePatch: func(context.Context, client.Client, string, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
			return conflictOf("job")
		}}, wantResult: ctrl.Result{RequeueAfter: conflictRetry}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setStage(t, tc.funcs, interceptor.Funcs{}, append([]client.Object{plannedJob()}, copies(tc.runs)...)...)
			got, err := s.job().Reconcile(t.Context(), jobRequest)
			if !errors.Is(err, tc.want) || got != tc.wantResult {
				t.Errorf("Reconcile() = %v, %v; want %v, %v", got, err, tc.wantResult, tc.want)
			}
			if status := s.jobStatus(t); (status.CreationRun != "") != tc.wantStatus {
				t.Errorf("the status is %+v; want it written: %v", status, tc.wantStatus)
			}
		})
	}
}

// copies are deep: fake API servers write to what they are given.
func copies(objs []client.Object) (all []client.Object) {
	for _, obj := range objs {
		all = append(all, obj.DeepCopyObject().(client.Object))
	}
	return all
}

func TestJobReconciler_createsOneRunWhateverHappensToTheStatus(t *testing.T) {
	t.Parallel()
	patches := 0
	s := setStage(t, interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
		if patches++; patches <= 2 {
			return errAPI
		}
		return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
	}}, interceptor.Funcs{}, plannedJob())
	for range 2 {
		if _, err := s.job().Reconcile(t.Context(), jobRequest); !errors.Is(err, errAPI) {
			t.Fatalf("Reconcile() = %v, want %v", err, errAPI)
		}
	}
	for range 2 {
		if _, err := s.job().Reconcile(t.Context(), jobRequest); err != nil {
			t.Fatal(err)
		}
	}
	list := &v1alpha1.JobRunList{}
	if err := s.server.List(t.Context(), list); err != nil || len(list.Items) != 1 {
		t.Errorf("there are %d runs (%v)", len(list.Items), err)
	}
	if patches != 3 {
		t.Errorf("%d writes of the status, want 3: nothing changed since", patches)
	}
}

func TestJobReconciler_leavesAloneWhatIsGone(t *testing.T) {
	t.Parallel()
	going := plannedJob(func(j *v1alpha1.Job) { j.DeletionTimestamp, j.Finalizers = at(0), []string{"example.com/hold"} })
	for name, objs := range map[string][]client.Object{"no Job": nil, "being deleted": {going}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setStage(t, interceptor.Funcs{}, interceptor.Funcs{}, objs...)
			if got, err := s.job().Reconcile(t.Context(), jobRequest); err != nil || got != (ctrl.Result{}) {
				t.Errorf("Reconcile() = %v, %v", got, err)
			}
			list := &v1alpha1.JobRunList{}
			if err := s.server.List(t.Context(), list); err != nil || len(list.Items) != 0 {
				t.Errorf("it created %d runs (%v)", len(list.Items), err)
			}
		})
	}
}

func TestJobReconciler_affectedByPolicy(t *testing.T) {
	t.Parallel()
	says := func(name string, v verdict) client.Object {
		return plannedJob(func(j *v1alpha1.Job) {
			j.Name, j.UID = name, types.UID(name)
			setReport(&j.Status.Conditions, v1alpha1.ConditionAuthorized, authorizedReport(v), 1, policyNoon)
		})
	}
	s := setStage(t, interceptor.Funcs{}, interceptor.Funcs{}, says("dev.right", granted), says("dev.wrong", notSynced))
	got, err := s.job().affectedByPolicy(t.Context())
	want := []ctrl.Request{{NamespacedName: types.NamespacedName{Namespace: "metronome", Name: "dev.wrong"}}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("affectedByPolicy(): %v (-want +got):\n%s", err, diff)
	}
	if _, err := setStage(t, failList(errAPI), interceptor.Funcs{}).job().affectedByPolicy(t.Context()); !errors.Is(err, errAPI) {
		t.Errorf("affectedByPolicy() = %v, want %v", err, errAPI)
	}
}

func TestJobReconciler_aCreationsRunThatIsAnothersIsAnError(t *testing.T) {
	t.Parallel()
	job := plannedJob()
	taken := makeRun("metronome", batchjob.CreationRunName(job), "dev.other")
	s := setStage(t, interceptor.Funcs{}, interceptor.Funcs{}, job, taken)
	if _, err := s.job().Reconcile(t.Context(), jobRequest); err == nil || !strings.Contains(err.Error(), "is not the Job's: delete it") {
		t.Errorf("Reconcile() = %v", err)
	}
}
