//go:build e2e

package authorization

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

const (
	grantryAPI = "/apis/grantry.dev/v1alpha1"
	jobPath    = grantryAPI + "/namespaces/metronome/jobs/dev.batch.job1"
	otherPath  = grantryAPI + "/namespaces/metronome/jobs/dev.other"
	corePath   = "/api/v1/namespaces/"
)

// request is something that a person wants, and a row of the tables in docs/operations/outages.md.
type request struct {
	what, user, method, path string
}

// requests are asked in each state of the webhook. A pod of nobody's run is in metronome, too.
func (w *world) requests(t *testing.T) []request {
	t.Helper()
	w.kubectl(t, `{apiVersion: v1, kind: Pod, metadata: {name: stranger, namespace: metronome}, spec: {containers: [{name: c, image: "busybox:1"}]}}`, "apply", "-f", "-")
	pod := ""
	w.eventually(t, "the run has a pod", func() bool {
		pod = w.kubectl(t, "", "get", "pods", "-n", "metronome", "-l", "in.grantry.dev/dev", "-o", "jsonpath={.items[*].metadata.name}")
		return pod != ""
	})
	return []request{
		{"alice gets the Job that she is granted", "alice", "GET", jobPath},
		{"alice gets another Job", "alice", "GET", otherPath},
		{"a superuser of Grantry gets a Job", "dave", "GET", jobPath},
		{"a superuser of Grantry gets a run's pod", "dave", "GET", corePath + "metronome/pods/" + pod},
		{"a cluster-admin gets a Job", "carol", "GET", jobPath},
		{"a cluster-admin gets a Grant", "carol", "GET", grantryAPI + "/grants/alice-batch"},
		{"a cluster-admin gets a run's pod", "carol", "GET", corePath + "metronome/pods/" + pod},
		{"a cluster-admin gets another pod", "carol", "GET", corePath + "metronome/pods/stranger"},
		{"a cluster-admin lists pods where Jobs are", "carol", "GET", corePath + "metronome/pods"},
		{"a cluster-admin lists pods elsewhere", "carol", "GET", corePath + "default/pods"},
		{"a cluster-admin lists all pods", "carol", "GET", "/api/v1/pods"},
		{"a cluster-admin lists pods of kube-system", "carol", "GET", corePath + "kube-system/pods"},
		{"a cluster-admin lists pods of Grantry", "carol", "GET", corePath + "grantry-system/pods"},
		{"a cluster-admin deletes a pod", "carol", "DELETE", corePath + "metronome/pods/stranger?dryRun=All"},
		{"a cluster-admin lists secrets", "carol", "GET", corePath + "metronome/secrets"},
		{"a cluster-admin lists nodes", "carol", "GET", "/api/v1/nodes"},
		{"system:masters gets a Job", "admin", "GET", jobPath},
		{"system:masters gets a run's pod", "admin", "GET", corePath + "metronome/pods/" + pod},
	}
}

// failure breaks the webhook. The returned function ends it.
type failure struct {
	name  string
	begin func(t *testing.T, w *world, mode string) (end func())
	// says matches the words of the API server for a request that it can't judge.
	says string
	// slowest is how long an answer may take: 0 if it takes no time that counts.
	slowest time.Duration
}

func failures() []failure {
	return []failure{
		{name: "down", says: "connection refused", begin: func(*testing.T, *world, string) func() { return func() {} }},
		{name: "slow", says: "exceeded", begin: slow, slowest: 3 * time.Second},
		{name: "expired certificate", says: "certificate has expired", begin: expired},
		// With TLS 1.3 the refusal may come after the request was sent, and the caller may see any step of the end of
		// its connection before it sees the reason; a connection that is reset is tried again.
		{name: "caller not trusted", says: "tls: |broken pipe|connection reset|EOF|http2: client con", slowest: 5 * time.Second, begin: untrusting},
		{name: "not synced", says: "connection refused", begin: notSynced},
	}
}

// expired has an operator with a certificate of the CA that the API server trusts, which holds no more.
func expired(t *testing.T, w *world, mode string) func() {
	t.Helper()
	return w.serveWith(t, mode, w.reissue(t, time.Now().Add(-time.Hour)))
}

