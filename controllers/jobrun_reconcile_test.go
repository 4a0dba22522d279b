package controllers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/index"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

var errAPI = errors.New("the API server is on fire")

// stage is a JobRunReconciler over a fake API server, at noon. What the reconciler reads from its cache
// and writes goes through cached, what it reads live through live: a test breaks the one or the other.
type stage struct {
	*JobRunReconciler
	server client.WithWatch
	events chan string
}

// setStage makes one in which alice's Grant and ACL, and objs, exist.
func setStage(t *testing.T, cached, live interceptor.Funcs, objs ...client.Object) *stage {
	t.Helper()
	policy := []client.Object{jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", v1alpha1.ActionRun)}
	b := fake.NewClientBuilder().WithScheme(grantrytesting.Scheme).WithObjects(append(objs, policy...)...).
		WithStatusSubresource(&v1alpha1.Job{}, &v1alpha1.JobRun{}, &batchv1.Job{})
	for _, f := range index.Fields() {
		b = b.WithIndex(f.Object, f.Name, f.Values)
	}
	server := b.Build()
	liveReader := interceptor.NewClient(server, live)
	clk := clocktesting.NewFakePassiveClock(policyNoon)
	gate, _ := gateOn(t, ModePermissive, liveReader, jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", v1alpha1.ActionRun))
	recorder := events.NewFakeRecorder(100)
	return &stage{
		JobRunReconciler: &JobRunReconciler{
			Client: interceptor.NewClient(server, cached), Live: liveReader, Gate: gate, Clock: clk,
			Recorder: recorder, Options: batchjob.Options{DefaultImage: "busybox"},
		},
		server: server, events: recorder.Events,
	}
}

var runKey = types.NamespacedName{Namespace: "metronome", Name: "run1"}

func (s *stage) reconcile(t *testing.T) (ctrl.Result, error) {
	t.Helper()
	return s.Reconcile(t.Context(), ctrl.Request{NamespacedName: runKey})
}

func (s *stage) run(t *testing.T) *v1alpha1.JobRun {
	t.Helper()
	run := &v1alpha1.JobRun{}
	if err := s.server.Get(t.Context(), runKey, run); err != nil {
		t.Fatal(err)
	}
	return run
}

func (s *stage) children(t *testing.T) []batchv1.Job {
	t.Helper()
	list := &batchv1.JobList{}
	if err := s.server.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// launchedChild is the child as the operator makes it, half a minute before noon.
func launchedChild(run *v1alpha1.JobRun, edits ...func(*batchv1.Job)) *batchv1.Job {
	return plannedChild(append(edits, func(c *batchv1.Job) {
		c.Name = batchjob.ChildName(run)
		c.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(run, v1alpha1.GroupVersion.WithKind("JobRun"))}
	})...)
}

type getFunc = func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error

// failGet breaks the reads of one kind.
func failGet[T client.Object](err error) getFunc {
	return func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
		if _, hit := obj.(T); hit {
			return err
		}
		return c.Get(ctx, key, obj, opts...)
	}
}

func failList(err error) interceptor.Funcs {
	return interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return err }}
}

// failPatch breaks the first n patches, and lets the others through.
func failPatch(n int, err error) interceptor.Funcs {
	return interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
		if n--; n >= 0 {
			return err
		}
		return c.Patch(ctx, obj, patch, opts...)
	}}
}

func conflictOf(name string) error {
	return apierrors.NewConflict(schema.GroupResource{Resource: "jobs"}, name, errors.New("changed meanwhile"))
}

