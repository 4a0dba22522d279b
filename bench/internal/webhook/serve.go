// Package webhook measures the authorization webhook against a server that only decodes and answers.
package webhook

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/grantry/grantry/bench/internal/engine"
	"github.com/grantry/grantry/internal/testing/certificates"
	"github.com/grantry/grantry/internal/testing/world"
	"github.com/grantry/grantry/internal/webhook/authorization"
)

// Kind is what a server answers with.
type Kind string

// The kinds of servers. Bare decodes a question and says yes.
const (
	Grantry Kind = "grantry"
	Bare    Kind = "bare"
)

// Settings of a server.
type Settings struct {
	Kind    Kind
	Address string
	CertDir string
	Grants  int // of Grantry
}

// Serve serves until its standard input ends, which it does when the process that started it ends. It prints where it
// listens. TLS, client certificates and limits are those of the operator's webhook for both kinds.
func Serve(ctx context.Context, s Settings) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	handler := http.Handler(http.HandlerFunc(bare))
	if s.Kind == Grantry {
		snapshot, err := engine.Snapshot(world.New(world.Shape{Grants: s.Grants}))
		if err != nil {
			return err
		}
		handler = &authorization.Handler{Authorizer: engine.Authorizer(snapshot), Clock: clock.RealClock{}}
	}
	server := &authorization.Server{Address: s.Address, CertDir: s.CertDir, Callers: []string{certificates.Caller}, Handler: handler}
	go func() {
		for server.Addr() == nil && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		fmt.Println(server.Addr())
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return server.Start(ctx)
}

// bare is the least that a webhook does.
func bare(w http.ResponseWriter, r *http.Request) {
	var review authorizationv1.SubjectAccessReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(&authorizationv1.SubjectAccessReview{ // whoever asked may have gone
		TypeMeta: metav1.TypeMeta{APIVersion: authorizationv1.SchemeGroupVersion.String(), Kind: "SubjectAccessReview"},
		Status:   authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "yes"},
	})
}

// Process is a server in a process of its own.
type Process struct {
	Address string
	cmd     *exec.Cmd
	stdin   io.Closer
}

// Start starts this program again, as a server.
func Start(ctx context.Context, s Settings) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "serve", "--kind", string(s.Kind), "--address", s.Address, "--cert-dir", s.CertDir, "--grants", strconv.Itoa(s.Grants))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the %s server did not start: %w", s.Kind, err), stdin.Close(), cmd.Wait())
	}
	return &Process{Address: strings.TrimSpace(address), cmd: cmd, stdin: stdin}, nil
}

// PID is the server's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop ends the server and waits for it.
func (p *Process) Stop() error { return errors.Join(p.stdin.Close(), p.cmd.Wait()) }
