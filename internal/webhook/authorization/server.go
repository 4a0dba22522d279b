package authorization

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/grantry/grantry/internal/webhook/serving"
)

// Path is where questions are answered.
const Path = "/authorize"

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
	// CanDecide says whether there is anything to decide by, if it is set: see serving.Server.
	CanDecide func() bool
	// Prepare is waited for before anything is served, if it is set.
	Prepare func(ctx context.Context) error

	serving serving.Server
}

var (
	_ manager.Runnable               = (*Server)(nil)
	_ manager.LeaderElectionRunnable = (*Server)(nil)
)

// NeedLeaderElection is false: every replica answers.
func (s *Server) NeedLeaderElection() bool { return false }

// ReadyCheck is a readiness check: the server listens.
func (s *Server) ReadyCheck(r *http.Request) error { return s.serving.ReadyCheck(r) }

// Addr is where the server listens, or nil.
func (s *Server) Addr() net.Addr { return s.serving.Addr() }

// Start serves until ctx ends, and then finishes what has begun.
func (s *Server) Start(ctx context.Context) error {
	certificate, err := certwatcher.New(filepath.Join(s.CertDir, "tls.crt"), filepath.Join(s.CertDir, "tls.key"))
	if err != nil {
		return fmt.Errorf("read the certificate of the authorization webhook: %w", err)
	}
	s.serving.Name, s.serving.Address, s.serving.CanDecide = "authorization", s.Address, s.CanDecide
	s.serving.TLS = &tls.Config{GetCertificate: certificate.GetCertificate} // serving sets the version
	s.serving.Callers = serving.Callers{CAFile: filepath.Join(s.CertDir, "ca.crt"), Names: s.Callers}
	if err := s.serving.Callers.Check(); err != nil {
		return err
	}
	if s.Prepare != nil {
		if err := s.Prepare(ctx); err != nil {
			return fmt.Errorf("prepare the authorization webhook: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle(Path, s.Handler)
	s.serving.Handler = mux
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return certificate.Start(groupCtx) })
	group.Go(func() error { return s.serving.Start(groupCtx) })
	return group.Wait()
}
