package controllers

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

func TestAncestorLabelChanges(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 40) + "." + strings.Repeat("b", 40)
	for name, tc := range map[string]struct {
		labels map[string]string
		path   string
		want   map[string]*string
	}{
		"none are there": {
			path: "dev.batch", want: map[string]*string{"in.grantry.dev/dev": new(""), "in.grantry.dev/dev.batch": new("")},
		},
		"they are right, and others are not ours": {
			path: "dev", labels: map[string]string{"in.grantry.dev/dev": "", "team": "x", "grantry.dev/job-uid": "y"},
		},
		"one has a value": {
			path: "dev", labels: map[string]string{"in.grantry.dev/dev": "x"}, want: map[string]*string{"in.grantry.dev/dev": new("")},
		},
		"another subtree's": {
			path: "dev", labels: map[string]string{"in.grantry.dev/dev": "", "in.grantry.dev/prod": ""},
			want: map[string]*string{"in.grantry.dev/prod": nil},
		},
		"one below itself": {
			path: "dev", labels: map[string]string{"in.grantry.dev/dev": "", "in.grantry.dev/dev.batch": ""},
			want: map[string]*string{"in.grantry.dev/dev.batch": nil},
		},
		"a path that is too long for a key": {
			path: long, labels: map[string]string{"in.grantry.dev/" + long[:40]: ""},
			want: map[string]*string{batchjob.AncestorLabelKey(long): new("")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, ancestorLabelChanges(tc.labels, tc.path)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// patches records the bodies of the patches that go through it.
func patches(bodies *[]string) interceptor.Funcs {
	return interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
		if body, err := patch.Data(obj); err == nil {
			*bodies = append(*bodies, string(body))
		}
		return c.Patch(ctx, obj, patch, opts...)
	}}
}

func TestLabelAncestors_namesOnlyWhatIsWrong(t *testing.T) {
	t.Parallel()
	var bodies []string
	run := plannedRun(func(r *v1alpha1.JobRun) {
		r.Labels = maps.Clone(batchjob.AncestorLabels("dev.batch.job1"))
		delete(r.Labels, "in.grantry.dev/dev.batch")
		r.Labels["in.grantry.dev/prod"], r.Labels["team"] = "", "x"
	})
	s := setStage(t, patches(&bodies), interceptor.Funcs{}, plannedJob(), run)
	for range 2 { // the second finds nothing to write
		if err := labelAncestors(t.Context(), s.Client, runKind, s.run(t), "dev.batch.job1"); err != nil {
			t.Fatal(err)
		}
	}
	want := fmt.Sprintf(`{"metadata":{"labels":{"in.grantry.dev/dev.batch":"","in.grantry.dev/prod":null},"uid":"%s"}}`, run.UID)
	if diff := cmp.Diff([]string{want}, bodies); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestJobRunReconciler_aLabelThatCannotBeSetHoldsNothingUp(t *testing.T) {
	t.Parallel()
	refuse := interceptor.Funcs{Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
		if _, only := obj.(*metav1.PartialObjectMetadata); only {
			return errAPI
		}
		return c.Patch(ctx, obj, patch, opts...)
	}}
	s := setStage(t, refuse, interceptor.Funcs{}, plannedJob(), plannedRun(func(r *v1alpha1.JobRun) { r.Labels = nil }))
	if _, err := s.reconcile(t); err == nil || !strings.Contains(err.Error(), errAPI.Error()) {
		t.Errorf("Reconcile() = %v, want it to tell %v", err, errAPI)
	}
	if len(s.children(t)) != 1 {
		t.Error("the run was not launched")
	}
}

// labelsOf reads an object anew and returns its labels.
func (s *story) labelsOf(t *testing.T, obj client.Object) func() map[string]string {
	t.Helper()
	return func() map[string]string {
		s.Expect(s.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)).To(Succeed())
		return obj.GetLabels()
	}
}

// with is the ancestor labels of a path and others.
func with(path string, others ...string) map[string]string {
	labels := batchjob.AncestorLabels(path)
	for _, other := range others {
		labels[other] = "mine"
	}
	return labels
}

