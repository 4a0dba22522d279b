package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	authorizationv1client "k8s.io/client-go/kubernetes/typed/authorization/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	cradmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	rules "github.com/grantry/grantry/internal/admission"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/metrics"
)

// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

// dispatcher hands each request to the rules of its kind.
type dispatcher struct {
	Settings
	reviews authorizationv1client.SubjectAccessReviewInterface
	cached  client.Reader
	live    client.Reader
	kinds   map[string]reviewer // by resource
}

// handler answers the requests of a phase.
func (d *dispatcher) handler(p phase) webhook.AdmissionHandler {
	return cradmission.HandlerFunc(func(ctx context.Context, raw webhook.AdmissionRequest) webhook.AdmissionResponse {
		began := d.Clock.Now()
		kind, known := d.kinds[raw.Resource.Resource]
		operation := operationOf(raw.Operation)
		if !known || operation == 0 || raw.SubResource != "" {
			return cradmission.Errored(http.StatusBadRequest, fmt.Errorf("admission does not serve %s of %s", raw.Operation, raw.Resource.Resource))
		}
		snapshot, unavailable := d.policy()
		request := rules.Request{
			Operation: operation, By: rules.Requester{Name: raw.UserInfo.Username, Groups: raw.UserInfo.Groups},
			Snapshot: snapshot, Unavailable: unavailable, Mode: d.Mode, Operator: d.Operator, At: began, Ask: d.ask(ctx, &raw.UserInfo),
			LiveACL: d.liveACL(ctx), Jobs: d.jobs(ctx), Cluster: cluster{ctx: ctx, cached: d.cached, live: d.live}, Basis: d.basis(),
		}
		out, err := decide(ctx, kind, p, &request, &raw)
		response := responseOf(out, err)
		d.observe(ctx, &reviewed{phase: p, request: &raw, response: &response, err: err, basis: request.Basis, began: began, took: d.Clock.Since(began)})
		return response
	})
}

// errPanic is all that a requester is told of a panic.
var errPanic = errors.New("internal error: Grantry could not decide, its log has why")

// decide asks the rules of a kind. A panic lets nothing in.
func decide(ctx context.Context, kind reviewer, p phase, r *rules.Request, raw *webhook.AdmissionRequest) (out outcome, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			metrics.AdmissionPanics.Inc()
			ctrl.LoggerFrom(ctx).Error(fmt.Errorf("panic: %v", problem), "Could not decide", "user", raw.UserInfo.Username,
				"operation", raw.Operation, "resource", raw.Resource.Resource, "namespace", raw.Namespace, "name", raw.Name)
			out, err = outcome{}, errPanic
		}
	}()
	return kind.review(p, r, raw)
}

// policy is the current snapshot, or why there is none.
func (d *dispatcher) policy() (*effective.Snapshot, error) {
	if snapshot := d.Policy.Snapshot(); snapshot != nil {
		return snapshot, nil
	}
	return nil, d.Policy.Unavailable()
}

// ask asks the API server on behalf of a user.
func (d *dispatcher) ask(ctx context.Context, user *authenticationv1.UserInfo) rules.Ask {
	return func(q rules.Question) (bool, error) {
		extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
		for key, values := range user.Extra {
			extra[key] = authorizationv1.ExtraValue(values)
		}
		review, err := d.reviews.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: q.Verb, Group: q.Group, Version: "*", Resource: q.Resource, Namespace: q.Namespace, Name: q.Name,
			},
		}}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return review.Status.Allowed && !review.Status.Denied, nil
	}
}

// responseOf is the answer to the API server.
func responseOf(out outcome, err error) webhook.AdmissionResponse {
	var refusal *rules.Refusal
	switch {
	case err == nil:
		return webhook.Patched("", out.patch...).WithWarnings(out.warnings...)
	case errors.As(err, &refusal):
		return refused(refusal).WithWarnings(out.warnings...)
	case errors.Is(err, errUndecodable):
		return cradmission.Errored(http.StatusBadRequest, err)
	}
	return cradmission.Errored(http.StatusInternalServerError, err)
}

// refused is the answer to a request that the rules refuse.
func refused(r *rules.Refusal) webhook.AdmissionResponse {
	response := webhook.Denied(r.Text)
	switch r.Cause {
	case rules.Forbidden:
	case rules.Invalid:
		response.Result.Code, response.Result.Reason = http.StatusUnprocessableEntity, metav1.StatusReasonInvalid
	case rules.Unavailable:
		response.Result.Code, response.Result.Reason = http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable
	}
	return response
}

// verdictFailed is the verdict on what could not be decided.
const verdictFailed = "failed"

// fault are the codes of what is the request's fault: nobody makes Grantry fail by what he asks.
var fault = []int32{http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity}

// verdictOf is what metrics count a response as.
func verdictOf(p phase, response *webhook.AdmissionResponse) string {
	switch {
	case response.Allowed && p == mutate && len(response.Patches) > 0:
		return "patched"
	case response.Allowed:
		return "allowed"
	case slices.Contains(fault, response.Result.Code):
		return "refused"
	}
	return verdictFailed
}
