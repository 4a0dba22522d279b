//go:build e2e

package authorization

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	revocations = 100
	batchGrant  = `{apiVersion: grantry.dev/v1alpha1, kind: Grant, metadata: {name: alice-batch},
		spec: {acl: dev-batch, subjects: [{kind: User, name: alice}], actions: [full]}}`
	opsGrants = `
apiVersion: grantry.dev/v1alpha1
kind: ACL
metadata: {name: ops-mesos}
spec: {resource: "dcos:adminrouter:ops:mesos"}
---
apiVersion: grantry.dev/v1alpha1
kind: ACL
metadata: {name: ops-slave}
spec: {resource: "dcos:adminrouter:ops:slave"}
---
apiVersion: grantry.dev/v1alpha1
kind: Grant
metadata: {name: alice-mesos}
spec: {acl: ops-mesos, subjects: [{kind: User, name: alice}], actions: [full]}
---
apiVersion: grantry.dev/v1alpha1
kind: Grant
metadata: {name: alice-slave}
spec: {acl: ops-slave, subjects: [{kind: User, name: alice}], actions: [full]}
`
	// longLived is how long requests under way are watched after the revocation.
	longLived = 10 * time.Second
	// shortWatches has the API server end watches that ask for no time of their own after 5 to 10 seconds, which it
	// otherwise does after half an hour to an hour.
	shortWatches = "--apiserver-arg=--min-request-timeout=5"
)

// TestRevocation measures how long a permission goes on to work after `kubectl delete grant` has returned, for
// requests that begin then and for those that are under way. Run it with -v: it prints what it saw. Exec and logs
// need a node that runs containers.
func TestRevocation(t *testing.T) {
	w := start(t, "auto", "permissive", shortWatches)
	w.kubectl(t, opsGrants, "apply", "-f", "-")
	pod := ""
	w.eventually(t, "the run's pod runs", func() bool {
		pod = w.kubectl(t, "", "get", "pods", "-n", "metronome", "-l", "in.grantry.dev/dev", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].metadata.name}")
		return pod != ""
	})
	list := grantryAPI + "/namespaces/metronome/jobs?labelSelector=in.grantry.dev%2Fdev.batch"
	w.measure(t, "get a Job", "GET", jobPath)
	w.measure(t, "list Jobs by label", "GET", list)
	w.measure(t, "delete a Job (dry run)", "DELETE", jobPath+"?dryRun=All")
	w.measure(t, "get a run's pod", "GET", corePath+"metronome/pods/"+pod)
	if w.Nodes == "real" {
		w.measure(t, "read its log", "GET", corePath+"metronome/pods/"+pod+"/log?tailLines=1")
	}

	watches := []*stream{
		w.watch(t, "watch", list+"&watch=true"),
		w.watch(t, "watch with timeoutSeconds=600", list+"&watch=true&timeoutSeconds=600"),
	}
	streams := slices.Clone(watches)
	if w.Nodes == "real" {
		streams = append(streams, w.follow(t, "logs -f", "logs", "-f", pod), w.follow(t, "exec", "exec", pod, "--", "sh", "-c", "while sleep 0.2; do date; done"))
	} else {
		t.Logf("nodes are %s: no exec and no logs", w.Nodes)
	}
	deleted := w.revoke(t)
	w.kubectl(t, "", "label", "gjob", "dev.batch.job1", "-n", "metronome", "revoked=yes")
	time.Sleep(longLived)
	for _, s := range streams {
		t.Logf("%-30s %s", s.what, s.since(deleted))
	}
	for _, s := range streams[1:] { // all but the watch that the API server ends
		if s.ended.Load() != 0 {
			t.Errorf("%s ended %s", s.what, s.since(deleted))
		}
	}
	if watches[0].ended.Load() == 0 {
		t.Errorf("the API server has not ended the watch, %s after the revocation", longLived)
	}
	for _, s := range watches {
		if !s.has("revoked") {
			t.Errorf("%s did not tell of a change after the revocation: update docs/operations/revocation.md", s.what)
		}
	}
	if got := w.ask("alice", "GET", list+"&watch=true"); got.code != http.StatusForbidden {
		t.Errorf("a new watch: %d %s", got.code, got.message)
	}
	w.endWithPod(t, streams[2:])
}

// endWithPod deletes the pod, as onRevoke: Delete does to it, and waits for what hangs on it.
func (w *world) endWithPod(t *testing.T, streams []*stream) {
	t.Helper()
	begun := time.Now()
	w.kubectl(t, "", "delete", "jrun", "--all", "-n", "metronome", "--wait=false")
	for _, s := range streams {
		w.eventually(t, s.what+" ends with the pod", func() bool { return s.ended.Load() != 0 })
		t.Logf("%-30s ended %s after the run was deleted", s.what, time.Unix(0, s.ended.Load()).Sub(begun).Round(100*time.Millisecond))
	}
}

