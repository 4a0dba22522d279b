// Package drill wakes an operator at night: the chart in a real cluster, a Prometheus with the shipped alerts, and one
// fault after the other. Each must make its alert fire; the commands of that alert's part of the runbook must show what
// they do not show without the fault; and what the part says to do must end the alert. See docs/operations/drill.md.
package drill

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

const (
	space    = "grantry-system"
	instance = "night"
	// patience is for what a machine that stands still for a while comes to in the end.
	patience = 5 * time.Minute
	// broken is the tag of the image of an operator that panics.
	broken = "panics"
)

// site is a cluster with Grantry in it and a Prometheus that looks at it. alice owns the Jobs below dev; bob and dave may
// do nothing; carol is a cluster-admin by RBAC.
type site struct {
	*harness.Cluster
	*prometheus
	root    string
	bin     string // kubectl and helm, for the commands of the runbook
	address string // of the Service of the authorization webhook
	users   map[string]client.Client
}

// up starts everything, with nothing wrong.
func up(t *testing.T) *site {
	t.Helper()
	ctrl.SetLogger(logr.Discard()) // what fails is said by the test
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	s := &site{root: root, bin: t.TempDir(), users: map[string]client.Client{}}
	program := buildPrometheus(t, root)
	s.Cluster = harness.Start(t, harness.Options{Name: fmt.Sprintf("drill-%d", os.Getpid()), Nodes: "real", Bare: true})
	s.RequireRealNode(t)
	if err := os.Symlink(s.KubectlPath, filepath.Join(s.bin, "kubectl")); err != nil {
		t.Fatal(err)
	}
	helm := fmt.Sprintf("#!/bin/sh\ncd '%s' && exec go tool -modfile=hack/tools/helm/go.mod helm \"$@\"\n", root)
	if err := os.WriteFile(filepath.Join(s.bin, "helm"), []byte(helm), 0o755); err != nil {
		t.Fatal(err)
	}
	s.kubectl(t, "create", "clusterrolebinding", "carol", "--clusterrole=cluster-admin", "--user=carol")
	s.install(t)
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		s.users[user] = s.client(t, user)
	}
	s.policy(t)
	s.strange(t)
	s.prometheus = s.watch(t, program)
	return s
}

// install installs the chart, and has the API server ask it.
func (s *site) install(t *testing.T) {
	t.Helper()
	s.image(t, s.root, "drill")
	s.kubectl(t, "apply", "-f", "config/manager/namespace.yaml")
	secret := []string{"create", "secret", "generic", "grantry-authorization", "--namespace", space}
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		secret = append(secret, "--from-file="+filepath.Join(s.Webhook.CertDir, name))
	}
	s.kubectl(t, secret...)
	s.address = s.ServiceAddress[:strings.LastIndex(s.ServiceAddress, ".")] + ".200:443" // nobody gets it by itself
	host, _, _ := strings.Cut(s.address, ":")
	if _, err := s.Helm(t.Context(), "admin", "install", "grantry", harness.ChartPath, "--namespace", space, "--wait", "--timeout=5m",
		"--set", "replicas=2,image.tag=drill,authorization.enabled=true,authorization.clusterIP="+host+",extraArgs={--decision-log=denied}"); err != nil {
		t.Fatal(err)
	}
	if err := s.SetModeAt(t.Context(), "permissive", s.address); err != nil {
		t.Fatal(err)
	}
}

// image builds the image of a tree and loads it into the node.
func (s *site) image(t *testing.T, tree, tag string) {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "image.tar")
	build := exec.CommandContext(t.Context(), "go", "run", "-C", filepath.Join(s.root, "hack", "image"), ".", "--source", tree, "--tag", "grantry/grantry:"+tag, "--output", archive)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the image %s: %v: %s", tag, err, out)
	}
	if err := s.LoadImage(t.Context(), archive); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(archive) // the node has it
}

