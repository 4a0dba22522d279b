// Package metrics defines the metrics of Grantry. Their labels are closed sets, and never names.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// AuthorizationDecisions counts answers to the API server.
var AuthorizationDecisions = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "grantry_authorization_decisions_total",
	Help: "Answers to the API server's authorization requests, by verdict (allow, deny, no_opinion) and by what was asked about (jobs, jobruns, policy, pods, other).",
}, []string{"verdict", "kind"})

// AuthorizationRefusedRequests counts HTTP requests that got no decision.
var AuthorizationRefusedRequests = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "grantry_authorization_refused_requests_total",
	Help: "HTTP requests to the authorization webhook that were not a SubjectAccessReview, by status code.",
}, []string{"code"})

// AuthorizationPanics counts panics, each of which was answered without allowing.
var AuthorizationPanics = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "grantry_authorization_panics_total",
	Help: "Panics while an authorization request was decided. Nothing is allowed by one.",
})

// AuthorizationSeconds is how long answers take, from the body's first byte to the answer's last.
var AuthorizationSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "grantry_authorization_duration_seconds",
	Help:    "Time to answer an authorization request, reading and writing included.",
	Buckets: prometheus.ExponentialBuckets(10e-6, 2, 18), // 10 µs to 1.3 s
})

// AdmissionDecisions counts answers to admission requests.
var AdmissionDecisions = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "grantry_admission_decisions_total",
	Help: "Answers to admission requests, by resource, operation (CREATE, UPDATE, DELETE) and verdict (allowed, patched, refused, failed).",
}, []string{"resource", "operation", "verdict"})

// AdmissionSeconds is how long answers take, without reading and writing them.
var AdmissionSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "grantry_admission_duration_seconds",
	Help:    "Time to answer an admission request, questions to the API server included.",
	Buckets: prometheus.ExponentialBuckets(10e-6, 2, 18), // 10 µs to 1.3 s
})

func init() { //nolint:gochecknoinits // the registry is the process's
	metrics.Registry.MustRegister(AuthorizationDecisions, AuthorizationRefusedRequests, AuthorizationPanics, AuthorizationSeconds)
	metrics.Registry.MustRegister(AdmissionDecisions, AdmissionSeconds)
}
