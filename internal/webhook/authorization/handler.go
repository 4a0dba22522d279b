// Package authorization answers the API server's SubjectAccessReviews over HTTP.
//
// It reads, decodes and writes; what is allowed is the authorizer's to say. A "no" is an answer with status
// 200, and so is one to a question that is too long. Another status says that the request was not a question, and leaves
// it to the API server's failure policy.
package authorization

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	kjson "sigs.k8s.io/json"

	"github.com/grantry/grantry/internal/authorizer"
	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/webhook/serving"
)

// MaxBody is how long a body may be.
const MaxBody = 1 << 20

const (
	// maxKept is the longest body whose buffer is kept for others.
	maxKept   = 64 << 10
	mediaJSON = "application/json"
)

// large are the bodies beyond what a question takes, such as those of huge label selectors, which anybody may have the
// API server send. What is decoded of one is several times its size, and the process has one memory.
var large = serving.Budget{Most: 32 << 20, Free: maxKept}

// Authorizer decides.
type Authorizer interface {
	Authorize(ctx context.Context, r *authorizer.Request) authorizer.Decision
	// Failed is the decision on a request that could not be decided.
	Failed(reason string, err error) authorizer.Decision
}

// Handler answers POSTs of a SubjectAccessReview in JSON.
type Handler struct {
	Authorizer Authorizer
	// Clock measures how long answers take.
	Clock clock.PassiveClock
	// Log is told of each decision, if it is set.
	Log *decisionlog.Log
}

var _ http.Handler = (*Handler)(nil)

var (
	reviewKind = authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview")
	reviewType = metav1.TypeMeta{APIVersion: reviewKind.GroupVersion().String(), Kind: reviewKind.Kind}
)

// answer is a SubjectAccessReview without the question, which the caller knows.
type answer struct {
	metav1.TypeMeta
	Status authorizationv1.SubjectAccessReviewStatus `json:"status"`
}

// refusal is why a request is not a question, or can't be read as one.
type refusal struct {
	code int
	err  error
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := answered{http: r, began: h.Clock.Now()}
	body := large.Reader(http.MaxBytesReader(w, r.Body, MaxBody))
	defer body.Release()
	spec, refused := read(r, body)
	switch {
	case refused == nil:
		a.spec, a.basis = spec, h.basis()
		a.decision = h.decide(r.Context(), spec, a.basis)
	case refused.isOfQuestion():
		metrics.AuthorizationRefusedRequests.WithLabelValues(strconv.Itoa(refused.code)).Inc()
		a.spec = &authorizationv1.SubjectAccessReviewSpec{} // who asks for what was not read
		a.decision = h.Authorizer.Failed(refused.err.Error(), nil)
	default:
		refuse(w, r, refused)
		return
	}
	write(w, r, http.StatusOK, statusOf(a.decision))
	a.took = h.Clock.Since(a.began)
	h.observe(&a)
}

// isOfQuestion says that the request is taken for a question, but takes too much to be read: that comes of what a user
// asked the API server for, which would make a failure of Grantry's of another status. It is answered no.
func (r *refusal) isOfQuestion() bool {
	return r.code == http.StatusRequestEntityTooLarge || r.code == http.StatusServiceUnavailable
}

// refuse answers what is not a question.
func refuse(w http.ResponseWriter, r *http.Request, why *refusal) {
	metrics.AuthorizationRefusedRequests.WithLabelValues(strconv.Itoa(why.code)).Inc()
	if why.code == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", http.MethodPost)
	}
	write(w, r, why.code, authorizationv1.SubjectAccessReviewStatus{EvaluationError: why.err.Error()})
}

// read returns the question, or why there is none.
func read(r *http.Request, from io.Reader) (*authorizationv1.SubjectAccessReviewSpec, *refusal) {
	if r.Method != http.MethodPost {
		return nil, &refusal{http.StatusMethodNotAllowed, errors.New("only POST is served")}
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, &refusal{http.StatusUnsupportedMediaType, errors.New("only application/json is served")}
	}
	body := bodies.Get().(*bytes.Buffer) // the pool makes no others
	defer putBack(body)
	_, err := body.ReadFrom(from)
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		return nil, &refusal{http.StatusRequestEntityTooLarge, fmt.Errorf("no question of more than %d bytes is read: ask with a shorter selector", MaxBody)}
	}
	if errors.Is(err, serving.ErrBusy) {
		return nil, &refusal{http.StatusServiceUnavailable, errors.New("too many long questions are asked at once: try again, or ask with a shorter selector")}
	}
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, errors.New("the body could not be read")}
	}
	spec, err := decode(body.Bytes())
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, err}
	}
	return spec, nil
}

