package drain

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// told reports whether an answer tells its caller to go elsewhere.
func told(t *testing.T, h http.Handler) bool {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	if w.Code != http.StatusTeapot {
		t.Errorf("answered %d", w.Code)
	}
	return w.Header().Get("Connection") == "close"
}

var teapot = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })

// TestDrain: from ctx's end on callers are told to go elsewhere, and the server is shut down a Farewell later.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Drain
		ctx, end := context.WithCancel(t.Context())
		served, cancel := d.Until(ctx)
		defer cancel()
		h := d.Handler(teapot)
		time.Sleep(time.Hour)
		if told(t, h) || served.Err() != nil {
			t.Error("it ends by itself")
		}
		end()
		time.Sleep(Farewell - time.Nanosecond)
		if !told(t, h) {
			t.Error("callers are not told")
		}
		if served.Err() != nil {
			t.Error("callers have no time to go elsewhere")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if served.Err() == nil {
			t.Error("the server is not shut down")
		}
	})
}

// TestDrain_atOnce: a server that fails does not say farewell.
func TestDrain_atOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Drain
		served, cancel := d.Until(t.Context())
		cancel()
		if served.Err() == nil {
			t.Error("it goes on")
		}
		if told(t, d.Handler(teapot)) {
			t.Error("callers are told, and nobody had the server end")
		}
	})
}
