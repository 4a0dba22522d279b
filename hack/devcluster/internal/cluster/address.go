package cluster

import (
	"errors"
	"fmt"
	"net"
)

// Ports are on loopback.
type Ports struct {
	APIServer  int `json:"apiserver"`
	EtcdClient int `json:"etcdClient"`
	EtcdPeer   int `json:"etcdPeer"`
	Kubelet    int `json:"kubelet"`
	// Webhook is where the API server expects the authorization webhook.
	Webhook int `json:"webhook"`
}

// FreePorts picks ports that nothing listens on. All are held until the last is found, so they differ.
func FreePorts() (Ports, error) {
	var ports Ports
	for _, port := range []*int{&ports.APIServer, &ports.EtcdClient, &ports.EtcdPeer, &ports.Kubelet, &ports.Webhook} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return Ports{}, fmt.Errorf("find a free port: %w", err)
		}
		defer listener.Close()
		*port = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// Subnets start here: 10.0, 10.96 and 10.244 are what others use.
const firstSubnet, lastSubnet = 160, 239

// FreeSubnet picks the first 10.N.0.0/16 in which neither this machine nor another cluster has an address.
func FreeSubnet(addresses []net.Addr, others []*Cluster) (int, error) {
	taken := map[int]bool{}
	for _, address := range addresses {
		ip, network, err := net.ParseCIDR(address.String())
		if err != nil || ip.To4() == nil {
			continue
		}
		for subnet := firstSubnet; subnet <= lastSubnet; subnet++ {
			ours := &net.IPNet{IP: net.IPv4(10, byte(subnet), 0, 0).To4(), Mask: net.CIDRMask(16, 32)}
			if ours.Contains(ip) || network.Contains(ours.IP) {
				taken[subnet] = true
			}
		}
	}
	for _, other := range others {
		taken[other.Subnet] = true
	}
	for subnet := firstSubnet; subnet <= lastSubnet; subnet++ {
		if !taken[subnet] {
			return subnet, nil
		}
	}
	return 0, errors.New("every subnet from 10.160.0.0/16 to 10.239.0.0/16 is in use")
}
