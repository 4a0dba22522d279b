// Package api asks a cluster's API server, as admin. A client library would multiply the time that `go run`
// takes.
package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// Client asks one cluster's API server.
type Client struct {
	server string
	client *http.Client
}

// New is a client with the admin's certificate.
func New(c *cluster.Cluster) (*Client, error) {
	authority, err := os.ReadFile(c.PKI("ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	certificate, err := tls.LoadX509KeyPair(c.PKI("admin.crt"), c.PKI("admin.key"))
	if err != nil {
		return nil, err
	}
	return &Client{
		server: c.Server(),
		client: &http.Client{
			Timeout: 10 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{
				RootCAs:      roots,
				Certificates: []tls.Certificate{certificate},
			}},
		},
	}, nil
}

// Get reads the object at path into out, unless out is nil.
func (c *Client) Get(ctx context.Context, path string, out any) error {
	data, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(data, out)
}

// Text reads what is at a path that holds no object, such as /metrics.
func (c *Client) Text(ctx context.Context, path string) (string, error) {
	data, err := c.do(ctx, http.MethodGet, path, nil)
	return string(data), err
}

// Create posts an object to a collection's path.
func (c *Client) Create(ctx context.Context, path string, object any) error {
	_, err := c.do(ctx, http.MethodPost, path, object)
	return err
}

func (c *Client) do(ctx context.Context, method, path string, in any) ([]byte, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.server+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %.500s", method, path, response.Status, data)
	}
	return data, nil
}

// NodesReady says whether this many nodes take pods.
func (c *Client) NodesReady(ctx context.Context, count int) error {
	var nodes struct {
		Items []struct {
			Metadata struct{ Name string }
			Spec     struct{ Taints []struct{ Key string } }
			Status   struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
	}
	if err := c.Get(ctx, "/api/v1/nodes", &nodes); err != nil {
		return err
	}
	ready := 0
	for _, node := range nodes.Items {
		for _, condition := range node.Status.Conditions {
			// A new node has a taint until the controller manager has seen that it is ready.
			if condition.Type == "Ready" && condition.Status == "True" && len(node.Spec.Taints) == 0 {
				ready++
			}
		}
	}
	if ready < count {
		return fmt.Errorf("%d of %d nodes are ready", ready, count)
	}
	return nil
}