func TestJobRunReconciler_returnsWhatItCanNotReadAndLaunchesNothing(t *testing.T) {
	t.Parallel()
	like := func(job *v1alpha1.Job) {
		job.Spec.Run.Placement = &v1alpha1.Placement{Constraints: []v1alpha1.Constraint{{Attribute: "zone", Operator: "LIKE", Value: "a.*"}}}
	}
	failedChild := func() client.Object {
		return launchedChild(plannedRun(), ended(batchv1.JobFailed, "BackoffLimitExceeded", ""), func(c *batchv1.Job) { c.Status.Failed = 1 })
	}
	cases := map[string]struct {
		cached, live interceptor.Funcs
		job          []func(*v1alpha1.Job)
		run          []func(*v1alpha1.JobRun)
		child        client.Object
		told         bool // in the status of the run
	}{
		"the run":                         {cached: interceptor.Funcs{Get: failGet[*v1alpha1.JobRun](errAPI)}},
		"its Job":                         {cached: interceptor.Funcs{Get: failGet[*v1alpha1.Job](errAPI)}},
		"its child":                       {cached: interceptor.Funcs{Get: failGet[*batchv1.Job](errAPI)}},
		"live: the run":                   {live: interceptor.Funcs{Get: failGet[*v1alpha1.JobRun](errAPI)}, told: true},
		"live: the Grant":                 {live: interceptor.Funcs{Get: failGet[*v1alpha1.Grant](errAPI)}, told: true},
		"live: the ACL":                   {live: interceptor.Funcs{Get: failGet[*v1alpha1.ACL](errAPI)}, told: true},
		"live: the child, at a deadline":  {live: interceptor.Funcs{Get: failGet[*batchv1.Job](errAPI)}, run: []func(*v1alpha1.JobRun){withDeadline(1)}, told: true},
		"live: the child that was seen":   {live: interceptor.Funcs{Get: failGet[*batchv1.Job](errAPI)}, run: []func(*v1alpha1.JobRun){sawChild}},
		"live: the pods of a failed run":  {live: failList(errAPI), child: failedChild()},
		"live: the nodes of a constraint": {live: failList(errAPI), job: []func(*v1alpha1.Job){like}, told: true},
		"writing the child":               {cached: interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return errAPI }}, told: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objs := []client.Object{plannedJob(tc.job...), plannedRun(tc.run...)}
			if tc.child != nil {
				objs = append(objs, tc.child)
			}
			s := setStage(t, tc.cached, tc.live, objs...)
			before := s.run(t)
			if _, err := s.reconcile(t); !errors.Is(err, errAPI) {
				t.Errorf("Reconcile() = %v, want %v", err, errAPI)
			}
			if got := len(s.children(t)); got != len(objs)-2 {
				t.Errorf("there are %d children", got)
			}
			if tc.told {
				want := "It can't be launched now, and is tried again: "
				if c := succeeded(s.run(t)); c == nil || c.Reason != v1alpha1.StatePending || !strings.HasPrefix(c.Message, want) ||
					!strings.HasSuffix(c.Message, errAPI.Error()) {
					t.Errorf("the run does not say why it is not launched: %+v", c)
				}
				return
			}
			if diff := cmp.Diff(before.Status, s.run(t).Status); diff != "" {
				t.Errorf("the status was written (-before +after):\n%s", diff)
			}
		})
	}
}

func TestJobRunReconciler_leavesAloneWhatIsGone(t *testing.T) {
	t.Parallel()
	going := plannedRun(func(r *v1alpha1.JobRun) { r.DeletionTimestamp, r.Finalizers = at(0), []string{"example.com/hold"} })
	for name, objs := range map[string][]client.Object{"no run": {plannedJob()}, "being deleted": {plannedJob(), going}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setStage(t, interceptor.Funcs{}, interceptor.Funcs{}, objs...)
			if got, err := s.reconcile(t); err != nil || got != (ctrl.Result{}) {
				t.Errorf("Reconcile() = %v, %v", got, err)
			}
			if len(s.children(t)) != 0 {
				t.Error("it was launched")
			}
		})
	}
}

func TestJobRunReconciler_launchesOnceWhateverHappensToTheWrite(t *testing.T) {
	t.Parallel()
	type createFunc = func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error
	cases := map[string]createFunc{
		"the write fails": func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return errAPI },
		"the answer is lost": func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return errors.Join(errAPI, c.Create(ctx, obj, opts...))
		},
	}
	for name, first := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			creates := 0
			s := setStage(t, interceptor.Funcs{
				Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
					if creates++; creates == 1 {
						return first(ctx, c, obj, opts...)
					}
					return c.Create(ctx, obj, opts...)
				},
				Get: failGet[*batchv1.Job](apierrors.NewNotFound(schema.GroupResource{Resource: "jobs"}, "child")), // the cache is behind
			}, interceptor.Funcs{}, plannedJob(), plannedRun())
			if _, err := s.reconcile(t); !errors.Is(err, errAPI) {
				t.Fatalf("the first look: %v", err)
			}
			for range 3 {
				if _, err := s.reconcile(t); err != nil {
					t.Fatalf("a later look: %v", err)
				}
			}
			if got := len(s.children(t)); got != 1 {
				t.Errorf("there are %d children", got)
			}
			if !s.launched.has(s.run(t)) {
				t.Error("it is not remembered that the run was launched")
			}
			got, err := s.reconcile(t)
			if want := (ctrl.Result{RequeueAfter: staleCacheRetry}); err != nil || got != want {
				t.Errorf("while the cache is behind: %v, %v; want %v", got, err, want)
			}
			if s.run(t).Status.Child != nil || runState(s.run(t)) != v1alpha1.StatePending {
				t.Errorf("the status tells of a child before the cache does: %+v", s.run(t).Status)
			}
		})
	}
}

