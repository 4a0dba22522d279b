//go:build e2e

package chaos

import (
	"context"
	"sync"
	"testing"
	"time"

	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

// restartPause is how long a replica that has ended is away, as a kubelet starts a container again.
const restartPause = time.Second

// replica is an operator that is started again whenever it ends.
type replica struct {
	authorize, admit string // where it serves
	toServer         *harness.Line

	mu       sync.Mutex
	program  string
	operator *harness.Operator
}

// newReplica starts an operator.
func (s *site) newReplica(t *testing.T) *replica {
	t.Helper()
	to := s.server(t)
	line, err := harness.OpenLine("127.0.0.1:0", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	r := &replica{authorize: grantrytesting.FreeAddress(t), admit: grantrytesting.FreeAddress(t), toServer: line, program: s.program}
	kubeconfig, arguments := s.kubeconfig(t, line.Address(), to), s.arguments(r)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.keep(ctx, t.Error, kubeconfig, s.LogPath(), arguments)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return r
}

// keep runs operators, one after the other, until ctx ends.
func (r *replica) keep(ctx context.Context, fail func(...any), kubeconfig, log string, arguments []string) {
	for {
		r.mu.Lock()
		program := r.program
		r.mu.Unlock()
		operator, err := harness.StartOperator(program, kubeconfig, log, arguments...)
		if err != nil {
			fail(err)
			return
		}
		r.mu.Lock()
		r.operator = operator
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			operator.Kill()
			return
		case <-operator.Ended():
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartPause):
		}
	}
}

// now is the operator that runs, or the last one that did, or nil.
func (r *replica) now() *harness.Operator {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.operator
}

func (r *replica) isReady() bool {
	operator := r.now()
	return operator != nil && operator.IsReady()
}

// become has the replica run another program from now on.
func (r *replica) become(program string) {
	r.mu.Lock()
	r.program = program
	r.mu.Unlock()
	r.kill()
}

// kill ends the operator as a crash would.
func (r *replica) kill() {
	if operator := r.now(); operator != nil {
		operator.Kill()
	}
}

// leads reports whether the operator says that it leads.
func (r *replica) leads() bool {
	return r.metric("leader_election_master_status") == 1
}
