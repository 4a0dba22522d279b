package serving

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
)

// room is a listener for so many strangers and known connections. The function accepts one more.
func room(t *testing.T, most int) (l *connections, accept func() (near *connection, far net.Conn)) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l = bound(listener, "test", most)
	t.Cleanup(func() { _ = l.Close() })
	return l, func() (*connection, net.Conn) {
		t.Helper()
		far, err := (&net.Dialer{Timeout: waitFor}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = far.Close() })
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c.(*connection), far
	}
}

// expect says which of some connections must be open, and that the others are closed.
func expect(t *testing.T, when string, far []net.Conn, open ...int) {
	t.Helper()
	stays := map[int]bool{}
	for _, i := range open {
		stays[i] = true
	}
	for i, c := range far {
		if stays[i] && !isOpen(c) {
			t.Errorf("%s: connection %d is closed", when, i)
		}
		if !stays[i] && !isClosed(c) {
			t.Errorf("%s: connection %d is open", when, i)
		}
	}
}

// TestConnections_strangers: the one goes that came first.
func TestConnections_strangers(t *testing.T) {
	t.Parallel()
	_, accept := room(t, 2)
	far := make([]net.Conn, 3)
	for i := range far {
		_, far[i] = accept()
	}
	expect(t, "three strangers", far, 1, 2)
}

// TestConnections_known: the one goes that was used for longest ago, unless it is owed an answer; if each is, the newcomer
// goes.
func TestConnections_known(t *testing.T) {
	t.Parallel()
	l, accept := room(t, 2)
	near, far := make([]*connection, 5), make([]net.Conn, 5)
	next := func(i int) {
		near[i], far[i] = accept()
		near[i].asks()
	}
	next(0)
	next(1)
	near[1].answered()
	near[0].answered()
	next(2) // for which 1 goes: 0 was used after it
	expect(t, "one that was not used for longest", far[:3], 0, 2)
	near[0].asks()
	near[2].answered()
	next(3) // for which 2 goes: 0 was not used for longer, and waits for its answer
	expect(t, "one that is owed an answer", far[:4], 0, 3)
	next(4) // which goes
	expect(t, "each is owed one", far, 0, 3)
	near[4].answered() // ends after its connection
	_ = near[0].Close()
	_ = near[0].Close()
	_ = near[3].Close()
	if len(l.known) != 0 || l.strangers.Len() != 0 {
		t.Errorf("%d known and %d strangers are left", len(l.known), l.strangers.Len())
	}
}

// TestKnown_answersWhomItHasRead: who asks much does not end the connection of who waits for an answer.
func TestKnown_answersWhomItHasRead(t *testing.T) {
	t.Parallel()
	l, _ := room(t, 2)
	isAsked, goOn := make(chan struct{}), make(chan struct{})
	server := &http.Server{ConnContext: remember, ReadHeaderTimeout: waitFor, Handler: known(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) == "wait" {
			close(isAsked)
			<-goOn
		}
		w.WriteHeader(http.StatusOK)
	}))}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	dial := func() net.Conn {
		c, err := (&net.Dialer{Timeout: waitFor}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	patient, answer := dial(), make(chan error, 1)
	go func() { answer <- ask(patient, "wait") }()
	<-isAsked
	for i := range 5 {
		if err := ask(dial(), ""); err != nil {
			t.Errorf("number %d of others: %v", i, err)
		}
	}
	close(goOn)
	if err := <-answer; err != nil {
		t.Errorf("who waited: %v", err)
	}
	_ = server.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
