package metrics

// The authorization webhook. The labels of decisions are the names of the authorizer's verdicts and kinds,
// and of the families of permission strings: jobs, app_id, adminrouter, role, superuser; none if none was
// asked.
var (
	// AuthorizationDecisions counts answers to the API server.
	AuthorizationDecisions = counter("authorization_decisions_total",
		"Answers to the API server's authorization requests, by verdict, by what was asked about, and by the family of the permission string that decided.",
		"verdict", "kind", "family")
	// AuthorizationSeconds is how long answers take, from the body's first byte to the answer's last.
	AuthorizationSeconds = histogram("authorization_duration_seconds",
		"Time to answer an authorization request, reading, look-ups and writing included.", fast, "verdict")
	// AuthorizationRefusedRequests counts HTTP requests that got no decision, and, by 413 and 503, those that were refused
	// unread, which AuthorizationDecisions counts, too.
	AuthorizationRefusedRequests = counter("authorization_refused_requests_total",
		"HTTP requests to the authorization webhook that were not a SubjectAccessReview, or took too much to be read (413, 503), by status code.", "code")
	// AuthorizationPanics counts panics, each of which was answered without allowing.
	AuthorizationPanics = counter("authorization_panics_total",
		"Panics while an authorization request was decided. Nothing is allowed by one.").WithLabelValues()
)

// LiveReadSeconds is how long it takes to read from the API server what a cache doesn't hold, while a
// request waits. Objects are jobrun, job (of batch/v1) and pod; results are found, not_found and error.
var LiveReadSeconds = histogram("joblookup_live_read_duration_seconds",
	"Time to read an object from the API server that the cache does not hold, while an authorization request waits.", fast, "object", "result")

// LaunchChecks counts launches and resumptions that were checked against the API server, by the reason
// of the Authorized condition, or Error if the API server could not be asked.
var LaunchChecks = counter("launch_checks_total",
	"Launches and resumptions for which the deciding objects were read live, by the reason of the verdict.", "reason")

// DecisionLogLines counts lines of the decision log: written; dropped, because the reader of the log is
// too slow; failed, because it could not be written.
var DecisionLogLines = counter("decision_log_lines_total", "Lines of the decision log, by what became of them.", "result")
