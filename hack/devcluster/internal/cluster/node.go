package cluster

import (
	"fmt"
	"path/filepath"

	"github.com/grantry/grantry/hack/devcluster/internal/pki"
)

// MostRealNodes is how many real nodes a cluster can have: they share a subnet, and a machine.
const MostRealNodes = 4

// Pods get addresses of the subnet from here on; those before are the nodes'.
const (
	firstPodAddress = 16
	podAddresses    = 255 - firstPodAddress
	mostPods        = 200 // on a node
)

// Node is one of the cluster's real nodes. All of them run in the same namespaces and are on the same bridge; each has
// a kubelet, a containerd, addresses and directories of its own.
type Node struct {
	*Cluster
	index int
}

// RealNodeList are the cluster's real nodes, at least one.
func (c *Cluster) RealNodeList() []Node {
	nodes := make([]Node, max(c.RealNodes, 1))
	for i := range nodes {
		nodes[i] = Node{c, i}
	}
	return nodes
}

// Suffix tells the nodes of a cluster apart; the first has none.
func (n Node) Suffix() string {
	if n.index == 0 {
		return ""
	}
	return fmt.Sprint(n.index + 1)
}

// Path is a file in the node's directory.
func (n Node) Path(elements ...string) string {
	return n.Cluster.Path(append([]string{"node" + n.Suffix()}, elements...)...)
}

// NodeName is the name of the Node, and of its host.
func (n Node) NodeName() string { return n.Name + "-node" + n.Suffix() }

// Address is the node's own. That of the first one is the pods' gateway, whichever node they are on.
func (n Node) Address() string { return fmt.Sprintf("10.%d.0.%d", n.Subnet, 1+n.index) }

// PodRange is the first and the last address that the node gives to pods.
func (n Node) PodRange() (first, last string) {
	each := podAddresses / max(n.RealNodes, 1)
	from := firstPodAddress + n.index*each
	return fmt.Sprintf("10.%d.0.%d", n.Subnet, from), fmt.Sprintf("10.%d.0.%d", n.Subnet, from+each-1)
}

// MaxPods is how many pods the node takes.
func (n Node) MaxPods() int { return min(mostPods, podAddresses/max(n.RealNodes, 1)) }

// CgroupName is the node's cgroup, from the root of each hierarchy.
func (n Node) CgroupName() string { return filepath.Join(n.ID(), "node"+n.Suffix()) }

// RuntimeDir holds the sockets of the node's containerd, whose paths must be shorter than the cluster's directory may be.
func (n Node) RuntimeDir() string { return filepath.Join(n.Cluster.RuntimeDir(), "n"+n.Suffix()) }

// ContainerdSocket is where the node's containerd listens.
func (n Node) ContainerdSocket() string { return filepath.Join(n.RuntimeDir(), "containerd.sock") }

// subject is the identity of the node's kubelet.
func (n Node) subject() pki.Subject {
	return pki.Subject{Name: "system:node:" + n.NodeName(), Groups: []string{"system:nodes"}}
}
