package controllers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

func TestJobRunReconciler_aChildThatIsGoneAlreadyIsDeleted(t *testing.T) {
	t.Parallel()
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "jobs"}, "child")
	s := setStage(t, interceptor.Funcs{Delete: func(context.Context, client.WithWatch, client.Object, ...client.DeleteOption) error { return gone }},
		interceptor.Funcs{}, plannedJob(), plannedRun(inState(metav1.ConditionFalse, v1alpha1.StateRevoked)), launchedChild(plannedRun(), active))
	if got, err := s.reconcile(t); err != nil || got != (ctrl.Result{}) {
		t.Errorf("Reconcile() = %v, %v", got, err)
	}
}

func TestJobRunReconciler_waitsForANode(t *testing.T) {
	t.Parallel()
	like := func(job *v1alpha1.Job) {
		job.Spec.Run.Placement = &v1alpha1.Placement{Constraints: []v1alpha1.Constraint{{Attribute: "zone", Operator: "LIKE", Value: "a.*"}}}
	}
	s := setStage(t, interceptor.Funcs{}, interceptor.Funcs{}, plannedJob(like), plannedRun())
	got, err := s.reconcile(t)
	if want := (ctrl.Result{RequeueAfter: nodeRetry}); err != nil || got != want {
		t.Errorf("Reconcile() = %v, %v; want %v", got, err, want)
	}
	c := succeeded(s.run(t))
	if c == nil || c.Reason != v1alpha1.StatePending || !strings.Contains(c.Message, "no node matches") {
		t.Errorf("the run says %+v", c)
	}
	grantrytesting.CheckConditions(t, s.run(t))

	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"zone": "a1"}}}
	if err := s.server.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	if _, err := s.reconcile(t); err != nil || len(s.children(t)) != 1 {
		t.Errorf("with a node: %v, %d children", err, len(s.children(t)))
	}
}

func TestJobRunReconciler_whatTheAPIServerAnswersToACreate(t *testing.T) {
	t.Parallel()
	jobs := schema.GroupResource{Group: "batch", Resource: "jobs"}
	cases := map[string]struct {
		answer    error
		want      string
		wantAfter time.Duration
	}{
		"invalid": {
			answer: apierrors.NewInvalid(schema.GroupKind{Group: "batch", Kind: "Job"}, "child", nil),
			want:   `Rejected: The API server refused the batch/v1 Job: Job.batch "child" is invalid`,
		},
		"a bad request": {
			answer: apierrors.NewBadRequest("no such field"),
			want:   "Rejected: The API server refused the batch/v1 Job: no such field",
		},
		"forbidden": {
			answer: apierrors.NewForbidden(jobs, "child", errors.New("exceeded quota")),
			want:   `Pending: The API server forbids the batch/v1 Job: jobs.batch "child" is forbidden: exceeded quota`, wantAfter: forbiddenRetry,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := setStage(t, interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return tc.answer }},
				interceptor.Funcs{}, plannedJob(), plannedRun())
			got, err := s.reconcile(t)
			if want := (ctrl.Result{RequeueAfter: tc.wantAfter}); err != nil || got != want {
				t.Errorf("Reconcile() = %v, %v; want %v", got, err, want)
			}
			c := succeeded(s.run(t))
			if c == nil || c.Reason+": "+c.Message != tc.want {
				t.Errorf("the run says %+v, want %q", c, tc.want)
			}
			grantrytesting.CheckConditions(t, s.run(t))
		})
	}
}

func TestChildSuspension_isGivenBackAsItWas(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		before *bool
		after  *bool
	}{
		"at work, unset":            {after: new(false)},
		"at work, false":            {before: new(false), after: new(false)},
		"suspended by someone else": {before: new(true), after: new(true)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child := &batchv1.Job{Spec: batchv1.JobSpec{Suspend: tc.before}}
			suspendedByRevocation(child)
			if !isSuspended(child) || !isRevoked(child) {
				t.Fatalf("it is not suspended: %+v", child)
			}
			resumed(child)
			if diff := cmp.Diff(tc.after, child.Spec.Suspend); diff != "" || isRevoked(child) {
				t.Errorf("after: revoked %v, suspend (-want +got):\n%s", isRevoked(child), diff)
			}
		})
	}
}
