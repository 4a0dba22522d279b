package serving

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grantry/grantry/internal/testing/certificates"
)

const waitFor = 30 * time.Second

// serve starts a server with a certificate for localhost, which the returned client trusts.
func serve(t *testing.T, callers func(dir string) Callers, handler http.Handler) (*Server, *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	if err := certificates.Write(dir); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	s := &Server{Name: "test", Address: "127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{pair}}, Callers: callers(dir), Handler: handler}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	eventually(t, "it listens", func() bool { return s.ReadyCheck(nil) == nil })
	return s, &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

func everybody(string) Callers { return Callers{} }

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitFor); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so in %s: %s", waitFor, what)
		}
	}
}

func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	c, err := (&net.Dialer{Timeout: waitFor}).DialContext(t.Context(), "tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// secure is a connection of HTTP/1.1.
func secure(t *testing.T, s *Server, trust *tls.Config) *tls.Conn {
	t.Helper()
	c := tls.Client(dial(t, s), trust)
	if err := c.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// ask sends a request and reads the answer.
func ask(c net.Conn, body string) error {
	if err := c.SetDeadline(time.Now().Add(waitFor)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return response.Body.Close()
}

// isClosed waits until the other side has closed a connection on which nothing is to be read.
func isClosed(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(waitFor))
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// isOpen reports whether the other side is not known to have closed a connection on which nothing is to be read.
func isOpen(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

func yes(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.WriteHeader(http.StatusOK)
}

// TestServer_strangersMakeRoom: whoever says nothing goes when others come, and whoever has asked stays.
func TestServer_strangersMakeRoom(t *testing.T) {
	t.Parallel()
	s, trust := serve(t, everybody, http.HandlerFunc(yes))
	friend := secure(t, s, trust)
	if err := ask(friend, "before"); err != nil {
		t.Fatal(err)
	}
	first := dial(t, s)
	for range MaxConnections {
		dial(t, s)
	}
	if !isClosed(first) {
		t.Error("the first stranger stays")
	}
	if err := ask(friend, "after"); err != nil {
		t.Errorf("a caller that was there before: %v", err)
	}
	if err := ask(secure(t, s, trust), "new"); err != nil {
		t.Errorf("a caller that comes now: %v", err)
	}
}

// TestServer_knowsHTTP2: an API server's connection is known once its first request is read, and not before.
func TestServer_knowsHTTP2(t *testing.T) {
	t.Parallel()
	protocol, isKnown := make(chan string, 1), make(chan bool, 1)
	s, trust := serve(t, everybody, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c, _ := r.Context().Value(contextKey{}).(*connection)
		before := c != nil && c.isKnown.Load()
		_, _ = io.Copy(io.Discard, r.Body)
		protocol <- r.Proto
		isKnown <- c != nil && c.isKnown.Load() && !before
	}))
	transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.Addr().String(), strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if p, known := <-protocol, <-isKnown; p != "HTTP/2.0" || !known {
		t.Errorf("asked in %s, known only once it is read: %t", p, known)
	}
}

// TestServer_theSlowGo: the time for a handshake and for the header of a request is bounded, and so is a body's.
func TestServer_theSlowGo(t *testing.T) {
	t.Parallel()
	s, trust := serve(t, everybody, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }))
	silent, header, body := dial(t, s), secure(t, s, trust), secure(t, s, trust)
	for c, text := range map[*tls.Conn]string{header: "POST / HTTP/1.1\r\nHost: localhost\r\nA: ", body: "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx"} {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string]net.Conn{"without a handshake": silent, "without the end of a header": header, "without the end of a body": body} {
		if err := c.SetReadDeadline(time.Now().Add(waitFor)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s it stays", what)
		}
	}
}

// TestServer_longHeaders: nobody makes the server keep megabytes of a header.
func TestServer_longHeaders(t *testing.T) {
	t.Parallel()
	s, trust := serve(t, everybody, http.HandlerFunc(yes))
	c := secure(t, s, trust)
	_ = c.SetDeadline(time.Now().Add(waitFor))
	go func() { // it may be closed meanwhile
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: localhost\r\nA: "+strings.Repeat("a", 10*maxHeader)+"\r\n\r\n")
	}()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return // reset: what was not read is lost, and the answer with it
	}
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
	_ = response.Body.Close()
}

// TestServer_callers: with an authority, who has no certificate of it is not even listened to.
func TestServer_callers(t *testing.T) {
	t.Parallel()
	var at string
	s, trust := serve(t, func(dir string) Callers {
		at = dir
		return Callers{CAFile: filepath.Join(dir, "ca.crt"), Names: []string{certificates.Caller}}
	}, http.HandlerFunc(yes))
	if ask(secure(t, s, trust), "") == nil {
		t.Error("nobody was answered")
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(at, "client.crt"), filepath.Join(at, "client.key"))
	if err != nil {
		t.Fatal(err)
	}
	with := trust.Clone()
	with.Certificates = []tls.Certificate{pair}
	if err := ask(secure(t, s, with), ""); err != nil {
		t.Errorf("the caller: %v", err)
	}
}

func TestCallers_check(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (Callers{}).Check(); err != nil {
		t.Errorf("everybody: %v", err)
	}
	for name, file := range map[string]string{"no file": filepath.Join(t.TempDir(), "none"), "an empty file": empty} {
		if (Callers{CAFile: file}).Check() == nil {
			t.Errorf("%s is an authority", name)
		}
	}
}