func TestJobRunReconciler_asksTheAPIServerAboutTheRun(t *testing.T) {
	t.Parallel()
	type change = func(*v1alpha1.JobRun)
	live := func(change change) interceptor.Funcs {
		return interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			err := c.Get(ctx, key, obj, opts...)
			if run, ok := obj.(*v1alpha1.JobRun); ok && err == nil {
				change(run)
			}
			return err
		}}
	}
	cases := map[string]interceptor.Funcs{
		"it is gone":            {Get: failGet[*v1alpha1.JobRun](apierrors.NewNotFound(schema.GroupResource{Resource: "jobruns"}, "run1"))},
		"it is another":         live(func(r *v1alpha1.JobRun) { r.UID = "another" }),
		"it is being deleted":   live(func(r *v1alpha1.JobRun) { r.DeletionTimestamp = at(0) }),
		"it has ended":          live(inState(metav1.ConditionFalse, v1alpha1.StateRejected)),
		"it had a child before": live(sawChild),
		"it is to stop":         live(stopRequested),
	}
	for name, funcs := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setStage(t, interceptor.Funcs{}, funcs, plannedJob(), plannedRun())
			got, err := s.reconcile(t)
			if want := (ctrl.Result{RequeueAfter: staleCacheRetry}); err != nil || got != want {
				t.Errorf("Reconcile() = %v, %v; want %v", got, err, want)
			}
			if len(s.children(t)) != 0 || len(s.run(t).Status.Conditions) != 0 {
				t.Errorf("it was launched or written: %+v", s.run(t).Status)
			}
		})
	}
}

func TestJobRunReconciler_aConflictIsNoError(t *testing.T) {
	t.Parallel()
	again := ctrl.Result{RequeueAfter: conflictRetry}
	statusConflict := func() interceptor.Funcs {
		n := 0
		return interceptor.Funcs{SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			if n++; n == 1 {
				return conflictOf(obj.GetName())
			}
			return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
		}}
	}
	t.Run("of the status", func(t *testing.T) {
		t.Parallel()
		s := setStage(t, statusConflict(), interceptor.Funcs{}, plannedJob(), plannedRun(), launchedChild(plannedRun(), active))
		if got, err := s.reconcile(t); err != nil || got != again {
			t.Errorf("Reconcile() = %v, %v; want %v", got, err, again)
		}
		if _, err := s.reconcile(t); err != nil || runState(s.run(t)) != v1alpha1.StateActive {
			t.Errorf("the next look: %v, %s", err, runState(s.run(t)))
		}
	})
	t.Run("of the adoption", func(t *testing.T) {
		t.Parallel()
		s := setStage(t, failPatch(1, conflictOf("run1")), interceptor.Funcs{}, plannedJob(), plannedRun(unowned))
		if got, err := s.reconcile(t); err != nil || got != again {
			t.Errorf("Reconcile() = %v, %v; want %v", got, err, again)
		}
		if _, err := s.reconcile(t); err != nil || belonging(s.run(t), plannedJob()) != belongsToJob {
			t.Errorf("the next look: %v, owners %v", err, s.run(t).OwnerReferences)
		}
	})
}

