package authorization

import (
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grantry/grantry/test/harness"
)

// lookEach is how often a balancer looks which replicas are ready.
const lookEach = 50 * time.Millisecond

// backend is an operator and where one of its webhooks listens.
type backend struct {
	operator *harness.Operator
	address  string
	ready    bool
	open     int // connections
}

// balancer passes connections on to the ready backends, in turn: what stands between an API server and the replicas.
// One that refuses a connection is passed over.
type balancer struct {
	mu       sync.Mutex
	backends []*backend
	next     int
}

// balance listens at an address until the test ends.
func balance(t *testing.T, address string, backends ...*backend) *balancer {
	t.Helper()
	b := &balancer{backends: backends}
	b.look()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return // closed
			}
			group.Go(func() { b.pass(from) })
		}
	})
	group.Go(func() {
		for t.Context().Err() == nil {
			b.look()
			time.Sleep(lookEach)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
	})
	return b
}

// look asks every backend whether it is ready, as a Service's endpoints are.
func (b *balancer) look() {
	for _, r := range b.backends {
		ready := r.operator.IsReady()
		b.mu.Lock()
		r.ready = ready
		b.mu.Unlock()
	}
}

// pass copies between a connection and a backend until either ends.
func (b *balancer) pass(from net.Conn) {
	defer func() { _ = from.Close() }()
	for range len(b.backends) {
		r := b.pick()
		if r == nil {
			return
		}
		to, err := net.DialTimeout("tcp", r.address, time.Second)
		if err != nil {
			continue
		}
		b.count(r, 1)
		defer b.count(r, -1)
		go func() {
			_, _ = io.Copy(to, from)
			_ = to.Close()
		}()
		_, _ = io.Copy(from, to)
		return
	}
}

// pick is the next backend that is ready, or nil.
func (b *balancer) pick() *backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.backends {
		b.next = (b.next + 1) % len(b.backends)
		if r := b.backends[b.next]; r.ready {
			return r
		}
	}
	return nil
}

func (b *balancer) count(r *backend, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.open += n
}

// busiest is the backend that the API server is connected to most, or nil if it is to none.
func (b *balancer) busiest() *backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := slices.MaxFunc(b.backends, func(a, b *backend) int { return a.open - b.open })
	if most.open == 0 {
		return nil
	}
	return most
}

// drained waits until no connection to a backend is left, and returns when that was.
func (b *balancer) drained(t *testing.T, r *backend) time.Time {
	t.Helper()
	for deadline := time.Now().Add(waitFor); ; time.Sleep(time.Millisecond) {
		b.mu.Lock()
		open := r.open
		b.mu.Unlock()
		if open == 0 {
			return time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections to a replica that has ended", open)
		}
	}
}
