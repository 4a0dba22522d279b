package drain

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/webhook"
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

// recorder is a webhook server whose only act is to end.
type recorder struct {
	webhook.Server
	mux   *http.ServeMux
	ended chan time.Time
}

func (r *recorder) Register(path string, hook http.Handler) { r.mux.Handle(path, hook) }

func (r *recorder) Start(ctx context.Context) error {
	<-ctx.Done()
	r.ended <- time.Now()
	return nil
}

// TestServer: what is registered is told of, and the server is shut down, as Drain says.
func TestServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{mux: http.NewServeMux(), ended: make(chan time.Time, 1)}
		s := &Server{Server: r}
		s.Register("/", teapot)
		ctx, end := context.WithCancel(t.Context())
		go func() { _ = s.Start(ctx) }()
		synctest.Wait()
		if told(t, r.mux) {
			t.Error("callers are told before the end")
		}
		at := time.Now()
		end()
		synctest.Wait()
		if !told(t, r.mux) {
			t.Error("callers are not told")
		}
		if took := (<-r.ended).Sub(at); took != Farewell {
			t.Errorf("it was shut down after %s", took)
		}
	})
}
