package metrics

// The admission webhooks. Resources are those of Grantry and operations those of the API, as the
// configuration of the webhooks limits them.
var (
	// AdmissionDecisions counts answers to admission requests.
	AdmissionDecisions = counter("admission_decisions_total",
		"Answers to admission requests, by resource, operation (CREATE, UPDATE, DELETE) and verdict (allowed, patched, refused, failed).",
		"resource", "operation", "verdict")
	// AdmissionPanics counts panics, each of which was answered by a refusal.
	AdmissionPanics = counter("admission_panics_total",
		"Panics while an admission request was decided. Nothing is let in by one.").WithLabelValues()
	// AdmissionSeconds is how long answers take, without reading and writing them.
	AdmissionSeconds = histogram("admission_duration_seconds",
		"Time to answer an admission request, questions to the API server included.", fast).WithLabelValues()
)
