package metrics_test

import (
	"context"
	"maps"
	"slices"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	grantrymetrics "github.com/grantry/grantry/internal/metrics"
)

// families are the names of those that say something of a controller.
func families(t *testing.T, name string) []string {
	t.Helper()
	all, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetValue() == name {
					found[family.GetName()] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// runThrough starts a controller, ends it, and leaves something in a queue of its name.
func runThrough(t *testing.T, name string) {
	t.Helper()
	c, err := controller.NewUnmanaged(name, controller.Options{Reconciler: reconcile.Func(
		func(context.Context, reconcile.Request) (reconcile.Result, error) { return reconcile.Result{}, nil })})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Start(ctx); err != nil {
		t.Fatal(err)
	}
	queue := priorityqueue.New[string](name)
	queue.Add("waits")
	queue.Len() // it counts what was added
	queue.ShutDown()
}

// TestForgetControllers: nothing is told of a controller that has ended, and what is told of others stays.
func TestForgetControllers(t *testing.T) {
	for _, name := range []string{"forgotten", "other"} {
		runThrough(t, name)
	}
	told := families(t, "other")
	for _, want := range []string{
		"controller_runtime_active_workers", "controller_runtime_max_concurrent_reconciles", "controller_runtime_reconcile_total",
		"workqueue_depth", "workqueue_longest_running_processor_seconds", "workqueue_unfinished_work_seconds", "workqueue_work_duration_seconds",
	} {
		if !slices.Contains(told, want) {
			t.Errorf("this test no longer knows %s, but %q", want, told)
		}
	}
	if before := families(t, "forgotten"); !slices.Equal(before, told) {
		t.Fatalf("of one %q, of the other %q", before, told)
	}
	grantrymetrics.ForgetControllers("forgotten")
	if got := families(t, "forgotten"); len(got) > 0 {
		t.Errorf("still told of: %q", got)
	}
	if got := families(t, "other"); !slices.Equal(got, told) {
		t.Errorf("of the other is told %q, and was %q", got, told)
	}
}
