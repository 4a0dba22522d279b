// Package metrics defines the metrics of Grantry. Their labels are closed sets, and never names of objects
// or of people, so that what they cost does not grow with a cluster.
//
// A metric is one line: counters, histograms and gauges below register themselves with what /metrics
// serves. docs/operations.md describes each; a test compares the two.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// namespace begins every name.
const namespace = "grantry"

var (
	// fast is for what a request waits for: 10 µs to 10.5 s, beyond the time that an API server waits for an answer: 3 s
	// to authorize, 10 s to admit (config/authorization, config/webhook).
	fast = prometheus.ExponentialBuckets(10e-6, 2, 21)
	// wide is for work whose size varies: 10 µs to 168 s.
	wide = prometheus.ExponentialBuckets(10e-6, 4, 13)
)

// counter counts what happens.
func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return register(prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels))
}

// histogram measures times in seconds.
func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return register(prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels))
}

// gauge describes a number that a collector reads when it is asked for.
func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

func register[C prometheus.Collector](c C) C {
	metrics.Registry.MustRegister(c)
	return c
}

// Register adds a collector, which reads its numbers when it is asked for them. A process has one of each
// kind.
func Register(c prometheus.Collector) error { return metrics.Registry.Register(c) }
