package realnode

import (
	"errors"
	"fmt"
	"net"
	"os/exec"

	"github.com/vishvananda/netlink"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
	"github.com/grantry/grantry/hack/devcluster/internal/services"
)

// CreateNetwork makes the bridge that the pods are on, with the addresses of the nodes and of the Service
// "kubernetes".
func CreateNetwork(c *cluster.Cluster) error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: c.ID()}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge %s: %w", c.ID(), err)
	}
	if err := keepHardwareAddress(bridge); err != nil {
		return fmt.Errorf("keep the hardware address of bridge %s: %w", c.ID(), err)
	}
	addresses := []string{c.GatewayAddress() + "/24", c.ServiceAddress() + "/32"}
	for _, n := range c.RealNodeList()[1:] {
		addresses = append(addresses, n.Address()+"/32")
	}
	for _, address := range addresses {
		parsed, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(bridge, parsed); err != nil {
			return fmt.Errorf("add %s to bridge %s: %w", address, c.ID(), err)
		}
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("bring up bridge %s: %w", c.ID(), err)
	}
	return iptables(append([]string{"-A"}, masquerade(c)...)...)
}

// keepHardwareAddress makes a bridge keep the hardware address that it has. By itself it has the lowest one of its ports,
// and so another one when some pod comes or goes: until the other pods ask anew, most of a minute later, what they send
// to the machine is lost.
func keepHardwareAddress(bridge netlink.Link) error {
	link, err := netlink.LinkByName(bridge.Attrs().Name)
	if err != nil {
		return err
	}
	return netlink.LinkSetHardwareAddr(link, link.Attrs().HardwareAddr)
}

// removeNetwork takes away what CreateNetwork made, or what is left of it.
func removeNetwork(c *cluster.Cluster) error {
	var errs []error
	rule := masquerade(c)
	if iptables(append([]string{"-C"}, rule...)...) == nil {
		errs = append(errs, iptables(append([]string{"-D"}, rule...)...))
	}
	bridge, err := netlink.LinkByName(c.ID())
	if err == nil {
		err = netlink.LinkDel(bridge)
	}
	var notFound netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &notFound) {
		errs = append(errs, fmt.Errorf("delete bridge %s: %w", c.ID(), err))
	}
	return errors.Join(errs...)
}

// masquerade gives packets that leave the machine its address. It is one rule of our own: the CNI plugin
// would add a chain for every pod, and leave it behind if the pod's end is not seen.
func masquerade(c *cluster.Cluster) []string {
	return []string{
		"POSTROUTING", "-s", c.PodSubnet(), "!", "-o", c.ID(),
		"-m", "comment", "--comment", c.ID(), "-j", "MASQUERADE",
	}
}

func iptables(arguments ...string) error {
	output, err := exec.Command("iptables", append([]string{"-w", "-t", "nat"}, arguments...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("iptables %v: %w: %s", arguments, err, output)
	}
	return nil
}

// ServeKubernetesService forwards what pods send to the Service "kubernetes" to the API server. It has no endpoints by
// which package services could find it.
func ServeKubernetesService(c *cluster.Cluster) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(c.ServiceAddress(), "443"))
	if err != nil {
		return fmt.Errorf("serve the Service kubernetes: %w", err)
	}
	target := fmt.Sprintf("127.0.0.1:%d", c.Ports.APIServer)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go services.Forward(client.(*net.TCPConn), target)
		}
	}()
	return nil
}
