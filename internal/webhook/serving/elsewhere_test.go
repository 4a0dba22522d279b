package serving

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/grantry/grantry/internal/webhook/drain"
)

// TestElsewhere: on HTTP/2, as API servers speak it, a caller leaves a replica that can't decide with the first answer,
// and keeps its connection to one that can.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	var can atomic.Bool
	s := &Server{CanDecide: can.Load}
	server := httptest.NewUnstartedServer(drain.Elsewhere(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.RemoteAddr)) // to a recorder of a test
	}), s.cannotDecide))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	from := func() string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		address := make([]byte, 64)
		n, _ := response.Body.Read(address)
		if response.ProtoMajor != 2 {
			t.Errorf("spoke %s", response.Proto)
		}
		return string(address[:n])
	}
	can.Store(true)
	first := from()
	if again := from(); again != first {
		t.Errorf("a caller of a replica that can decide came from %s, and then from %s", first, again)
	}
	can.Store(false)
	if last := from(); last != first {
		t.Errorf("came from %s, which is too early", last)
	}
	if after := from(); after == first {
		t.Error("a caller of a replica that can't decide comes again on the same connection")
	}
}
