package metrics

import "github.com/prometheus/client_golang/prometheus/collectors/version"

// RegisterBuild adds grantry_build_info, which is 1 and whose labels say what this replica was built from, as
// prometheus/common/version knows it.
func RegisterBuild() error { return Register(version.NewCollector(namespace)) }
