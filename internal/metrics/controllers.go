package metrics

import (
	"errors"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// ForgetControllers drops the series of controllers that have ended, and of their queues: all whose name begins with
// controller_runtime_ or workqueue_ and whose label controller names one. controller-runtime, whose metrics they are,
// counts on a process that ends with them: what waited in their queues would be told of for ever. A controller that is
// still at work may bring some back.
func ForgetControllers(names ...string) {
	families, _ := metrics.Registry.Gather() // an error is of other families
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "controller_runtime_") && !strings.HasPrefix(family.GetName(), metrics.WorkQueueSubsystem+"_") {
			continue
		}
		vector := vectorOf(family)
		if vector == nil {
			continue
		}
		for _, name := range names {
			vector.DeletePartialMatch(prometheus.Labels{labelController: name})
		}
	}
}

const labelController = "controller"

// vector is any of the kinds of metrics with labels.
type vector interface {
	DeletePartialMatch(labels prometheus.Labels) int
}

// vectorOf is what a family was gathered from, or nil if that isn't by controller. A registry names it to those who
// want to register another of the same description, of which the kind is no part.
func vectorOf(family *dto.MetricFamily) vector {
	labels := labelsOf(family)
	if !slices.Contains(labels, labelController) {
		return nil
	}
	same := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: family.GetName(), Help: family.GetHelp()}, labels)
	err := metrics.Registry.Register(same)
	if err == nil {
		metrics.Registry.Unregister(same) // the other one was taken out meanwhile
		return nil
	}
	var registered prometheus.AlreadyRegisteredError
	if !errors.As(err, &registered) {
		return nil
	}
	found, _ := registered.ExistingCollector.(vector)
	return found
}

// labelsOf are the names of a family's labels.
func labelsOf(family *dto.MetricFamily) []string {
	if len(family.GetMetric()) == 0 {
		return nil
	}
	var names []string
	for _, label := range family.GetMetric()[0].GetLabel() {
		names = append(names, label.GetName())
	}
	return names
}
