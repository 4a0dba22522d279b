package metrics

// ConnectionsDropped counts connections that were closed to make room for others: of strangers, who had asked nothing
// yet, or of callers that are known.
var ConnectionsDropped = counter("webhook_connections_dropped_total",
	"Connections to a webhook that were closed because there were too many, by webhook and by whose they were: stranger or known.", "webhook", "caller")
