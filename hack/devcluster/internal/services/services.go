// Package services makes the cluster addresses of Services work on this machine and in its pods, for TCP. It stands in
// for kube-proxy, which would change the machine's packet filter: each address is put on the cluster's bridge, and what
// connects to it is forwarded to one of the ready pods.
package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/grantry/grantry/hack/devcluster/internal/api"
	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// period is how often Services and endpoints are looked at. kube-proxy takes about as long over a change.
const period = 250 * time.Millisecond

// Serve forwards until the context ends. What can't be done is said on standard error, and tried again.
func Serve(ctx context.Context, c *cluster.Cluster, client *api.Client) {
	p := &proxy{bridge: c.ID(), own: c.ServiceAddress(), open: map[string]*service{}}
	defer p.update(nil)
	said := ""
	for {
		backends, err := read(ctx, client)
		if err == nil {
			err = p.update(backends)
		}
		if err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			fmt.Fprintln(os.Stderr, "services:", said)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(period):
		}
	}
}

// proxy holds a listener for each address that somebody answers at.
type proxy struct {
	bridge string
	own    string // the Service "kubernetes", which is served without the API server's help
	open   map[string]*service
}

type service struct {
	listener net.Listener
	pods     atomic.Pointer[[]string]
}

// update opens, changes and closes listeners. Without a ready pod there is none: a connection is refused.
func (p *proxy) update(backends map[string][]string) error {
	for address, s := range p.open {
		if len(backends[address]) == 0 {
			_ = s.listener.Close()
			delete(p.open, address)
		}
	}
	var errs []error
	for address, pods := range backends {
		host, _, _ := net.SplitHostPort(address) // as it was joined
		if len(pods) == 0 || host == p.own {
			continue
		}
		if p.open[address] == nil {
			opened, err := listen(p.bridge, host, address)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			p.open[address] = opened
		}
		p.open[address].pods.Store(&pods)
	}
	return errors.Join(errs...)
}

// listen takes an address for the machine. It keeps it when the listener is closed: it goes with the bridge.
func listen(bridge, host, address string) (*service, error) {
	link, err := netlink.LinkByName(bridge)
	if err != nil {
		return nil, fmt.Errorf("find bridge %s: %w", bridge, err)
	}
	parsed, err := netlink.ParseAddr(host + "/32")
	if err != nil {
		return nil, err
	}
	if err := netlink.AddrAdd(link, parsed); err != nil && !errors.Is(err, syscall.EEXIST) {
		return nil, fmt.Errorf("add %s to bridge %s: %w", host, bridge, err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &service{listener: listener}
	go s.accept()
	return s, nil
}

func (s *service) accept() {
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		if pods := s.pods.Load(); pods != nil {
			go Forward(client.(*net.TCPConn), (*pods)[rand.IntN(len(*pods))])
			continue
		}
		_ = client.Close()
	}
}

// Forward connects a client with an address, until both have said all, or one has gone.
func Forward(client *net.TCPConn, address string) {
	defer client.Close()
	connection, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return
	}
	server := connection.(*net.TCPConn)
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client) // either side may end the connection as it likes
		_ = server.CloseWrite()
	}()
	_, _ = io.Copy(client, server)
}

// serviceList and sliceList are what is read of Services and of EndpointSlices.
type serviceList struct {
	Items []struct {
		Metadata struct{ Name, Namespace string }
		Spec     struct {
			ClusterIP string
			Ports     []struct {
				Name, Protocol string
				Port           int
			}
		}
	}
}

type sliceList struct {
	Items []struct {
		Metadata struct {
			Namespace string
			Labels    map[string]string
		}
		AddressType string
		Endpoints   []struct {
			Addresses  []string
			Conditions struct{ Ready *bool }
		}
		Ports []struct {
			Name string
			Port int
		}
	}
}

// read asks the API server for the addresses of Services, and of the pods that are ready behind each.
func read(ctx context.Context, client *api.Client) (map[string][]string, error) {
	var services serviceList
	var slices sliceList
	if err := client.Get(ctx, "/api/v1/services?resourceVersion=0", &services); err != nil {
		return nil, err
	}
	if err := client.Get(ctx, "/apis/discovery.k8s.io/v1/endpointslices?resourceVersion=0", &slices); err != nil {
		return nil, err
	}
	return backendsOf(services, slices), nil
}

func backendsOf(services serviceList, endpoints sliceList) map[string][]string {
	type port struct{ namespace, service, name string }
	pods := map[port][]string{}
	for _, slice := range endpoints.Items {
		if slice.AddressType != "IPv4" {
			continue
		}
		for _, p := range slice.Ports {
			key := port{slice.Metadata.Namespace, slice.Metadata.Labels["kubernetes.io/service-name"], p.Name}
			for _, endpoint := range slice.Endpoints {
				if ready := endpoint.Conditions.Ready; (ready == nil || *ready) && len(endpoint.Addresses) > 0 {
					pods[key] = append(pods[key], net.JoinHostPort(endpoint.Addresses[0], strconv.Itoa(p.Port)))
				}
			}
		}
	}
	backends := map[string][]string{}
	for _, service := range services.Items {
		if net.ParseIP(service.Spec.ClusterIP).To4() == nil {
			continue // headless, or of the other family
		}
		for _, p := range service.Spec.Ports {
			if p.Protocol != "" && p.Protocol != "TCP" {
				continue
			}
			found := pods[port{service.Metadata.Namespace, service.Metadata.Name, p.Name}]
			slices.Sort(found)
			backends[net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(p.Port))] = found
		}
	}
	return backends
}
