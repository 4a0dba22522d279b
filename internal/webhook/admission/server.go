package admission

import (
	"context"
	"crypto/tls"
	"net/http"

	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/grantry/grantry/internal/webhook/serving"
)

const (
	// An AdmissionReview has up to 7 MiB, of two objects, and most have a few thousand bytes. These must not wait for a few
	// that are large, or slow to come: the first smallReview bytes of each count in one budget, with costOfRequest for each,
	// and the others in another. Each budget is of heldBodies bytes.
	heldBodies    = 32 << 20
	smallReview   = 64 << 10
	costOfRequest = 16 << 10
)

// Server is the manager's webhook server, served as the authorization webhook is.
type Server struct {
	// Address is where to listen.
	Address string
	// TLS has the certificate.
	TLS *tls.Config
	// Callers are who may call. The zero value is everybody: an API server has no certificate for admission webhooks
	// unless it was given one.
	Callers serving.Callers
	// CanDecide says whether there is anything to decide by, if it is set: see serving.Server.
	CanDecide func() bool

	hooks   webhook.DefaultServer // counts requests
	serving serving.Server
}

var _ webhook.Server = (*Server)(nil)

// NeedLeaderElection is false: every replica answers.
func (s *Server) NeedLeaderElection() bool { return false }

// Register serves a webhook at a path.
func (s *Server) Register(path string, hook http.Handler) { s.hooks.Register(path, hook) }

// WebhookMux has the webhooks, once one is registered.
func (s *Server) WebhookMux() *http.ServeMux { return s.hooks.WebhookMux() }

// StartedChecker is a readiness check: the server listens.
func (s *Server) StartedChecker() healthz.Checker { return s.serving.ReadyCheck }

// Start serves until ctx ends, and then finishes what has begun.
func (s *Server) Start(ctx context.Context) error {
	s.serving.Name, s.serving.Address, s.serving.TLS, s.serving.Callers = "admission", s.Address, s.TLS, s.Callers
	s.serving.CanDecide = s.CanDecide
	s.serving.Handler = bounded(s.hooks.WebhookMux())
	return s.serving.Start(ctx)
}

// bounded serves reviews at the expense of both budgets.
func bounded(next http.Handler) http.Handler {
	small, large := &serving.Budget{Most: heldBodies, Upto: smallReview}, &serving.Budget{Most: heldBodies, Free: smallReview}
	return small.Handler(costOfRequest, large.Handler(0, next))
}