// policy is what the faults need. The pods of alice's Job fit no node: there may be many runs of it.
func (s *site) policy(t *testing.T) {
	t.Helper()
	s.kubectl(t, "create", "namespace", instance)
	s.kubectl(t, "create", "namespace", "monitoring")
	s.kubectl(t, "create", "serviceaccount", "prometheus", "-n", "monitoring")
	s.kubectl(t, "create", "clusterrolebinding", "prometheus", "--clusterrole=grantry-metrics-reader", "--serviceaccount=monitoring:prometheus")
	s.apply(t, `
apiVersion: grantry.dev/v1alpha1
kind: ACL
metadata: {name: dev}
spec: {resource: "dcos:service:metronome:night:jobs:dev"}
---
apiVersion: grantry.dev/v1alpha1
kind: Grant
metadata: {name: dev}
spec: {acl: dev, subjects: [{kind: User, name: alice}], actions: [full]}
---
apiVersion: grantry.dev/v1alpha1
kind: Job
metadata: {name: dev.nothing, namespace: night}
spec:
  owner: {kind: User, name: alice}
  startPolicy: OnDemand
  template:
    spec:
      template:
        spec:
          restartPolicy: Never
          nodeSelector: {nowhere: "true"}
          containers: [{name: main, image: grantry.dev/busybox:dev, command: ["true"]}]
`)
}

// strange sends the authorization webhook something that is no question, as one panel of the dashboard shows.
func (s *site) strange(t *testing.T) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(s.Webhook.CertDir), "apiserver")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	own := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true}}}
	response, err := own.Post("https://"+s.address+"/authorize", "application/json", strings.NewReader("what?"))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode == http.StatusOK {
		t.Error("what is no question was answered")
	}
}

func (s *site) client(t *testing.T, user string) client.Client {
	t.Helper()
	config, err := s.Config(user)
	if err != nil {
		t.Fatal(err)
	}
	config.Timeout = 10 * time.Second
	c, err := client.New(config, client.Options{Scheme: grantrytesting.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *site) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.KubectlPatiently(t.Context(), patience, "admin", "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *site) apply(t *testing.T, manifest string) {
	t.Helper()
	if out, err := s.KubectlPatiently(t.Context(), patience, "admin", manifest, "apply", "-f", "-"); err != nil {
		t.Fatal(out)
	}
}

// settle waits until every replica that the Deployment wants is available, and no other is there.
func (s *site) settle(t *testing.T) {
	t.Helper()
	s.kubectl(t, "rollout", "status", "deploy/grantry", "-n", space, "--timeout=4m")
	eventually(t, "the replicas of before are gone", func() error { // one of them would be taken for a replica
		if going := s.kubectl(t, "get", "pods", "-n", space, "-o", "jsonpath={.items[*].metadata.deletionTimestamp}"); strings.TrimSpace(going) != "" {
			return fmt.Errorf("told to end at %s", going)
		}
		return nil
	})
}

// pod is the name of the replica with an address, or else of the first.
func (s *site) pod(t *testing.T, address string) string {
	t.Helper()
	return named(s.replicas(t), address)
}

// named is the name of the replica with an address, or else the first, if there is any.
func named(replicas map[string]string, address string) string {
	first := ""
	for name, ip := range replicas {
		if ip == address {
			return name
		}
		if first == "" || name < first {
			first = name
		}
	}
	return first
}

// getReplicas has kubectl print names and addresses of the operator's pods.
var getReplicas = []string{"get", "pods", "-n", space, "-l", "app.kubernetes.io/name=grantry", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{"\n"}{end}`}

// replicas are the addresses of the operator's pods, by their names.
func (s *site) replicas(t *testing.T) map[string]string {
	t.Helper()
	return parseReplicas(s.kubectl(t, getReplicas...))
}

func parseReplicas(printed string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(printed) {
		if name, ip, _ := strings.Cut(strings.TrimSpace(line), " "); name != "" {
			found[name] = ip
		}
	}
	return found
}

// replicasNow are the replicas, or those of before where the API server does not say.
func (s *site) replicasNow(t *testing.T, before map[string]string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	out, err := s.Kubectl(ctx, "admin", append(getReplicas, "--request-timeout=10s")...)
	if err != nil {
		return before
	}
	return parseReplicas(out)
}

// repeat does something again and again, so often a second at most, until the function that it returns is called.
func repeat(t *testing.T, rate int, do func(context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for ctx.Err() == nil {
			do(ctx)
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	return func() { cancel(); <-done }
}
