package serving

import (
	"container/list"
	"context"
	"crypto/tls"
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

// connection is a stranger until a request of its is read.
type connection struct {
	net.Conn
	all     *connections
	isKnown atomic.Bool
	used    atomic.Int64 // the turn at which a request last began or ended

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

// promote makes a stranger known. If there are too many of these, the one goes that was not used for longest.
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
	var oldest *connection
	if len(l.known) > l.most {
		for other := range l.known {
			if oldest == nil || other.used.Load() < oldest.used.Load() {
				oldest = other
			}
		}
	}
	l.mu.Unlock()
	l.drop(oldest, "known")
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

// use notes that a request begins or ends. A connection that is known takes no lock for it.
func (c *connection) use() {
	c.used.Store(c.all.turn.Add(1))
	if !c.isKnown.Load() {
		c.all.promote(c)
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
			c.use()
			defer c.use()
		}
		next.ServeHTTP(w, r)
	})
}
