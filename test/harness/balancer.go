package harness

import (
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// lookEach is how often a balancer looks which replicas are ready.
const lookEach = 50 * time.Millisecond

// Backend is a replica behind a balancer.
type Backend struct {
	// Address is where it listens.
	Address string
	// IsReady says whether it is to be sent connections.
	IsReady func() bool

	ready bool
	open  int // connections
}

// Balancer passes connections on to the ready replicas, in turn: what stands between an API server and the replicas.
// A replica that refuses a connection is passed over.
type Balancer struct {
	listener net.Listener
	closed   chan struct{}

	mu       sync.Mutex
	backends []*Backend
	next     int
}

// Balance listens at an address, or at a free port of one that ends in ":0", until Close.
func Balance(listen string, backends ...*Backend) (*Balancer, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	b := &Balancer{listener: listener, closed: make(chan struct{}), backends: backends}
	b.look()
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go b.pass(from)
		}
	}()
	go func() {
		for {
			select {
			case <-b.closed:
				return
			case <-time.After(lookEach):
				b.look()
			}
		}
	}()
	return b, nil
}

// Address is where the balancer listens.
func (b *Balancer) Address() string { return b.listener.Addr().String() }

// Close takes no more connections. It is called once.
func (b *Balancer) Close() {
	close(b.closed)
	_ = b.listener.Close() // nothing else closes it
}

// look asks every replica whether it is ready, as a Service's endpoints are.
func (b *Balancer) look() {
	for _, r := range b.backends {
		ready := r.IsReady()
		b.mu.Lock()
		r.ready = ready
		b.mu.Unlock()
	}
}

// pass copies between a connection and a replica until either ends.
func (b *Balancer) pass(from net.Conn) {
	defer func() { _ = from.Close() }()
	for range len(b.backends) {
		r := b.pick()
		if r == nil {
			return
		}
		to, err := net.DialTimeout("tcp", r.Address, time.Second)
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
func (b *Balancer) pick() *Backend {
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

func (b *Balancer) count(r *Backend, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.open += n
}

// Busiest is the replica to which there are most connections, or nil if there are none.
func (b *Balancer) Busiest() *Backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	most := slices.MaxFunc(b.backends, func(a, b *Backend) int { return a.open - b.open })
	if most.open == 0 {
		return nil
	}
	return most
}

// Connections is how many there are to a replica.
func (b *Balancer) Connections(r *Backend) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return r.open
}
