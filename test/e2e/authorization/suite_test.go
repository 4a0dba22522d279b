//go:build e2e

// Package authorization tests, with the operator as a process and the configurations that are shipped, what
// users meet when the authorization webhook fails, and how long a revoked permission goes on to work.
package authorization

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/grantry/grantry/test/harness"
)

const (
	waitFor = time.Minute
	policy  = `
apiVersion: v1
kind: Namespace
metadata: {name: metronome}
---
apiVersion: grantry.dev/v1alpha1
kind: ACL
metadata: {name: dev-batch}
spec: {resource: "dcos:service:metronome:metronome:jobs:dev.batch"}
---
apiVersion: grantry.dev/v1alpha1
kind: ACL
metadata: {name: superuser}
spec: {resource: "dcos:superuser"}
---
apiVersion: grantry.dev/v1alpha1
kind: Grant
metadata: {name: alice-batch}
spec: {acl: dev-batch, subjects: [{kind: User, name: alice}], actions: [full]}
---
apiVersion: grantry.dev/v1alpha1
kind: Grant
metadata: {name: dave-superuser}
spec: {acl: superuser, subjects: [{kind: User, name: dave}], actions: [full]}
---
apiVersion: grantry.dev/v1alpha1
kind: Job
metadata: {name: dev.batch.job1, namespace: metronome}
spec: {owner: {kind: User, name: dave}, startPolicy: OnCreate, run: {cmd: "while sleep 0.2; do date; done", cpus: 0.01, mem: 32}}
`
)

// world is a cluster with a policy, one run of a Job, and an operator that can be replaced.
type world struct {
	*harness.Cluster
	binary   string
	operator *harness.Operator
	clients  map[string]*http.Client
	server   string
}

// start brings everything up in a security mode. carol is a cluster-admin by RBAC, and Grantry gives her nothing.
func start(t *testing.T, nodes, mode string, upArgs ...string) *world {
	t.Helper()
	cluster := harness.Start(t, harness.Options{
		Name: fmt.Sprintf("e2e-auth-%d", os.Getpid()), Nodes: nodes, Mode: mode, UpArgs: upArgs,
	})
	w := &world{Cluster: cluster, clients: map[string]*http.Client{}}
	cluster.TellLog(t, 8<<10)
	for _, user := range []string{"admin", "alice", "bob", "carol", "dave"} {
		config, err := cluster.Config(user)
		if err != nil {
			t.Fatal(err)
		}
		if w.clients[user], err = rest.HTTPClientFor(config); err != nil {
			t.Fatal(err)
		}
		w.server = config.Host
	}
	binary, err := cluster.BuildOperator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.binary = binary
	w.kubectl(t, "", "create", "clusterrolebinding", "carol", "--clusterrole=cluster-admin", "--user=carol")
	w.kubectl(t, policy, "apply", "-f", "-")
	w.serve(t, mode, w.Webhook)
	w.eventually(t, "alice may get her Job", func() bool { return w.ask("alice", "GET", jobPath).code == http.StatusOK })
	return w
}

// serve replaces the operator by one of this mode that serves the webhook so, and waits until it is ready.
func (w *world) serve(t *testing.T, mode string, webhook harness.Webhook) {
	t.Helper()
	w.stop()
	w.launch(t, mode, webhook)
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	if err := w.operator.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

func (w *world) launch(t *testing.T, mode string, webhook harness.Webhook) {
	t.Helper()
	var err error
	if w.operator, err = w.StartOperator(t.Context(), w.binary, append([]string{"--mode", mode}, webhook.Args()...)...); err != nil {
		t.Fatal(err)
	}
}

// stop ends the operator as a crash would.
func (w *world) stop() {
	if w.operator != nil {
		w.operator.Kill()
		w.operator = nil
	}
}

func (w *world) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := w.KubectlStdin(t.Context(), "admin", stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// answer is what the API server said to a request.
type answer struct {
	code    int
	message string
	took    time.Duration
}

// ask makes a request as a user, on a connection of that user's own.
func (w *world) ask(user, method, path string) answer {
	begun := time.Now()
	request, err := http.NewRequest(method, w.server+path, nil)
	if err != nil {
		return answer{message: err.Error()}
	}
	response, err := w.clients[user].Do(request)
	if err != nil {
		return answer{message: err.Error(), took: time.Since(begun)}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{message: err.Error(), took: time.Since(begun)}
	}
	a := answer{code: response.StatusCode, took: time.Since(begun)}
	var status struct{ Message string }
	if json.Unmarshal(body, &status) == nil {
		a.message = status.Message // objects and lists have none
	} else {
		a.message = strings.TrimSpace(string(body)) // an internal error is not JSON
	}
	return a
}

func (w *world) eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitFor); !met(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", waitFor, what)
		}
	}
}
