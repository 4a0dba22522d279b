package cluster

import (
	"net/netip"
	"testing"
)

// TestRealNodeList: whatever the number of nodes, what each has is its own, and within the cluster's subnet.
func TestRealNodeList(t *testing.T) {
	for count := range MostRealNodes + 1 {
		c := &Cluster{Settings: Settings{Name: "test", RealNodes: count}, Dir: "/state/test", Subnet: 160}
		nodes := c.RealNodeList()
		if len(nodes) != max(count, 1) {
			t.Fatalf("%d nodes of %d", len(nodes), count)
		}
		subnet := netip.MustParsePrefix(c.PodSubnet())
		after := netip.MustParseAddr(c.GatewayAddress())
		own := map[string]bool{}
		for _, n := range nodes {
			for _, name := range []string{n.NodeName(), n.Path("kubelet"), n.CgroupName(), n.ContainerdSocket(), n.Address()} {
				if own[name] {
					t.Errorf("%d nodes: two have %s", count, name)
				}
				own[name] = true
			}
			from, to := n.PodRange()
			first, last := netip.MustParseAddr(from), netip.MustParseAddr(to)
			if !after.Less(first) || !first.Less(last) || !subnet.Contains(last) || last.As4()[3] == 255 {
				t.Errorf("%d nodes: %s has pods from %s to %s, and before it is %s", count, n.NodeName(), first, last, after)
			}
			if addresses := int(last.As4()[3]-first.As4()[3]) + 1; n.MaxPods() > addresses {
				t.Errorf("%d nodes: %d pods have %d addresses", count, n.MaxPods(), addresses)
			}
			if address := netip.MustParseAddr(n.Address()); !address.Less(netip.MustParseAddr("10.160.0.16")) {
				t.Errorf("%d nodes: %s may be a pod's", count, address)
			}
			after = last
		}
	}
}