// untrusting has an operator with a ca.crt that did not sign the API server's certificate.
func untrusting(t *testing.T, w *world, mode string) func() {
	t.Helper()
	dir := w.reissue(t, time.Now().Add(time.Hour))
	another, err := os.ReadFile(filepath.Join(dir, "tls.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), another, 0o600); err != nil {
		t.Fatal(err)
	}
	return w.serveWith(t, mode, dir)
}

// reissue makes a directory for the operator with a new certificate.
func (w *world) reissue(t *testing.T, notAfter time.Time) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := w.Webhook.Reissue(dir, notAfter); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serveWith has an operator that serves with other certificates.
func (w *world) serveWith(t *testing.T, mode, certDir string) (end func()) {
	t.Helper()
	webhook := w.Webhook
	webhook.CertDir = certDir
	w.serve(t, mode, webhook)
	return w.stop
}

// TestOutage asks what people ask in every state of the webhook. Run it with -v: it prints the tables.
func TestOutage(t *testing.T) {
	w := start(t, "none", "strict")
	requests := w.requests(t)
	for _, mode := range []string{"strict", "permissive"} {
		if err := w.SetMode(t.Context(), mode); err != nil {
			t.Fatal(err)
		}
		w.serve(t, mode, w.Webhook)
		w.table(t, mode, "up", requests, failure{})
		for _, f := range failures() {
			w.stop()
			end := f.begin(t, w, mode)
			w.table(t, mode, f.name, requests, f)
			w.controlPlaneGoesOn(t)
			end()
		}
		w.serve(t, mode, w.Webhook)
		w.table(t, mode, "up", requests, failure{}) // it comes back by itself
	}
}

func (w *world) table(t *testing.T, mode, state string, requests []request, f failure) {
	t.Helper()
	t.Logf("%s, %s:", mode, state)
	for _, r := range requests {
		got := w.ask(r.user, r.method, r.path)
		t.Logf("  %-45s %d after %-6s %s", r.what, got.code, got.took.Round(time.Millisecond), got.message)
		if want := expected(mode, state, r.what); got.code != want {
			t.Errorf("%s, %s: %s: %d, want %d: %s", mode, state, r.what, got.code, want, got.message)
		}
		if got.code == http.StatusInternalServerError && !regexp.MustCompile(f.says).MatchString(got.message) {
			t.Errorf("%s, %s: %s: failed for another reason: %s", mode, state, r.what, got.message)
		}
		if limit := f.slowest + 5*time.Second; got.took > limit { // what a busy machine adds
			t.Errorf("%s, %s: %s: took %s, more than %s", mode, state, r.what, got.took, limit)
		}
	}
}

// expected is the status of a request. A webhook that can't be asked is an error of the server, in the words of
// HTTP; one that says no is a refusal.
func expected(mode, state, what string) int {
	switch what {
	case "system:masters gets a Job", "system:masters gets a run's pod", "a cluster-admin lists pods of kube-system",
		"a cluster-admin lists pods of Grantry", "a cluster-admin deletes a pod", "a cluster-admin lists secrets", "a cluster-admin lists nodes":
		return http.StatusOK // nobody asks Grantry
	case "alice gets the Job that she is granted", "a superuser of Grantry gets a Job", "a superuser of Grantry gets a run's pod":
		if state == "up" {
			return http.StatusOK
		}
	case "alice gets another Job":
	default: // a cluster-admin by RBAC
		if mode == "permissive" {
			return http.StatusOK
		}
		if state == "up" {
			if what == "a cluster-admin gets another pod" || what == "a cluster-admin lists pods elsewhere" {
				return http.StatusOK // not guarded
			}
		}
	}
	if state == "up" {
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}

// controlPlaneGoesOn has the controllers of kube-system make pods and clear a namespace.
func (w *world) controlPlaneGoesOn(t *testing.T) {
	t.Helper()
	w.kubectl(t, "", "create", "namespace", "passing")
	w.kubectl(t, "", "create", "deployment", "web", "-n", "passing", "--image=busybox:1")
	w.eventually(t, "the Deployment has a pod", func() bool {
		return w.kubectl(t, "", "get", "pods", "-n", "passing", "-o", "name") != ""
	})
	w.kubectl(t, "", "delete", "namespace", "passing", "--timeout=60s")
}

// slow answers, but later than the API server waits.
func slow(t *testing.T, w *world, _ string) func() {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(filepath.Join(w.Webhook.CertDir, "tls.crt"), filepath.Join(w.Webhook.CertDir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", w.Webhook.Address)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler:   http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }),
	}
	go func() { _ = server.ServeTLS(listener, "", "") }() // ends with an error when it is closed
	return func() { _ = server.Close() }
}

// notSynced has an operator that may not read Grants, so that it never has a policy. It does not listen then.
func notSynced(t *testing.T, w *world, mode string) func() {
	t.Helper()
	role := w.kubectl(t, "", "get", "clusterrole", "grantry", "-o", "yaml")
	w.kubectl(t, "", "patch", "clusterrole", "grantry", "--type=json", "-p",
		`[{"op": "replace", "path": "/rules", "value": [
			{"apiGroups": ["grantry.dev"], "resources": ["jobs", "jobruns"], "verbs": ["get", "list", "watch"]},
			{"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
			{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list", "watch"]}]}]`)
	w.launch(t, mode, w.Webhook)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := w.operator.WaitReady(ctx); err == nil {
		t.Error("the operator is ready without its policy")
	}
	return func() {
		w.stop()
		w.kubectl(t, role, "replace", "--force", "-f", "-")
	}
}
