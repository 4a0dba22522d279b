package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// ForgetQueues drops what workqueue_depth says of controllers that have ended. controller-runtime, whose metric it is,
// counts on a process that ends with them: what waited in their queues would be told of for ever.
func ForgetQueues(controllers ...string) {
	depth := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Subsystem: metrics.WorkQueueSubsystem, Name: metrics.DepthKey, Help: "Current depth of workqueue by workqueue and priority",
	}, []string{"name", "controller", "priority"})
	var registered prometheus.AlreadyRegisteredError
	if !errors.As(metrics.Registry.Register(depth), &registered) {
		return // not the metric that this was written for
	}
	theirs, ok := registered.ExistingCollector.(*prometheus.GaugeVec)
	if !ok {
		return
	}
	for _, name := range controllers {
		theirs.DeletePartialMatch(prometheus.Labels{"controller": name})
	}
}