// measure revokes and grants again, many times, and tells how long a request still succeeded.
func (w *world) measure(t *testing.T, what, method, path string) {
	t.Helper()
	var after, granted []time.Duration
	late := 0
	for range revocations {
		begun := time.Now()
		w.grant(t)
		w.eventuallyNow(t, what+" is allowed", func() bool { return w.ask("alice", method, path).code == http.StatusOK })
		granted = append(granted, time.Since(begun))
		begun = w.revoke(t)
		first := true
		w.eventuallyNow(t, what+" is refused", func() bool {
			refused := w.ask("alice", method, path).code == http.StatusForbidden
			if first && !refused {
				late++
			}
			first = false
			return refused
		})
		after = append(after, time.Since(begun))
	}
	t.Logf("%-30s refused %s after the revocation returned, %d of %d first requests still succeeded; allowed %s after the grant was sent",
		what, spread(after), late, revocations, spread(granted))
	if worst := slices.Max(after); worst > 10*time.Second {
		t.Errorf("%s still succeeded %s after the revocation", what, worst)
	}
	w.grant(t)
	w.eventuallyNow(t, what+" is allowed", func() bool { return w.ask("alice", method, path).code == http.StatusOK })
}

// spread is the median, the 99th percentile and the maximum.
func spread(times []time.Duration) string {
	slices.Sort(times)
	at := func(percent int) time.Duration {
		return times[(len(times)-1)*percent/100].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s", at(50), at(99), at(100))
}

// eventuallyNow is eventually without a pause.
func (w *world) eventuallyNow(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitFor); !met(); {
		if time.Now().After(deadline) {
			t.Fatalf("after %s still not: %s", waitFor, what)
		}
	}
}

const grantPath = grantryAPI + "/grants/alice-batch"

// grant creates alice's Grant, if it is not there. The API server is asked directly: kubectl takes longer than what is
// measured.
func (w *world) grant(t *testing.T) {
	t.Helper()
	request, err := http.NewRequest(http.MethodPatch, w.server+grantPath+"?fieldManager=test&force=true", strings.NewReader(batchGrant))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/apply-patch+yaml")
	response, err := w.clients["admin"].Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		t.Fatalf("grant: %s", response.Status)
	}
}

// revoke deletes alice's Grant and returns when the API server has said that it is gone.
func (w *world) revoke(t *testing.T) time.Time {
	t.Helper()
	if got := w.ask("admin", "DELETE", grantPath); got.code != http.StatusOK {
		t.Fatalf("revoke: %d %s", got.code, got.message)
	}
	return time.Now()
}

// stream is a request that goes on, and the lines that it brings.
type stream struct {
	what     string
	lastLine atomic.Int64 // when it came, in nanoseconds
	ended    atomic.Int64 // when it ended; 0 as long as it has not
	text     atomic.Pointer[string]
}

func (s *stream) read(scanner *bufio.Scanner) {
	all := ""
	for scanner.Scan() {
		all += scanner.Text() + "\n"
		s.text.Store(&all)
		s.lastLine.Store(time.Now().UnixNano())
	}
	s.ended.Store(time.Now().UnixNano())
}

func (s *stream) has(word string) bool {
	text := s.text.Load()
	return text != nil && strings.Contains(*text, word)
}

// since tells what became of the stream after the revocation.
func (s *stream) since(deleted time.Time) string {
	if ended := s.ended.Load(); ended != 0 {
		return fmt.Sprintf("ended %s after the revocation", time.Unix(0, ended).Sub(deleted).Round(100*time.Millisecond))
	}
	return fmt.Sprintf("goes on %s after the revocation; its last line came after %s",
		time.Since(deleted).Round(100*time.Millisecond), time.Unix(0, s.lastLine.Load()).Sub(deleted).Round(100*time.Millisecond))
}

// watch begins a watch as alice and returns when it has brought something.
func (w *world) watch(t *testing.T, what, path string) *stream {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.server+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := w.clients["alice"].Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return w.begin(t, what, bufio.NewScanner(response.Body))
}

// follow begins a command of kubectl as alice.
func (w *world) follow(t *testing.T, what string, args ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, w.KubectlPath, append([]string{"-n", "metronome"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.Kubeconfig("alice"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = cmd.Wait() })
	return w.begin(t, what, bufio.NewScanner(out))
}

func (w *world) begin(t *testing.T, what string, scanner *bufio.Scanner) *stream {
	t.Helper()
	s := &stream{what: what}
	scanner.Buffer(nil, 1<<20)
	go s.read(scanner)
	w.eventually(t, what+" brings something", func() bool { return s.lastLine.Load() != 0 })
	return s
}
