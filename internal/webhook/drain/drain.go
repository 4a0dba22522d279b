// Package drain ends servers, and keeps callers off those that can't answer, so that no caller loses a request.
//
// A server that is shut down closes the connections on which nothing is asked, and what a caller sends on one of them
// in that moment is lost: it can't know, and the API server does not ask admission webhooks twice. So for a while
// before, each answer tells its caller to go elsewhere. A question can't be under way on a connection that is given up
// with the answer to the last one.
package drain

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// Farewell is how long callers are told before a server is shut down: more than one under load lets pass between two
// questions on one connection.
const Farewell = time.Second

// Drain is one server's. Its zero value is ready for use.
type Drain struct{ leaving atomic.Bool }

// Handler is next, and tells callers to go elsewhere once the server is about to stop.
func (d *Drain) Handler(next http.Handler) http.Handler { return Elsewhere(next, d.leaving.Load) }

// Elsewhere is next, and gives up a caller's connection with the answer whenever isTo says so.
func Elsewhere(next http.Handler, isTo func() bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isTo() {
			w.Header().Set("Connection", "close") // in HTTP/2 a GOAWAY
		}
		next.ServeHTTP(w, r)
	})
}

// Until returns a context that outlives ctx by the Farewell: at its end the server is to be shut down. The function
// ends it at once, and must be called.
func (d *Drain) Until(ctx context.Context) (context.Context, context.CancelFunc) {
	served, cancel := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() {
		d.leaving.Store(true)
		pause := time.NewTimer(Farewell)
		defer pause.Stop()
		select {
		case <-pause.C:
			cancel()
		case <-served.Done():
		}
	})
	return served, func() {
		forget()
		cancel()
	}
}
