package admission

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestBounded: where large reviews hold all that they may, what is small is read, and nothing that is larger.
func TestBounded(t *testing.T) {
	t.Parallel()
	const many = 8
	held, free := make(chan error, many), make(chan struct{})
	handler := bounded(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			w.WriteHeader(http.StatusTeapot)
		}
		if r.URL.Path == "/hold" {
			held <- err
			<-free
		}
	}))
	send := func(path string, bytes int) int {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(strings.Repeat(" ", bytes))))
		return recorder.Code
	}
	ended := make(chan int, many)
	for range many {
		go func() { ended <- send("/hold", smallReview+heldBodies/many) }()
	}
	for range many {
		if err := <-held; err != nil {
			t.Errorf("a large one: %v", err)
		}
	}
	if got := send("/", smallReview); got != http.StatusOK {
		t.Errorf("a small one beside them: status %d", got)
	}
	if got := send("/", smallReview+1); got != http.StatusTeapot {
		t.Errorf("a larger one beside them: status %d", got)
	}
	close(free)
	for range many {
		<-ended
	}
	if got := send("/", smallReview+1); got != http.StatusOK {
		t.Errorf("a larger one after them: status %d", got)
	}
}
