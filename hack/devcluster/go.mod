// Module devcluster starts a real Kubernetes on one machine. It is nested so that the operator's own
// module needs none of its dependencies; the modules below it pin what it builds.
module github.com/grantry/grantry/hack/devcluster

go 1.26.0

require (
	github.com/spf13/cobra v1.10.2
	github.com/vishvananda/netlink v1.3.1
	golang.org/x/sys v0.47.0
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	github.com/vishvananda/netns v0.0.5 // indirect
)
