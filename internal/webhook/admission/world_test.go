package admission

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	authorizationv1client "k8s.io/client-go/kubernetes/typed/authorization/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/attestation"
	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/index"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const grantry = "system:serviceaccount:grantry-system:grantry"

// fixed is a Policy that does not change: alice has full on dev.batch, root everything.
type fixed struct{ snapshot *effective.Snapshot }

func (p fixed) Snapshot() *effective.Snapshot { return p.snapshot }

func (fixed) Unavailable() error { return nil } // there is always one

func policy(tb testing.TB) fixed {
	tb.Helper()
	snapshot, problems := effective.Build(effective.Input{
		ACLs: []effective.ACL{
			{Name: "dev-batch", Resource: permission.JobResource("metronome", "dev.batch")}, {Name: "all", Resource: permission.Superuser()},
		},
		Grants: []effective.Grant{
			{Name: "alice-dev-batch", ACL: "dev-batch", Actions: permission.Full, Subjects: []effective.Subject{effective.UserSubject("alice")}},
			{Name: "root-all", ACL: "all", Actions: permission.Full, Subjects: []effective.Subject{effective.UserSubject("root")}},
		},
	})
	if len(problems) > 0 {
		tb.Fatal(problems)
	}
	return fixed{snapshot}
}

// rbac answers SubjectAccessReviews: carla holds every verb, and whoever asks as "nobody" gets no answer.
type rbac struct {
	authorizationv1client.SubjectAccessReviewInterface
	asked *atomic.Int32 // how often, if it is set
}

var errAway = errors.New("the API server is away")

func (b rbac) Create(_ context.Context, r *authorizationv1.SubjectAccessReview, _ metav1.CreateOptions) (*authorizationv1.SubjectAccessReview, error) {
	if b.asked != nil {
		b.asked.Add(1)
	}
	if r.Spec.User == "nobody" {
		return nil, errAway
	}
	r.Status.Allowed = r.Spec.User == "carla"
	return r, nil
}

// dispatch makes a dispatcher over Jobs that are there.
func dispatch(tb testing.TB, log *decisionlog.Log, there ...client.Object) *dispatcher {
	tb.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		tb.Fatal(err)
	}
	builder := fake.NewClientBuilder().WithScheme(scheme).WithObjects(there...)
	for _, f := range index.Fields() {
		builder = builder.WithIndex(f.Object, f.Name, f.Values)
	}
	reader := builder.Build()
	d := &dispatcher{reviews: rbac{}, cached: reader, live: reader, Settings: Settings{
		Policy: policy(tb), Clock: clocktesting.NewFakePassiveClock(noon), Mode: permission.ModePermissive, Operator: grantry,
		Rule: policystore.Rule{Admission: true, Key: attestation.Key(strings.Repeat("k", attestation.KeySize))}, Log: log,
	}}
	d.kinds = kinds(d.Settings)
	return d
}

// review is a request as the API server sends it.
type review struct {
	user        string
	groups      []string
	operation   admissionv1.Operation
	resource    string
	subresource string
	object, old any
	options     string // the kind
	dryRun      bool
}

func (r review) body(tb testing.TB) string {
	tb.Helper()
	raw := func(object any) runtime.RawExtension {
		switch o := object.(type) {
		case nil:
			return runtime.RawExtension{}
		case string:
			return runtime.RawExtension{Raw: []byte(o)}
		}
		text, err := json.Marshal(object)
		if err != nil {
			tb.Fatal(err)
		}
		return runtime.RawExtension{Raw: text}
	}
	request := &admissionv1.AdmissionRequest{
		UID: types.UID("uid-1"), Resource: metav1.GroupVersionResource{Group: "grantry.dev", Version: "v1alpha1", Resource: r.resource},
		SubResource: r.subresource, Operation: r.operation, Namespace: "metronome", Object: raw(r.object), OldObject: raw(r.old), DryRun: &r.dryRun,
		UserInfo: authenticationv1.UserInfo{Username: r.user, Groups: r.groups, Extra: map[string]authenticationv1.ExtraValue{credentialID: {"JTI=1"}}},
	}
	if r.options != "" {
		request.Options = raw(`{"apiVersion":"meta.k8s.io/v1","kind":"` + r.options + `"}`)
	}
	for _, object := range []any{r.object, r.old} {
		if o, ok := object.(client.Object); ok {
			request.Name = o.GetName()
		}
	}
	text, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

// post sends a body to a phase's handler and returns the answer, which is always one.
func post(tb testing.TB, d *dispatcher, p phase, body string, change ...func(*http.Request)) *admissionv1.AdmissionResponse {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for _, c := range change {
		c(r)
	}
	recorder := httptest.NewRecorder()
	d.webhook(p).ServeHTTP(recorder, r)
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || answer.Response == nil || recorder.Code != http.StatusOK {
		tb.Fatalf("the answer %q, status %d, is no review: %v", recorder.Body, recorder.Code, err)
	}
	return answer.Response
}

// patched are the paths that an answer's patch writes, sorted.
func patched(tb testing.TB, response *admissionv1.AdmissionResponse) (paths []string) {
	tb.Helper()
	var operations []struct{ Path string }
	if len(response.Patch) > 0 {
		if err := json.Unmarshal(response.Patch, &operations); err != nil {
			tb.Fatal(err)
		}
	}
	for _, o := range operations {
		paths = append(paths, o.Path)
	}
	slices.Sort(paths)
	return paths
}

// newJob is a Job as alice writes it.
func newJob(name string, after ...string) *v1alpha1.Job {
	job := &v1alpha1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "grantry.dev/v1alpha1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "metronome", Name: name},
		Spec:       v1alpha1.JobSpec{Run: &v1alpha1.RunSpec{Cmd: "true"}},
	}
	for _, id := range after {
		job.Spec.Dependencies = append(job.Spec.Dependencies, v1alpha1.Dependency{ID: id})
	}
	return job
}

// ownedBy is a Job as it is stored.
func ownedBy(user string, job *v1alpha1.Job) *v1alpha1.Job {
	job.Spec.Owner = &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: user}
	return job
}

func newGrant(name, acl, user string) *v1alpha1.Grant {
	return &v1alpha1.Grant{
		TypeMeta:   metav1.TypeMeta{APIVersion: "grantry.dev/v1alpha1", Kind: "Grant"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.GrantSpec{
			ACL: acl, Actions: []v1alpha1.Action{v1alpha1.ActionRead}, Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: user}},
		},
	}
}

func writtenBy(user string, g *v1alpha1.Grant) *v1alpha1.Grant {
	g.Spec.GrantedBy = &v1alpha1.Identity{Username: user}
	return g
}
