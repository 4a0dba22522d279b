//go:build e2e

// Package chaos breaks a whole cluster in one way after the other, while runs are launched and people ask, and checks
// afterwards that no run was lost, launched twice or launched without permission, and that nobody was allowed what they
// may not. See docs/chaos.md.
package chaos

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/internal/freshness"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

// collector is the identity of the garbage collector.
const collector = "system:serviceaccount:kube-system:generic-garbage-collector"

const (
	// replicas is how many operators there are.
	replicas = 3
	// waitFor bounds what must come about while nothing is broken. A machine may stand still for a part of it.
	waitFor = 2 * time.Minute
	// clientTimeout is how long a request may take; the API server gives up on a webhook earlier.
	clientTimeout = 15 * time.Second
)

// site is a cluster with three operators behind balancers, and a line in each way that can be cut:
//
//	users ─► API server ─► authorize ─► balancer ─► each replica ─► toServer of the replica ─► API server
//	                  └──► admit ─────► balancer ──┘
type site struct {
	*harness.Cluster
	program   string
	audit     string // the API server's log of what was created and deleted
	disk      *disk  // etcd's own; nil unless a fault needs one
	clock     *clock // the operators' own; nil unless a fault needs one
	admin     client.Client
	collector client.Client
	mapper    meta.RESTMapper
	users     map[string]client.Client
	replicas  []*replica
	authorize *harness.Line
	admit     *harness.Line
	record    *recorder
}

// newSite starts everything, and makes what the faults need.
func newSite(t *testing.T, chosen []fault) *site {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // what fails is said by the tests
	s := &site{audit: filepath.Join(t.TempDir(), "audit.log"), users: map[string]client.Client{}, record: newRecorder()}
	args := []string{
		"--restart", "--kwok-complete=immediately",
		"--apiserver-arg=--audit-policy-file=" + auditPolicy(t), "--apiserver-arg=--audit-log-path=" + s.audit,
	}
	if slices.ContainsFunc(chosen, func(f fault) bool { return f.disk }) {
		s.disk = newDisk(t)
		args = append(args, "--etcd-arg=--data-dir="+s.disk.directory)
	}
	s.Cluster = harness.Start(t, harness.Options{Name: fmt.Sprintf("chaos-%d", os.Getpid()), Nodes: "kwok", Mode: "strict", UpArgs: args, MemoryLimit: harness.CrowdedLimit})
	s.TellLog(t, 16<<10)
	var err error
	if s.program, err = s.BuildOperator(t.Context()); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(chosen, func(f fault) bool { return f.clock }) {
		s.clock = newClock(t)
	}
	s.admin = s.client(t, "admin")
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		s.users[user] = s.client(t, user)
	}
	// Nobody asks an admission webhook about what the garbage collector deletes, so that its deletions need no replica.
	if _, err := s.MintKubeconfig(t.Context(), collector, "system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"); err != nil {
		t.Fatal(err)
	}
	s.collector = s.client(t, collector)
	s.operate(t)
	return s
}

// client is a user's. All share one knowledge of the kinds, so that nobody has to ask for them while things are broken.
func (s *site) client(t *testing.T, user string) client.Client {
	t.Helper()
	config, err := s.Config(user)
	if err != nil {
		t.Fatal(err)
	}
	config.Timeout = clientTimeout
	c, err := client.New(config, client.Options{Scheme: grantrytesting.Scheme, Mapper: s.mapper})
	if err != nil {
		t.Fatal(err)
	}
	s.mapper = c.RESTMapper()
	return c
}

// operate starts the replicas and what is between them and the API server, and waits until all are ready.
func (s *site) operate(t *testing.T) {
	t.Helper()
	admission := grantrytesting.FreeAddress(t)
	_, port, err := net.SplitHostPort(admission)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AdmissionAt(t.Context(), number); err != nil {
		t.Fatal(err)
	}
	var authorizers, admitters []*harness.Backend
	for range replicas {
		r := s.newReplica(t)
		s.replicas = append(s.replicas, r)
		authorizers = append(authorizers, &harness.Backend{Address: r.authorize, IsReady: r.isReady})
		admitters = append(admitters, &harness.Backend{Address: r.admit, IsReady: r.isReady})
	}
	s.authorize = s.way(t, s.Webhook.Address, authorizers)
	s.admit = s.way(t, admission, admitters)
	s.eventually(t, waitFor, "every replica is ready", func() bool { return s.allReady() && s.leader() != nil })
}

// way is a line from an address to a balancer.
func (s *site) way(t *testing.T, address string, backends []*harness.Backend) *harness.Line {
	t.Helper()
	balancer, err := harness.Balance("127.0.0.1:0", backends...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(balancer.Close)
	line, err := harness.OpenLine(address, balancer.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	return line
}

// arguments are a replica's.
func (s *site) arguments(r *replica) []string {
	webhook := s.Webhook
	webhook.Address = r.authorize
	return append(
		webhook.Args(),
		"--mode=strict", "--leader-elect=true", "--leader-election-namespace=grantry-system",
		"--max-view-age="+freshness.MinLimit.String(),
		"--admission-bind-address="+r.admit, "--admission-dns-names=localhost",
	)
}

// kubeconfig is the operator's, by way of an address.
func (s *site) kubeconfig(t *testing.T, through string, to string) string {
	t.Helper()
	file, err := s.OperatorKubeconfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.ReplaceAll(string(content), to, through)
	if !strings.Contains(changed, through) {
		t.Fatalf("%s does not name %s", file, to)
	}
	own := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(own, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return own
}

// server is the API server's address.
func (s *site) server(t *testing.T) string {
	t.Helper()
	config, err := s.Config("admin")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(config.Host, "https://")
}

func (s *site) allReady() bool {
	for _, r := range s.replicas {
		if !r.isReady() {
			return false
		}
	}
	return true
}

// leader is the replica that leads, or nil if none says so.
func (s *site) leader() *replica {
	for _, r := range s.replicas {
		if r.leads() {
			return r
		}
	}
	return nil
}

// aLeader is a replica that leads, once there is one.
func (s *site) aLeader(t *testing.T) (leader *replica) {
	t.Helper()
	s.eventually(t, waitFor, "somebody leads", func() bool {
		leader = s.leader()
		return leader != nil
	})
	return leader
}

// insist does something until it succeeds.
func (s *site) insist(t *testing.T, what string, do func(context.Context) error) {
	t.Helper()
	if err := persist(t.Context(), do); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// persist does something until it succeeds, or returns why it did not the last time.
func persist(ctx context.Context, do func(context.Context) error) (err error) {
	for deadline := time.Now().Add(2 * waitFor); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = do(ctx); err == nil {
			return nil
		}
	}
	return err
}

func (s *site) eventually(t *testing.T, within time.Duration, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !met(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", within, what)
		}
	}
}
