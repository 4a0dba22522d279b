package metrics_test

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	grantrymetrics "github.com/grantry/grantry/internal/metrics"
)

// depths are what workqueue_depth says by controller.
func depths(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "workqueue_depth" {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "controller" {
					found[label.GetValue()] += m.GetGauge().GetValue()
				}
			}
		}
	}
	return found
}

// TestForgetQueues: what waited in a queue that has ended is not told of, and the rest is.
func TestForgetQueues(t *testing.T) {
	for _, name := range []string{"forgotten", "other"} {
		queue := priorityqueue.New[string](name)
		queue.Add("waits")
		queue.Len() // it counts what was added
		queue.ShutDown()
	}
	if got := depths(t); got["forgotten"] != 1 || got["other"] != 1 {
		t.Fatalf("this test no longer knows the metric: %v", got)
	}
	grantrymetrics.ForgetQueues("forgotten")
	got := depths(t)
	if _, is := got["forgotten"]; is || got["other"] != 1 {
		t.Errorf("depths: %v", got)
	}
}
