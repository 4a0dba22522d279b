package harness

import (
	"io"
	"net"
	"sync"
	"time"
)

// Line passes connections on to an address until it is cut: then nothing gets through any more, in either direction,
// and nobody is told, as where packets are dropped.
type Line struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	open  sync.Cond
	cut   bool
	delay time.Duration
}

// OpenLine listens at an address, or at a free port of one that ends in ":0", until Close.
func OpenLine(listen, to string) (*Line, error) {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	l := &Line{listener: listener, to: to}
	l.open.L = &l.mu
	go l.accept()
	return l, nil
}

// Address is where the line begins.
func (l *Line) Address() string { return l.listener.Addr().String() }

// Cut lets nothing through until Mend.
func (l *Line) Cut() { l.set(func() { l.cut = true }) }

// Mend lets everything through again, first what was sent while the line was cut.
func (l *Line) Mend() { l.set(func() { l.cut, l.delay = false, 0 }) }

// Slow makes what is sent from now on take so much longer, in each direction, until Mend.
func (l *Line) Slow(delay time.Duration) { l.set(func() { l.delay = delay }) }

// Close takes no more connections. Those that there are go on.
func (l *Line) Close() {
	l.Mend()
	_ = l.listener.Close() // it may have been closed
}

func (l *Line) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.open.Broadcast()
}

// wait returns once the line is not cut.
func (l *Line) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.cut {
		l.open.Wait()
	}
}

// due is when what is sent now is to arrive.
func (l *Line) due() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Add(l.delay)
}

func (l *Line) accept() {
	for {
		from, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		go l.pass(from)
	}
}

// dialLimit is far more than a connection on one machine takes.
const dialLimit = 30 * time.Second

func (l *Line) pass(from net.Conn) {
	defer func() { _ = from.Close() }()
	l.wait()
	to, err := net.DialTimeout("tcp", l.to, dialLimit)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	go func() {
		l.copy(to, from)
		_ = to.Close()
	}()
	l.copy(from, to)
}

// parcel is under way until it is due.
type parcel struct {
	data []byte
	due  time.Time
}

// copy returns when either end is closed.
func (l *Line) copy(to io.Writer, from io.Reader) {
	parcels := make(chan parcel, 64)
	go func() {
		defer close(parcels)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				parcels <- parcel{buffer[:n], l.due()}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range parcels {
		time.Sleep(time.Until(p.due))
		l.wait()
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	go func() { // what is left is dropped, until the reader ends with its connection, which the caller closes
		for range parcels {
		}
	}()
}
