package security

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A way is how somebody holds a connection without asking anything of it.
type way func(c net.Conn) (net.Conn, error)

// again is how long a holder waits after its connection was closed.
const again = 10 * time.Second

// silent doesn't even begin.
func silent(c net.Conn) (net.Conn, error) { return c, nil }

// secured speaks TLS and says something.
func secured(text string, certificates ...tls.Certificate) way {
	return func(c net.Conn) (net.Conn, error) {
		over := tls.Client(c, &tls.Config{InsecureSkipVerify: true, Certificates: certificates}) // it attacks, and cares for nobody's name
		_ = c.SetDeadline(time.Now().Add(again))
		if _, err := io.WriteString(over, text); err != nil {
			return over, err
		}
		return over, c.SetDeadline(time.Time{})
	}
}

// header stops within a header, and body within a body.
var (
	header = secured("POST /validate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nA: ")
	body   = secured("POST /validate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{")
)

// idle makes a request that is complete, and stays.
func idle(c net.Conn) (net.Conn, error) {
	over, err := secured("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")(c)
	if err != nil {
		return over, err
	}
	_ = c.SetDeadline(time.Now().Add(again))
	response, err := http.ReadResponse(bufio.NewReader(over), nil)
	if err != nil {
		return over, err
	}
	_ = response.Body.Close()
	return over, c.SetDeadline(time.Time{})
}

// flood is many who hold connections, each of which it opens anew when it is closed.
type flood struct {
	stop   context.CancelFunc
	ended  sync.WaitGroup
	opened atomic.Int64  // connections, also those that are closed by now
	dials  chan struct{} // how many are opened at once
}

// hold starts so many holders of connections to an address.
func (f *flood) hold(ctx context.Context, many int, address string, how way) {
	for range many {
		f.ended.Go(func() {
			for ctx.Err() == nil {
				f.once(ctx, address, how)
				select {
				case <-ctx.Done():
				case <-time.After(again):
				}
			}
		})
	}
}

// once holds one connection until it is closed or the flood ends.
func (f *flood) once(ctx context.Context, address string, how way) {
	f.dials <- struct{}{}
	// From an address of its own, so that the ports of others are left alone.
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: again}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		<-f.dials
		return
	}
	end := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer end()
	over, err := how(c)
	<-f.dials
	f.opened.Add(1)
	if err == nil {
		_, _ = io.Copy(io.Discard, over) // until it is closed
	}
	_ = c.Close()
}

// newFlood starts no holders yet. End it.
func newFlood(ctx context.Context) (*flood, context.Context) {
	f := &flood{dials: make(chan struct{}, 64)}
	ctx, f.stop = context.WithCancel(ctx)
	return f, ctx
}

func (f *flood) end() {
	f.stop()
	f.ended.Wait()
}

func (f *flood) String() string { return fmt.Sprintf("%d connections opened", f.opened.Load()) }
