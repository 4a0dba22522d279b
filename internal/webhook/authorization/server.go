package authorization

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/grantry/grantry/internal/webhook/drain"
)

const (
	// Path is where questions are answered.
	Path = "/authorize"

	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	answerTimeout = 15 * time.Second
	idleTimeout   = 5 * time.Minute
	drainTimeout  = 10 * time.Second
	maxHeader     = 16 << 10
)

// Server serves the handler to callers with a client certificate. It runs on every replica.
type Server struct {
	// Address is where to listen.
	Address string
	// CertDir holds tls.crt, tls.key and ca.crt, which callers' certificates must be signed by. All three
	// may be replaced at any time.
	CertDir string
	// Callers are the common names of the certificates that may call; empty for whatever ca.crt signed.
	Callers []string
	Handler http.Handler
	// Prepare is waited for before anything is served, if it is set.
	Prepare func(ctx context.Context) error

	listening atomic.Pointer[net.TCPAddr]
	drain     drain.Drain
}

var (
	_ manager.Runnable               = (*Server)(nil)
	_ manager.LeaderElectionRunnable = (*Server)(nil)
)

// NeedLeaderElection is false: every replica answers.
func (s *Server) NeedLeaderElection() bool { return false }

// ReadyCheck is a readiness check: the server listens.
func (s *Server) ReadyCheck(*http.Request) error {
	if s.listening.Load() == nil {
		return errors.New("the authorization webhook does not listen yet")
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

// Start serves until ctx ends, and then finishes what has begun.
func (s *Server) Start(ctx context.Context) error {
	certificate, err := certwatcher.New(filepath.Join(s.CertDir, "tls.crt"), filepath.Join(s.CertDir, "tls.key"))
	if err != nil {
		return fmt.Errorf("read the certificate of the authorization webhook: %w", err)
	}
	if _, err = s.clientCAs(); err != nil {
		return err
	}
	if s.Prepare != nil {
		if err = s.Prepare(ctx); err != nil {
			return fmt.Errorf("prepare the authorization webhook: %w", err)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listen for authorization requests: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle(Path, s.Handler)
	server := &http.Server{
		Handler: s.drain.Handler(mux), TLSConfig: s.tlsConfig(certificate), MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	address, _ := listener.Addr().(*net.TCPAddr)
	s.listening.Store(address)
	ctrl.LoggerFrom(ctx).WithName("authorization").Info("Serving authorization requests", "address", listener.Addr().String())

	group, groupCtx := errgroup.WithContext(ctx)
	served, cancel := s.drain.Until(groupCtx)
	defer cancel()
	group.Go(func() error { return certificate.Start(groupCtx) })
	group.Go(func() error {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve authorization requests: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-groupCtx.Done()
		s.listening.Store(nil)
		<-served.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		return server.Shutdown(last)
	})
	return group.Wait()
}

// tlsConfig asks for a client certificate. The CA is read anew for each connection, of which the API server
// keeps few: so a replaced file counts at once, and a broken one lets nobody in.
func (s *Server) tlsConfig(certificate *certwatcher.CertWatcher) *tls.Config {
	base := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: certificate.GetCertificate, ClientAuth: tls.RequireAndVerifyClientCert, VerifyConnection: s.checkCaller,
	}
	with := base.Clone()
	with.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pool, err := s.clientCAs()
		if err != nil {
			return nil, err
		}
		c := base.Clone()
		c.ClientCAs = pool
		return c, nil
	}
	return with
}

// checkCaller also sees resumed connections, whose certificate was verified when they began.
func (s *Server) checkCaller(state tls.ConnectionState) error {
	if len(s.Callers) == 0 {
		return nil
	}
	if len(state.PeerCertificates) == 0 || !slices.Contains(s.Callers, state.PeerCertificates[0].Subject.CommonName) {
		return errors.New("this certificate may not ask for authorization")
	}
	return nil
}

func (s *Server) clientCAs() (*x509.CertPool, error) {
	file := filepath.Join(s.CertDir, "ca.crt")
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the CA of the authorization webhook's callers: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}
