package serving

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestFinish_cutsOff: a request that does not end in time is cut off, and that is no error: the process is told to end,
// and what it ends with must not be for a stranger to choose.
func TestFinish_cutsOff(t *testing.T) {
	t.Parallel()
	begun, cut := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(cut)
	}))
	t.Cleanup(server.Close)
	answered := make(chan error, 1)
	go func() {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err == nil {
			var response *http.Response
			if response, err = server.Client().Do(request); err == nil {
				err = response.Body.Close()
			}
		}
		answered <- err
	}()
	<-begun
	if err := finish(t.Context(), server.Config, 50*time.Millisecond); err != nil {
		t.Errorf("the server ended with: %v", err)
	}
	<-cut
	if err := <-answered; err == nil {
		t.Error("the request was answered")
	}
}