func TestJobRunReconciler_whatItCouldNotDoIsDoneLater(t *testing.T) {
	t.Parallel()
	suspend := func(j *v1alpha1.Job) {
		j.Spec.OnRevoke, j.Spec.Owner.Name = v1alpha1.RevokeSuspend, "mallory"
	}
	remove := func(j *v1alpha1.Job) { j.Spec.OnRevoke, j.Spec.Owner.Name = v1alpha1.RevokeDelete, "mallory" }
	deletes := 0
	cases := map[string]struct {
		cached interceptor.Funcs
		job    func(*v1alpha1.Job)
		child  *batchv1.Job
		run    func(*v1alpha1.JobRun)
		want   func(*v1alpha1.JobRun, []batchv1.Job) bool
	}{
		"adopt": {
			cached: failPatch(1, errAPI), run: unowned,
			want: func(run *v1alpha1.JobRun, _ []batchv1.Job) bool { return belonging(run, plannedJob()) == belongsToJob },
		},
		"suspend": {
			cached: failPatch(1, errAPI), job: suspend, child: launchedChild(plannedRun(), active),
			want: func(_ *v1alpha1.JobRun, children []batchv1.Job) bool {
				return isSuspended(&children[0]) && isRevoked(&children[0])
			},
		},
		"resume": {
			cached: failPatch(1, errAPI), child: launchedChild(plannedRun(), suspendedChild, revokedChild),
			want: func(_ *v1alpha1.JobRun, children []batchv1.Job) bool {
				return !isSuspended(&children[0]) && !isRevoked(&children[0])
			},
		},
		"delete": {
			cached: interceptor.Funcs{Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				if deletes++; deletes == 1 {
					return errAPI
				}
				return c.Delete(ctx, obj, opts...)
			}},
			job: remove, child: launchedChild(plannedRun(), active),
			want: func(run *v1alpha1.JobRun, children []batchv1.Job) bool {
				return len(children) == 0 && runState(run) == v1alpha1.StateRevoked
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objs := []client.Object{plannedJob(), plannedRun()}
			if tc.job != nil {
				objs[0] = plannedJob(tc.job)
			}
			if tc.run != nil {
				objs[1] = plannedRun(tc.run)
			}
			if tc.child != nil {
				objs = append(objs, tc.child)
			}
			s := setStage(t, tc.cached, interceptor.Funcs{}, objs...)
			if _, err := s.reconcile(t); !errors.Is(err, errAPI) {
				t.Errorf("the first look: %v, want %v", err, errAPI)
			}
			if tc.want(s.run(t), s.children(t)) {
				t.Fatal("nothing was broken")
			}
			if _, err := s.reconcile(t); err != nil {
				t.Errorf("the second look: %v", err)
			}
			if !tc.want(s.run(t), s.children(t)) {
				t.Errorf("it was not done: run %+v, children %+v", s.run(t).Status, s.children(t))
			}
		})
	}
}

func TestJobRunReconciler_affectedByPolicy(t *testing.T) {
	t.Parallel()
	says := func(name, job string, v *verdict, edits ...func(*v1alpha1.JobRun)) client.Object {
		run := plannedRun(append(edits, func(r *v1alpha1.JobRun) {
			r.Name, r.UID, r.Spec.Job = name, types.UID(name), job
			if v != nil {
				setReport(&r.Status.Conditions, v1alpha1.ConditionAuthorized, authorizedReport(*v), 1, policyNoon)
			}
		})...)
		return run
	}
	s := setStage(t, interceptor.Funcs{}, interceptor.Funcs{},
		plannedJob(), says("right", "dev.batch.job1", &granted), says("wrong", "dev.batch.job1", &notGranted),
		says("new", "dev.batch.job1", nil), says("ended", "dev.batch.job1", &notGranted, inState(metav1.ConditionTrue, v1alpha1.StateSuccess)),
		says("jobless", "dev.none", &notGranted))
	got, err := s.affectedByPolicy(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, r := range got {
		found = append(found, r.Name)
	}
	slices.Sort(found)
	if diff := cmp.Diff([]string{"new", "wrong"}, found); diff != "" {
		t.Errorf("affected (-want +got):\n%s", diff)
	}
	mapped := s.unfinishedRunsOf(t.Context(), plannedJob())
	if len(mapped) != 3 {
		t.Errorf("unfinishedRunsOf() = %v, want three", mapped)
	}

	broken := setStage(t, failList(errAPI), interceptor.Funcs{})
	if _, err := broken.affectedByPolicy(t.Context()); !errors.Is(err, errAPI) {
		t.Errorf("affectedByPolicy() = %v, want %v", err, errAPI)
	}
	if got := broken.unfinishedRunsOf(t.Context(), plannedJob()); got != nil {
		t.Errorf("unfinishedRunsOf() = %v, want nothing", got)
	}
}

func TestJobRunReconciler_anotherJobOfTheNameHasNoSay(t *testing.T) {
	t.Parallel()
	another := plannedJob(func(job *v1alpha1.Job) { job.UID = "another-job" })
	s := setStage(t, interceptor.Funcs{}, interceptor.Funcs{}, another, plannedRun(), launchedChild(plannedRun(), suspendedChild, revokedChild))
	if _, err := s.reconcile(t); err != nil {
		t.Fatal(err)
	}
	if child := s.children(t)[0]; !isSuspended(&child) || !isRevoked(&child) {
		t.Errorf("the grants of another Job's owner resumed it: %+v", child)
	}
	if got := runState(s.run(t)); got != v1alpha1.StateSuspended {
		t.Errorf("the run is %s", got)
	}
}
