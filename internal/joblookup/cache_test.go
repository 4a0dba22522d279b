package joblookup

import (
	"context"
	"fmt"
	"maps"
	"os"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// apiServer is one for all tests of the package.
var apiServer *grantrytesting.APIServer

func TestMain(m *testing.M) { os.Exit(grantrytesting.Main(m, &apiServer)) }

func TestSlim_keepsWhoseItIs(t *testing.T) {
	t.Parallel()
	whole := pod()
	controller := ref("batch/v1", "Job", "child", "uid-child")
	other := controller
	other.Name, other.Controller = "other", nil
	whole.ObjectMeta = metav1.ObjectMeta{
		Namespace: "n", Name: "pod", UID: "u", ResourceVersion: "1", OwnerReferences: []metav1.OwnerReference{other, controller},
		Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"a": "b"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}, Finalizers: []string{"f"},
	}
	want := pod()
	want.ObjectMeta = metav1.ObjectMeta{Namespace: "n", Name: "pod", UID: "u", ResourceVersion: "1", OwnerReferences: []metav1.OwnerReference{controller}}
	got, err := slim(whole)
	if diff := cmp.Diff(any(want), got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if again, err := slim(got); cmp.Diff(got, again) != "" || err != nil {
		t.Errorf("a second time: %v, %+v", err, again)
	}
	whole.Labels[v1alpha1.LabelRun] = "u"
	if got, err := slim(whole); err != nil || !maps.Equal(got.(client.Object).GetLabels(), map[string]string{v1alpha1.LabelRun: ""}) {
		t.Errorf("of a run's: %v, %+v", err, got)
	}
	tombstone := toolscache.DeletedFinalStateUnknown{Key: "n/pod"}
	if got, err := slim(tombstone); got != any(tombstone) || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// TestSlim_isSmall: a cache of every pod must be affordable.
func TestSlim_isSmall(t *testing.T) {
	const pods, limit = 20_000, 1024
	store := toolscache.NewStore(toolscache.MetaNamespaceKeyFunc)
	before := heap()
	for i := range pods {
		whole := pod()
		controller := ref("batch/v1", "Job", fmt.Sprintf("nightly-report-%d", i), fmt.Sprintf("3f0c1f5e-93c8-4d6e-8b67-%012d", i))
		whole.ObjectMeta = metav1.ObjectMeta{
			Namespace: fmt.Sprintf("namespace-%d", i%100), Name: fmt.Sprintf("nightly-report-%d-abcde", i), UID: types.UID(fmt.Sprintf("9f0c1f5e-93c8-4d6e-8b67-%012d", i)),
			ResourceVersion: fmt.Sprint(1_000_000 + i), OwnerReferences: []metav1.OwnerReference{controller}, Labels: map[string]string{"app": fmt.Sprint(i)},
		}
		kept, err := slim(whole)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Add(kept); err != nil {
			t.Fatal(err)
		}
	}
	if each := (heap() - before) / pods; each > limit {
		t.Errorf("%d bytes for each pod, want %d at the most", each, limit)
	} else {
		t.Logf("%d bytes for each pod", each)
	}
	runtime.KeepAlive(store)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestNewCache_holdsItsScope(t *testing.T) {
	t.Parallel()
	config, c := apiServer.Require(t), apiServer.Client(t)
	for name, labels := range map[string]map[string]string{"of-a-run": {v1alpha1.LabelRun: "x"}, "ordinary": {"app": "x"}} {
		spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}}
		if err := c.Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels, Annotations: labels}, Spec: spec}); err != nil {
			t.Fatal(err)
		}
	}
	for scope, want := range map[Scope][]string{OfRuns: {"of-a-run"}, Everything: {"of-a-run", "ordinary"}} {
		work, err := NewCache(t.Context(), config, cache.Options{Scheme: grantrytesting.Scheme}, scope)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- work.Start(ctx) }()
		if err := Prepare(ctx, work, work); err != nil {
			t.Fatal(err)
		}
		holds := &Lookup{Cached: work, Work: work}
		for namespace, want := range map[string]bool{"default": true, "": true, "kube-system": false} {
			if got, err := holds.HoldsJobs(ctx, namespace); got != want || err != nil {
				t.Errorf("everything is %v: %q, where there is no Job but a pod of one: %v, %v", scope, namespace, got, err)
			}
		}
		var got []string
		for _, name := range []string{"of-a-run", "ordinary"} {
			found := pod()
			err := work.Get(ctx, client.ObjectKey{Namespace: "default", Name: name}, found)
			if err == nil && found.Annotations == nil {
				got = append(got, name)
			} else if !apierrors.IsNotFound(err) {
				t.Errorf("%s: %v, annotations %v", name, err, found.Annotations)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("everything is %v (-want +got):\n%s", scope, diff)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
