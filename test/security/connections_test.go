package security

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/grantry/grantry/internal/webhook/serving"
	"github.com/grantry/grantry/test/harness"
)

// TestSlowConnections: 10,000 hold a connection each to one of the two webhooks, as long as they are let, and come again:
// most without a handshake, the others in the middle of a header, in the middle of a body, or idle. At most 4 * 512 of
// these connections are open at once. Whoever asks is answered all the while, if need be on another try, over the
// connections that the API server has and over new ones, and the operator's memory and open files are bounded.
func TestSlowConnections(t *testing.T) {
	s := newSite(t, nil)
	g := NewWithT(t)
	many := holders(t)
	pid := s.operator.PID()
	memory, files := residentBytes(t, pid), openFiles(t, pid)
	peak := watch(t, pid)

	f, ctx := newFlood(t.Context())
	defer f.end()
	f.hold(ctx, many*35/100, s.authorization, silent)
	f.hold(ctx, many*10/100, s.authorization, header) // which ends at the handshake, for want of a certificate
	f.hold(ctx, many*25/100, s.admission, silent)
	f.hold(ctx, many*10/100, s.admission, header)
	f.hold(ctx, many*10/100, s.admission, body)
	f.hold(ctx, many*10/100, s.admission, idle)
	g.Eventually(f.opened.Load).WithTimeout(3*waitFor).Should(BeNumerically(">=", many*9/10), "the connections are opened")

	caller := s.caller(t)
	questions := map[string]func(context.Context) error{
		"a list":                        s.list,
		"a write":                       s.write,
		"a question on a connection":    func(ctx context.Context) error { return s.ask(ctx, caller) },
		"a review on a new connection":  s.review,
		"whether the operator is ready": func(context.Context) error { return s.ready() },
	}
	pulse := harness.TakePulse(ctx)
	for what, ask := range questions {
		const times = 20
		atOnce, excused := 0, 0
		for range times {
			began := time.Now()
			for try := 0; ; try++ {
				asked := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), waitFor)
				err := ask(ctx)
				cancel()
				if err == nil {
					if try == 0 {
						atOnce++
					}
					break
				}
				if try == 0 && pulse.Excuses(asked, time.Now(), err.Error()) {
					excused++
				}
				if time.Since(began) > waitFor {
					t.Fatalf("%s is not answered while %s: %v", what, f, err)
				}
			}
		}
		if atOnce+excused == 0 { // how many is a matter of the machine: an API server waits three seconds
			t.Errorf("%s: none was answered at once", what)
		}
		t.Logf("%s: %d of %d answered at once, and of %d others the machine is to blame", what, atOnce, times, excused)
	}
	most := peak()
	f.end()
	t.Logf("%s; memory %d MiB before and %d MiB at the most, files %d and %d", f, memory>>20, most.memory>>20, files, most.files)
	if most.memory > mostMemory {
		t.Errorf("the operator had %d MiB, more than %d", most.memory>>20, mostMemory>>20)
	}
	if limit := files + 4*serving.MaxConnections + 100; most.files > limit {
		t.Errorf("%d files are open, more than %d", most.files, limit)
	}
	g.Eventually(func() int { return openFiles(t, pid) }).WithTimeout(waitFor).Should(BeNumerically("<", files+100), "what was held is free")
}

// holders is 10,000, or what this process may open.
func holders(t *testing.T) int {
	t.Helper()
	const want, others = 10_000, 2000
	limit := syscall.Rlimit{}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	many := min(want, int(min(limit.Cur, 1<<20))-others)
	if many < want {
		t.Logf("of %d connections only %d: this process may have %d files", want, many, limit.Cur)
	}
	if many < 1000 {
		t.Fatalf("this process may have only %d files", limit.Cur)
	}
	return many
}

// caller is who may ask the authorization webhook, and does so on a new connection each time.
func (s *site) caller(t *testing.T) *http.Client {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "client.crt"), filepath.Join(s.dir, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	return newConnections(pair)
}

func newConnections(certificates ...tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, Certificates: certificates}, // whom it reaches is not what is tried
	}}
}

// message is what is sent to a webhook.
type message struct{ url, body string }

// send returns the answer.
func send(ctx context.Context, c *http.Client, m message) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, strings.NewReader(m.body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// post expects something in the answer.
func post(ctx context.Context, c *http.Client, m message, want string) error {
	text, err := send(ctx, c, m)
	if err == nil && !strings.Contains(text, want) {
		err = fmt.Errorf("answered %s", text)
	}
	return err
}

// question is one of which the answer is yes, with so many bytes more.
func (s *site) question(more int) message {
	return message{"https://" + s.authorization + "/authorize", `{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "alice",
		"resourceAttributes": {"verb": "get", "group": "grantry.dev", "resource": "jobs", "namespace": "` + instance + `", "name": "dev.x"}}}` + strings.Repeat(" ", more)}
}

// deletion is a review that is allowed, with so many bytes more.
func (s *site) deletion(more int) message {
	return message{"https://" + s.admission + "/validate", `{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "x",
		"operation": "DELETE", "resource": {"group": "grantry.dev", "version": "v1alpha1", "resource": "jobs"}, "namespace": "` + instance + `", "userInfo": {"username": "alice"},
		"oldObject": {"apiVersion": "grantry.dev/v1alpha1", "kind": "Job", "metadata": {"namespace": "` + instance + `", "name": "dev.x"}, "spec": {"run": {"cmd": "true"}}}}}` + strings.Repeat(" ", more)}
}

// ask asks the authorization webhook on a new connection.
func (s *site) ask(ctx context.Context, caller *http.Client) error {
	return post(ctx, caller, s.question(0), `"allowed":true`)
}

// review asks the admission webhooks on a new connection, as anybody can.
func (s *site) review(ctx context.Context) error { return s.reviewBy(ctx, newConnections()) }

func (s *site) reviewBy(ctx context.Context, c *http.Client) error {
	return post(ctx, c, s.deletion(0), `"allowed":true`)
}

func (s *site) ready() error {
	if !s.operator.IsReady() {
		return errors.New("not ready")
	}
	return nil
}

// usage is what a process holds.
type usage struct{ memory, files int }

// watch samples a process until the returned function is called, which tells the most that it held.
func watch(t *testing.T, pid int) func() usage {
	t.Helper()
	stop, most := make(chan struct{}), usage{}
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			most.memory, most.files = max(most.memory, residentBytes(t, pid)), max(most.files, openFiles(t, pid))
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return func() usage {
		close(stop)
		ended.Wait()
		return most
	}
}

func residentBytes(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Error(err)
		return 0
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		t.Error(err)
	}
	return pages * os.Getpagesize()
}

func openFiles(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Error(err)
	}
	return len(entries)
}
