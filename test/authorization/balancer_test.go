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

// replica is an operator and where its webhook listens.
type replica struct {
	operator *harness.Operator
	address  string
	ready    bool
	open     int // connections
}

// balancer passes connections on to the ready replicas, in turn: what stands between an API server and the replicas.
// A replica that refuses a connection is passed over.
type balancer struct {
	mu       sync.Mutex
	replicas []*replica
	next     int
}

// balance listens at an address until the test ends.
func balance(t *testing.T, address string, replicas ...*replica) *balancer {
	t.Helper()
	b := &balancer{replicas: replicas}
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

// look asks every replica whether it is ready, as a Service's endpoints are.
func (b *balancer) look() {
	for _, r := range b.replicas {
		ready := r.operator.IsReady()
		b.mu.Lock()
		r.ready = ready
		b.mu.Unlock()
	}
}

// pass copies between a connection and a replica until either ends.
func (b *balancer) pass(from net.Conn) {
	defer func() { _ = from.Close() }()
	for range len(b.replicas) {
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

// pick is the next replica that is ready, or nil.
func (b *balancer) pick() *replica {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.replicas {
		b.next = (b.next + 1) % len(b.replicas)
		if r := b.replicas[b.next]; r.ready {
			return r
		}
	}
	return nil
}

func (b *balancer) count(r *replica, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.open += n
}

// busiest is the replica that the API server is connected to most, or nil if it is to none.
func (b *balancer) busiest() *replica {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := slices.MaxFunc(b.replicas, func(a, b *replica) int { return a.open - b.open })
	if most.open == 0 {
		return nil
	}
	return most
}

// drained waits until no connection to a replica is left, and returns when that was.
func (b *balancer) drained(t *testing.T, r *replica) time.Time {
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
