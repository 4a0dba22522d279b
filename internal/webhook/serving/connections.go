package serving

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/grantry/grantry/internal/metrics"
)

// connections is a listener that bounds how many connections are open, by closing some, and never by making a newcomer
// wait: a caller that means well would wait behind those that don't.
type connections struct {
	net.Listener
	server string
	most   int // strangers, and as many that are known
	turn   atomic.Int64

	mu        sync.Mutex
	strangers *list.List // of *connection, the first to come in front
	known     map[*connection]struct{}
}

func bound(l net.Listener, server string, most int) *connections {
	return &connections{Listener: l, server: server, most: most, strangers: list.New(), known: map[*connection]struct{}{}}
}

// connection is a stranger until a whole request of its is read: who sends one slowly remains one.
type connection struct {
	net.Conn
	all     *connections
	isKnown atomic.Bool
	used    atomic.Int64 // the turn at which a request was last read or answered
	owed    atomic.Int64 // requests that are read and not answered

	place  *list.Element // among the strangers; under all.mu, as is closed
	closed bool
}

// Accept returns a new connection. If there are too many strangers, the one goes that came first: it has had the time in
// which the others came, and has asked nothing.
func (l *connections) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: raw, all: l}
	l.mu.Lock()
	c.place = l.strangers.PushBack(c)
	var first *connection
	if l.strangers.Len() > l.most {
		first, _ = l.strangers.Front().Value.(*connection)
	}
	l.mu.Unlock()
	l.drop(first, "stranger")
	return c, nil
}

// drop closes a connection to make room, if there is one to close.
func (l *connections) drop(c *connection, who string) {
	if c != nil {
		metrics.ConnectionsDropped.WithLabelValues(l.server, who).Inc()
		_ = c.Close() // it is of no use to anybody
	}
}

// promote makes a stranger known. If there are too many of these, one goes.
func (l *connections) promote(c *connection) {
	l.mu.Lock()
	if c.closed || c.place == nil {
		l.mu.Unlock()
		return
	}
	l.strangers.Remove(c.place)
	c.place = nil
	c.isKnown.Store(true)
	l.known[c] = struct{}{}
	var leaves *connection
	if len(l.known) > l.most {
		leaves = l.unused()
		if leaves == nil {
			leaves = c
		}
	}
	l.mu.Unlock()
	l.drop(leaves, "known")
}

// unused is the known connection that was not used for longest, of those that are owed no answer, or nil. One that sends
// a request is owed none before it is read: or who sends slowly, on as many as there may be, would keep out everybody else.
func (l *connections) unused() (longest *connection) {
	for c := range l.known {
		if c.owed.Load() == 0 && (longest == nil || c.used.Load() < longest.used.Load()) {
			longest = c
		}
	}
	return longest
}

// Close may be called more than once.
func (c *connection) Close() error {
	c.all.mu.Lock()
	c.closed = true
	if c.place != nil {
		c.all.strangers.Remove(c.place)
		c.place = nil
	}
	delete(c.all.known, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// asks notes that a request is read. A connection that is known takes no lock for it.
func (c *connection) asks() {
	c.owed.Add(1)
	c.used.Store(c.all.turn.Add(1))
	if !c.isKnown.Load() {
		c.all.promote(c)
	}
}

// answered notes that the handler of a request has ended.
func (c *connection) answered() {
	c.used.Store(c.all.turn.Add(1))
	c.owed.Add(-1)
}

// request is a body that tells its connection when it is read.
type request struct {
	io.ReadCloser
	on     *connection
	isRead bool
}

// Read is for io.Reader.
func (r *request) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		r.read()
	}
	return n, err
}

func (r *request) read() {
	if !r.isRead {
		r.isRead = true
		r.on.asks()
	}
}

func (r *request) end() {
	if r.isRead {
		r.on.answered()
	}
}

type contextKey struct{}

// remember puts the connection where requests find it.
func remember(ctx context.Context, c net.Conn) context.Context {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	return context.WithValue(ctx, contextKey{}, c)
}

// known notes whose requests are served.
func known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(contextKey{}).(*connection); ok {
			body := &request{ReadCloser: r.Body, on: c}
			if r.ContentLength == 0 {
				body.read()
			}
			defer body.end()
			r.Body = body
		}
		next.ServeHTTP(w, r)
	})
}
