// Package admission serves the admission webhooks of Grantry's kinds.
//
// It decodes, asks what only the API server knows, and writes; what is admitted is for the pure rules in
// internal/admission to say. There is one path for mutating and one for validating admission, and for each
// kind one file with the rules that it is handed to.
package admission

import (
	"fmt"
	"net/http"

	"github.com/go-logr/logr"
	authorizationv1client "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
	"github.com/grantry/grantry/internal/tracing"
)

// The paths that are served.
const (
	PathMutate   = "/mutate"
	PathValidate = "/validate"
)

// Policy has the current snapshot, or nil as long as there is none to decide by.
type Policy interface {
	Snapshot() *effective.Snapshot
	// Unavailable says why there is none.
	Unavailable() error
}

// Settings are what admission decides by.
type Settings struct {
	Policy Policy
	// Clock tells the time at which windows are judged.
	Clock clock.PassiveClock
	Mode  permission.SecurityMode
	// Operator is the user name of Grantry itself.
	Operator string
	// Rule says which ACLs, Grants and Groups count, and has the key by which admission attests new ones.
	Rule policystore.Rule
	// Log and Traces tell about decisions. Nil is off.
	Log    *decisionlog.Log
	Traces *tracing.Provider
}

// Setup registers every webhook with a server. The manager's cache must have the indexes of internal/index.
func Setup(mgr ctrl.Manager, server webhook.Server, s Settings) error {
	reviews, err := authorizationv1client.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make a client for SubjectAccessReviews: %w", err)
	}
	d := &dispatcher{Settings: s, reviews: reviews.SubjectAccessReviews(), cached: mgr.GetClient(), live: mgr.GetAPIReader(), kinds: kinds(s)}
	server.Register(PathMutate, d.webhook(mutate))
	server.Register(PathValidate, d.webhook(validate))
	return nil
}

// plainLog adds nothing to the log: it would cost each request what no line of ours holds.
func plainLog(base logr.Logger, _ *webhook.AdmissionRequest) logr.Logger { return base }

// kinds are the rules of each resource.
func kinds(s Settings) map[string]reviewer {
	return map[string]reviewer{
		"jobs":    jobHooks(),
		"jobruns": runHooks(),
		"acls":    aclHooks(s),
		"grants":  grantHooks(s),
		"groups":  groupHooks(s),
	}
}

// webhook serves a phase, each request in a span.
func (d *dispatcher) webhook(p phase) http.Handler {
	hook := &webhook.Admission{Handler: d.handler(p), LogConstructor: plainLog}
	if d.Log.Enabled() {
		hook.WithContextFunc = withTraceID
	}
	return d.Traces.Handler("admit", hook)
}
