package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	rules "github.com/grantry/grantry/internal/admission"
	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/tracing"
)

// credentialID is where the API server says by which certificate or token a user was authenticated.
const credentialID = "authentication.kubernetes.io/credential-id"

// reviewed is a request with its answer.
type reviewed struct {
	phase    phase
	request  *webhook.AdmissionRequest
	response *webhook.AdmissionResponse
	err      error
	basis    *rules.Basis // nil unless there is a log
	began    time.Time
	took     time.Duration
}

// observe counts, traces and logs a decision. What mutating admission lets through is logged when validating
// admission has judged it: a request leaves one line.
func (d *dispatcher) observe(ctx context.Context, a *reviewed) {
	verdict := verdictOf(a.phase, a.response)
	metrics.AdmissionDecisions.WithLabelValues(a.request.Resource.Resource, string(a.request.Operation), verdict).Inc()
	metrics.AdmissionSeconds.Observe(a.took.Seconds())
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(
			attribute.String("grantry.verdict", verdict),
			attribute.String("grantry.kind", a.request.Resource.Resource),
			attribute.String("grantry.operation", string(a.request.Operation)),
			attribute.String("grantry.phase", a.phase.String()),
		)
	}
	refused := !a.response.Allowed
	if (refused || a.phase == validate) && d.Log.Wants(refused) {
		d.Log.Add(entryOf(ctx, a))
	}
}

// basis is where the rules say what they rest on, if somebody wants to know.
func (d *dispatcher) basis() *rules.Basis {
	if !d.Log.Enabled() {
		return nil
	}
	return &rules.Basis{}
}

func entryOf(ctx context.Context, a *reviewed) *decisionlog.Entry {
	r := a.request
	e := &decisionlog.Entry{
		Time: a.began, Webhook: "admission", User: r.UserInfo.Username, Groups: r.UserInfo.Groups,
		Verb: verbOf(r), Operation: string(r.Operation), DryRun: r.DryRun != nil && *r.DryRun,
		Target:  decisionlog.Target{Group: r.Resource.Group, Resource: r.Resource.Resource, Namespace: r.Namespace, Name: r.Name},
		Verdict: "allow", Refused: !a.response.Allowed, Reason: reasonOf(a.basis), Latency: a.took, TraceID: traceID(ctx),
	}
	if ids := r.UserInfo.Extra[credentialID]; len(ids) > 0 {
		e.Credential = ids[0]
	}
	if e.Refused {
		e.Verdict, e.Reason = "deny", a.response.Result.Message
		if verdictOf(a.phase, a.response) == verdictFailed {
			e.Err = a.err
		}
	}
	for _, answer := range a.basis.Answers() {
		e.Asked = append(e.Asked, decisionlog.Question{Resource: answer.Resource, AnyOf: answer.AnyOf, Grant: answer.By.Grant, ACL: answer.By.ACL})
	}
	return e
}

// verbOf is the verb of the request, as far as the API server tells: a deletecollection comes as deletions.
func verbOf(r *webhook.AdmissionRequest) string {
	var options struct {
		Kind string `json:"kind"`
	}
	if r.Operation == admissionv1.Update && json.Unmarshal(r.Options.Raw, &options) == nil && options.Kind == "PatchOptions" {
		return "patch"
	}
	return strings.ToLower(string(r.Operation))
}

// reasonOf says what allowed a request: Grants, or verbs of RBAC.
func reasonOf(b *rules.Basis) string {
	var by []string
	for _, answer := range b.Answers() {
		if answer.By.Allowed {
			by = append(by, fmt.Sprintf("Grant %s on ACL %s", answer.By.Grant, answer.By.ACL))
		}
	}
	for _, verb := range b.Verbs() {
		by = append(by, "RBAC's verb "+verb.String())
	}
	if len(by) == 0 {
		return ""
	}
	return "Allowed by " + strings.Join(by, " and ")
}

type traceKey struct{}

// withTraceID keeps the id of a request's trace, which may be in a header alone.
func withTraceID(ctx context.Context, r *http.Request) context.Context {
	if id := tracing.TraceID(r); id != "" {
		return context.WithValue(ctx, traceKey{}, id)
	}
	return ctx
}

func traceID(ctx context.Context) string {
	id, _ := ctx.Value(traceKey{}).(string)
	return id
}