// TestAncestorLabels_areKeptTrue: whatever users do to the labels of a Job and of its runs.
func TestAncestorLabels_areKeptTrue(t *testing.T) {
	t.Parallel()
	s := &story{startManager(t, everything(ModePermissive)), t}
	long := "dev." + strings.Repeat("a", 30) + "." + strings.Repeat("b", 40)
	for name, tc := range map[string]struct {
		object client.Object
		path   string
	}{
		"a Job":                     {makeJob(s.Namespace, "dev.batch.job1", startPolicy(v1alpha1.StartOnDemand)), "dev.batch.job1"},
		"a Job of a long name":      {makeJob(s.Namespace, long, startPolicy(v1alpha1.StartOnDemand)), long},
		"a run that a user creates": {makeRun(s.Namespace, "now", "dev.batch.job1"), "dev.batch.job1"},
		"a run of no Job":           {makeRun(s.Namespace, "early", "dev.none"), "dev.none"},
	} {
		t.Run(name, func(t *testing.T) {
			ours := func() map[string]string {
				labels := s.labelsOf(t, tc.object)()
				delete(labels, v1alpha1.LabelJob)
				return labels
			}
			tc.object.SetLabels(map[string]string{"team": "mine", "in.grantry.dev/prod": "", "in.grantry.dev/dev": "x"})
			tc.object.SetAnnotations(map[string]string{"note": "mine"})
			s.Expect(s.Create(t.Context(), tc.object)).To(Succeed())
			s.Eventually(ours).Should(Equal(with(tc.path, "team")), "forged ones go, missing ones come")
			s.Expect(tc.object.GetAnnotations()).To(Equal(map[string]string{"note": "mine"}))
			s.Expect(tc.object.GetGeneration()).To(BeEquivalentTo(1), "labels are no new generation")

			s.change(t, tc.object, func() { tc.object.SetLabels(map[string]string{"other": "mine", "in.grantry.dev/prod": ""}) })
			s.Eventually(ours).Should(Equal(with(tc.path, "other")), "they come back")
		})
	}
}

// TestAncestorLabels_costNothingWhenRight: what admission or the operator has labelled is not written to.
func TestAncestorLabels_costNothingWhenRight(t *testing.T) {
	t.Parallel()
	var bodies []string
	labelled := func(r *v1alpha1.JobRun) { r.Labels = batchjob.RunLabels(plannedJob()) }
	s := setStage(t, patches(&bodies), interceptor.Funcs{}, plannedJob(func(j *v1alpha1.Job) { j.Labels = batchjob.AncestorLabels(j.Name) }), plannedRun(labelled))
	for range 3 {
		if _, err := s.reconcile(t); err != nil {
			t.Fatal(err)
		}
		if _, err := s.job().Reconcile(t.Context(), jobRequest); err != nil {
			t.Fatal(err)
		}
	}
	if len(bodies) != 0 || len(s.children(t)) != 1 {
		t.Errorf("%d children, patches besides status: %q", len(s.children(t)), bodies)
	}
}

// TestAncestorLabels_comeWithTheAdoption: a run that a user creates is written to once.
func TestAncestorLabels_comeWithTheAdoption(t *testing.T) {
	t.Parallel()
	var bodies []string
	forged := func(r *v1alpha1.JobRun) { r.Labels = map[string]string{"in.grantry.dev/prod": "", "team": "mine"} }
	s := setStage(t, patches(&bodies), interceptor.Funcs{}, plannedJob(), plannedRun(unowned, forged))
	if _, err := s.reconcile(t); err != nil {
		t.Fatal(err)
	}
	want := batchjob.RunLabels(plannedJob())
	want["team"] = "mine"
	if diff := cmp.Diff(want, s.run(t).Labels); diff != "" || len(bodies) != 1 {
		t.Errorf("%d patches, labels (-want +got):\n%s", len(bodies), diff)
	}
}

// TestLabelAncestors_meetsOthers: neither a write in between nor another object of the name goes wrong.
func TestLabelAncestors_meetsOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	run := makeRun(w.Namespace, "now", "dev.job")
	w.Expect(w.Create(t.Context(), run)).To(Succeed())
	seen := run.DeepCopy() // by a cache that shows nothing of what follows
	run.Labels = map[string]string{"team": "mine"}
	w.Expect(w.Update(t.Context(), run)).To(Succeed())
	w.Expect(labelAncestors(t.Context(), w.Client, runKind, seen, "dev.job")).To(Succeed())
	w.Expect(w.Get(t.Context(), client.ObjectKeyFromObject(run), run)).To(Succeed())
	w.Expect(run.Labels).To(Equal(with("dev.job", "team")))

	w.Expect(w.Delete(t.Context(), run)).To(Succeed())
	w.Expect(labelAncestors(t.Context(), w.Client, runKind, seen, "dev.job")).To(Succeed(), "what is gone needs no labels")
	again := makeRun(w.Namespace, "now", "prod.job")
	w.Expect(w.Create(t.Context(), again)).To(Succeed())
	w.Expect(labelAncestors(t.Context(), w.Client, runKind, seen, "dev.job")).To(MatchError(ContainSubstring("metadata.uid")), "another object of that name")
	w.Expect(w.Get(t.Context(), client.ObjectKeyFromObject(again), again)).To(Succeed())
	w.Expect(again.Labels).To(BeEmpty())
}
