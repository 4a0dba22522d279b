package authorization

import (
	"context"
	"net/http"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/grantry/grantry/internal/authorizer"
	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/tracing"
)

// credentialID is where the API server says by which certificate or token a user was authenticated.
const credentialID = "authentication.kubernetes.io/credential-id"

// answered is a question with its answer.
type answered struct {
	http     *http.Request
	spec     *authorizationv1.SubjectAccessReviewSpec
	basis    *authorizer.Basis // nil unless there is a log
	decision authorizer.Decision
	began    time.Time
	took     time.Duration
}

// observe counts, traces and logs a decision after it was sent. It allocates nothing unless it is traced
// or logged.
func (h *Handler) observe(a *answered) {
	verdict := a.decision.Verdict.String()
	metrics.AuthorizationDecisions.WithLabelValues(verdict, a.decision.Kind.String(), familyLabel(a.decision.Family)).Inc()
	metrics.AuthorizationSeconds.WithLabelValues(verdict).Observe(a.took.Seconds())
	if span := trace.SpanFromContext(a.http.Context()); span.IsRecording() {
		describe(span, a)
	}
	if h.Log.Wants(a.decision.Refused()) {
		h.Log.Add(entryOf(a))
	}
}

// familyLabel names a family for metrics; no family, as nothing was asked, is "none".
func familyLabel(f permission.Family) string {
	if f == 0 {
		return "none"
	}
	return f.String()
}

// describe puts a decision on its span, in closed sets.
func describe(span trace.Span, a *answered) {
	span.SetAttributes(
		attribute.String("grantry.verdict", a.decision.Verdict.String()),
		attribute.String("grantry.kind", a.decision.Kind.String()),
		attribute.String("grantry.family", familyLabel(a.decision.Family)),
		attribute.String("grantry.verb", verbOf(a.spec)),
	)
}

var verbs = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}

// verbOf is a verb of the API, or "other".
func verbOf(spec *authorizationv1.SubjectAccessReviewSpec) string {
	if a := spec.ResourceAttributes; a != nil && slices.Contains(verbs, a.Verb) {
		return a.Verb
	}
	return "other"
}

func entryOf(a *answered) *decisionlog.Entry {
	e := &decisionlog.Entry{
		Time: a.began, Webhook: "authorization", User: a.spec.User, Groups: a.spec.Groups,
		Verdict: a.decision.Verdict.String(), Refused: a.decision.Refused(), Reason: a.decision.Reason, Err: a.decision.Err, Latency: a.took, TraceID: tracing.TraceID(a.http),
	}
	if ids := a.spec.Extra[credentialID]; len(ids) > 0 {
		e.Credential = ids[0]
	}
	if r := a.spec.ResourceAttributes; r != nil {
		e.Verb = r.Verb
		e.Target = decisionlog.Target{Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name}
	} else if r := a.spec.NonResourceAttributes; r != nil {
		e.Verb, e.Target.Path = r.Verb, r.Path
	}
	if a.basis == nil {
		return e
	}
	e.Asked = make([]decisionlog.Question, len(a.basis.Answers))
	for i, answer := range a.basis.Answers {
		e.Asked[i] = decisionlog.Question{Resource: answer.Resource, AnyOf: answer.AnyOf, Grant: answer.Verdict.Grant, ACL: answer.Verdict.ACL}
	}
	return e
}

// basis is where the authorizer says what it rests on, if somebody wants to know.
func (h *Handler) basis() *authorizer.Basis {
	if !h.Log.Enabled() {
		return nil
	}
	return &authorizer.Basis{}
}

// failed counts and logs that a panic was caught, and at what.
func failed(ctx context.Context, spec *authorizationv1.SubjectAccessReviewSpec, err error) {
	metrics.AuthorizationPanics.Inc()
	log := logger(ctx).WithValues("user", spec.User)
	if a := spec.ResourceAttributes; a != nil {
		log = log.WithValues("verb", a.Verb, "group", a.Group, "resource", a.Resource, "subresource", a.Subresource, "namespace", a.Namespace, "name", a.Name)
	}
	log.Error(err, "Could not decide")
}
