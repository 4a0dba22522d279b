// Package serving is how the webhooks are served: over TLS, to callers that may be made to prove who they are, and so
// that those who don't can't take the process down.
//
//	connection ─► stranger ─► (handshake) ─► first request, read to its end ─► known ─► answers
//	                 │                                                │          └ too many: the one unused for longest goes
//	                 └ too many: the one that came first goes         └ Budget: what bodies hold of memory
//
// Whoever is slow loses a place to whoever is not: a caller that means well is known within milliseconds. The bounds are
// of all callers together, for the sake of the process. No caller has a share of its own: who sends enough, and may, can
// keep others from being answered. Against that there are Callers.
package serving

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/grantry/grantry/internal/webhook/drain"
)

const (
	// headerTimeout also bounds the handshake.
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	answerTimeout = 15 * time.Second
	idleTimeout   = 5 * time.Minute
	drainTimeout  = answerTimeout + time.Second
	maxHeader     = 16 << 10 // bytes

	// MaxConnections is how many connections of strangers are open at most, and how many of callers that are known: see
	// connections.
	// An API server has one of HTTP/2, or a few.
	MaxConnections = 512
)

// Server serves a handler, on every replica. Start may be called once.
type Server struct {
	// Name is what is served, for errors and the log: "authorization".
	Name string
	// Address is where to listen.
	Address string
	// TLS has the certificate.
	TLS *tls.Config
	// Callers are who may call.
	Callers Callers
	Handler http.Handler
	// CanDecide says whether this replica has anything to decide by, if it is set. While it has not, each answer sends its
	// caller elsewhere: what readiness keeps away are new connections, and an API server goes on with those it has.
	CanDecide func() bool

	listening atomic.Pointer[net.TCPAddr]
	drain     drain.Drain
}

// ReadyCheck is a readiness check: the server listens.
func (s *Server) ReadyCheck(*http.Request) error {
	if s.listening.Load() == nil {
		return errors.New("the webhook does not listen yet")
	}
	return nil
}

// Addr is where the server listens, or nil.
func (s *Server) Addr() net.Addr {
	if a := s.listening.Load(); a != nil {
		return a
	}
	return nil
}

// Start serves until ctx ends, and then finishes what has begun. What takes longer than drainTimeout is cut off, and is no
// error: strangers may send slowly.
func (s *Server) Start(ctx context.Context) error {
	config, err := s.Callers.require(s.TLS)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listen for %s requests: %w", s.Name, err)
	}
	logger := ctrl.LoggerFrom(ctx).WithName(s.Name)
	server := &http.Server{
		Handler: s.drain.Handler(drain.Elsewhere(known(s.Handler), s.cannotDecide)), TLSConfig: config, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
		ConnContext: remember, ErrorLog: log.New(Complaints(logger), "", 0),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	address, _ := listener.Addr().(*net.TCPAddr)
	s.listening.Store(address)
	logger.Info("Serving", "requests", s.Name, "address", listener.Addr().String())

	group, groupCtx := errgroup.WithContext(ctx)
	served, cancel := s.drain.Until(groupCtx)
	defer cancel()
	group.Go(func() error {
		if err := server.ServeTLS(bound(listener, s.Name, MaxConnections), "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s requests: %w", s.Name, err)
		}
		return nil
	})
	group.Go(func() error {
		<-groupCtx.Done()
		s.listening.Store(nil)
		<-served.Done()
		return finish(ctrl.LoggerInto(context.WithoutCancel(ctx), logger), server, drainTimeout)
	})
	return group.Wait()
}

// cannotDecide reports whether callers do better elsewhere.
func (s *Server) cannotDecide() bool { return s.CanDecide != nil && !s.CanDecide() }

// finish shuts a server down, and cuts off what has not ended by the timeout.
func finish(ctx context.Context, server *http.Server, timeout time.Duration) error {
	last, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := server.Shutdown(last)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	ctrl.LoggerFrom(ctx).Info("Cut off what had not ended in time", "timeout", timeout.String())
	return server.Close()
}