func isJSON(contentType string) bool {
	if contentType == mediaJSON {
		return true // as the API server writes it
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == mediaJSON
}

// bodies are read into buffers that are used again. What is decoded shares nothing with them.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// putBack keeps a buffer for the next body, unless it has grown far beyond what a question takes.
func putBack(body *bytes.Buffer) {
	if body.Cap() <= maxKept {
		body.Reset()
		bodies.Put(body)
	}
}

// decode reads a SubjectAccessReview of v1, and no other kind. It reads JSON and nothing else, names of fields
// as they are written, and leaves alone those that it doesn't know: the API server may be newer than Grantry.
// There is one kind, so the body is read once: a serializer reads it a second time to find the kind, which
// costs more than to decide. Errors don't repeat the body.
func decode(body []byte) (*authorizationv1.SubjectAccessReviewSpec, error) {
	review := &authorizationv1.SubjectAccessReview{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(body, review); err != nil || review.GroupVersionKind() != reviewKind {
		return nil, fmt.Errorf("the body is not a %s of %s", reviewKind.Kind, reviewKind.GroupVersion())
	}
	if (review.Spec.ResourceAttributes == nil) == (review.Spec.NonResourceAttributes == nil) {
		return nil, errors.New("exactly one of resourceAttributes and nonResourceAttributes must be there")
	}
	return &review.Spec, nil
}

// requestOf is the authorizer's request for a question about a resource. A raw selector is ignored, and so
// are requirements that come with one: two selectors that say different things narrow nothing.
func requestOf(spec *authorizationv1.SubjectAccessReviewSpec) *authorizer.Request {
	a := spec.ResourceAttributes
	r := &authorizer.Request{
		User: spec.User, Groups: spec.Groups, Verb: a.Verb, Group: a.Group, Resource: a.Resource, Subresource: a.Subresource,
		Namespace: a.Namespace, Name: a.Name,
	}
	if a.LabelSelector != nil && a.LabelSelector.RawSelector == "" {
		r.Requirements = a.LabelSelector.Requirements
	}
	if r.Name == "" {
		r.Name = selectedName(a)
	}
	return r
}

// selectedName is the one name that a field selector leaves, or nothing. The API server says it itself where it asks
// about a list or a watch, and does not for a deletecollection.
func selectedName(a *authorizationv1.ResourceAttributes) string {
	if a.FieldSelector == nil || a.FieldSelector.RawSelector != "" || a.Verb != "deletecollection" {
		return ""
	}
	for i := range a.FieldSelector.Requirements {
		r := &a.FieldSelector.Requirements[i]
		if r.Key == "metadata.name" && r.Operator == metav1.FieldSelectorOpIn && len(r.Values) == 1 {
			return r.Values[0]
		}
	}
	return ""
}

// decide asks the authorizer. A panic allows nothing.
func (h *Handler) decide(ctx context.Context, spec *authorizationv1.SubjectAccessReviewSpec, basis *authorizer.Basis) (d authorizer.Decision) {
	defer func() {
		if p := recover(); p != nil {
			failed(ctx, spec, fmt.Errorf("panic: %v", p))
			d = h.Authorizer.Failed("Grantry could not decide", errors.New("internal error"))
		}
	}()
	if spec.ResourceAttributes == nil {
		return authorizer.Decision{} // paths such as /healthz are not Grantry's
	}
	request := requestOf(spec)
	request.Basis = basis
	d = h.Authorizer.Authorize(ctx, request)
	if d.Err != nil {
		logger(ctx).V(1).Info("Could not decide", "error", d.Err.Error(), "verdict", d.Verdict.String())
	}
	return d
}

func logger(ctx context.Context) logr.Logger { return ctrl.LoggerFrom(ctx).WithName("authorization") }

// statusOf says a decision in the API's words.
func statusOf(d authorizer.Decision) authorizationv1.SubjectAccessReviewStatus {
	status := authorizationv1.SubjectAccessReviewStatus{
		Allowed: d.Verdict == authorizer.Allow, Denied: d.Verdict == authorizer.Deny, Reason: d.Reason,
	}
	if d.Err != nil && !status.Allowed {
		status.EvaluationError = "Grantry could not find out what it needs to decide" // what failed is in the log
	}
	return status
}

// write sends an answer of the question's kind.
func write(w http.ResponseWriter, r *http.Request, code int, status authorizationv1.SubjectAccessReviewStatus) {
	body, err := json.Marshal(&answer{TypeMeta: reviewType, Status: status})
	if err == nil {
		w.Header().Set("Content-Type", mediaJSON)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.WriteHeader(code)
		_, err = w.Write(body)
	}
	if err != nil { // who asked has gone
		logger(r.Context()).V(2).Info("Could not answer", "error", err.Error())
	}
}
