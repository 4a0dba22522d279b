// Package alerts plays the alerts of config/monitoring with Prometheus' own engine: each fires for the fault that it is
// for, and is silent without. It is a module of its own, because nothing else needs Prometheus.
package alerts
