package authorization

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/grantry/grantry/internal/authorizer"
)

// decider answers by the name that is asked for, and keeps the last request.
type decider struct {
	last atomic.Pointer[authorizer.Request]
}

func (d *decider) Authorize(_ context.Context, r *authorizer.Request) authorizer.Decision {
	d.last.Store(r)
	switch r.Name {
	case "yes":
		return authorizer.Decision{Verdict: authorizer.Allow, Kind: authorizer.Jobs, Reason: "Allowed by Grant g on ACL a"}
	case "no":
		return authorizer.Decision{Verdict: authorizer.Deny, Kind: authorizer.Jobs, Reason: "missing"}
	case "down":
		return authorizer.Decision{Kind: authorizer.Jobs, Reason: "can't be looked up", Err: errors.New("10.0.0.1 is down")}
	case "panic":
		panic("secret")
	}
	return authorizer.Decision{}
}

func (d *decider) Failed(reason string, err error) authorizer.Decision {
	return authorizer.Decision{Verdict: authorizer.Deny, Reason: reason, Err: err}
}

func post(t *testing.T, d *decider, r *http.Request) (code int, answer authorizationv1.SubjectAccessReview) {
	t.Helper()
	recorder := httptest.NewRecorder()
	(&Handler{Authorizer: d, Clock: clock.RealClock{}}).ServeHTTP(recorder, r)
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s: %v", recorder.Body, err)
	}
	if answer.Kind != "SubjectAccessReview" || answer.APIVersion != "authorization.k8s.io/v1" || recorder.Header().Get("Content-Type") != "application/json" {
		t.Errorf("answered %s %s in %s", answer.APIVersion, answer.Kind, recorder.Header().Get("Content-Type"))
	}
	if answer.Status.Allowed && answer.Status.Denied {
		t.Error("allowed and denied")
	}
	if (recorder.Code == http.StatusMethodNotAllowed) != (recorder.Header().Get("Allow") == http.MethodPost) {
		t.Errorf("status %d names the method %q", recorder.Code, recorder.Header().Get("Allow"))
	}
	return recorder.Code, answer
}

const review = `{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":`

func TestHandler_answers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		attributes string
		want       authorizationv1.SubjectAccessReviewStatus
	}{
		"allowed":          {`"resourceAttributes":{"name":"yes"}`, authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "Allowed by Grant g on ACL a"}},
		"denied":           {`"resourceAttributes":{"name":"no"}`, authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "missing"}},
		"no opinion":       {`"resourceAttributes":{}`, authorizationv1.SubjectAccessReviewStatus{}},
		"a path":           {`"nonResourceAttributes":{"path":"/healthz","verb":"get"}`, authorizationv1.SubjectAccessReviewStatus{}},
		"a failed look-up": {`"resourceAttributes":{"name":"down"}`, authorizationv1.SubjectAccessReviewStatus{Reason: "can't be looked up", EvaluationError: "Grantry could not find out what it needs to decide"}},
		"a panic":          {`"resourceAttributes":{"name":"panic"}`, authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "Grantry could not decide", EvaluationError: "Grantry could not find out what it needs to decide"}},
		"a field to come":  {`"resourceAttributes":{"name":"yes","new":[1]},"newer":{}`, authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "Allowed by Grant g on ACL a"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, strings.NewReader(review+`{"user":"alice",`+tc.attributes+`}}`))
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
			code, got := post(t, &decider{}, r)
			if code != http.StatusOK {
				t.Errorf("status %d", code)
			}
			if diff := cmp.Diff(tc.want, got.Status); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestHandler_request(t *testing.T) {
	t.Parallel()
	const attributes = `"resourceAttributes":{"verb":"list","group":"grantry.dev","version":"*","resource":"jobs","subresource":"status","namespace":"metronome","name":"x",
		"fieldSelector":{"rawSelector":"a=b"},"labelSelector":{"requirements":[{"key":"in.grantry.dev/dev","operator":"Exists"}]%s}}`
	requirement := []metav1.LabelSelectorRequirement{{Key: "in.grantry.dev/dev", Operator: "Exists"}}
	for raw, want := range map[string][]metav1.LabelSelectorRequirement{"": requirement, `,"rawSelector":"in.grantry.dev/dev"`: nil} {
		d := &decider{}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, strings.NewReader(review+`{"user":"alice","groups":["devs"],`+strings.ReplaceAll(attributes, "%s", raw)+`}}`))
		r.Header.Set("Content-Type", "application/json")
		post(t, d, r)
		diff := cmp.Diff(&authorizer.Request{
			User: "alice", Groups: []string{"devs"}, Verb: "list", Group: "grantry.dev", Resource: "jobs", Subresource: "status",
			Namespace: "metronome", Name: "x", Requirements: want,
		}, d.last.Load())
		if diff != "" {
			t.Errorf("%s (-want +got)\n%s", raw, diff)
		}
	}
}

// broken fails while it is read.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestHandler_hostileBodies(t *testing.T) {
	t.Parallel()
	good := review + `{"user":"alice","resourceAttributes":{"name":"yes"}}}`
	cases := map[string]struct {
		method, media string // POST and application/json unless set
		body          io.Reader
		want          int
	}{
		"GET":                     {method: http.MethodGet, body: strings.NewReader(good), want: http.StatusMethodNotAllowed},
		"PUT":                     {method: http.MethodPut, body: strings.NewReader(good), want: http.StatusMethodNotAllowed},
		"YAML":                    {media: "application/yaml", body: strings.NewReader(good), want: http.StatusUnsupportedMediaType},
		"no media type":           {media: "-", body: strings.NewReader(good), want: http.StatusUnsupportedMediaType},
		"a malformed type":        {media: "application/json;", body: strings.NewReader(good), want: http.StatusOK},
		"protobuf":                {media: "application/vnd.kubernetes.protobuf", body: strings.NewReader(good), want: http.StatusUnsupportedMediaType},
		"as long as may be":       {body: strings.NewReader(good + strings.Repeat(" ", MaxBody-len(good))), want: http.StatusOK},
		"broken off":              {body: broken{}, want: http.StatusBadRequest},
		"empty":                   {body: strings.NewReader(""), want: http.StatusBadRequest},
		"null":                    {body: strings.NewReader("null"), want: http.StatusBadRequest},
		"half":                    {body: strings.NewReader(good[:len(good)/2]), want: http.StatusBadRequest},
		"two":                     {body: strings.NewReader(good + good), want: http.StatusBadRequest},
		"a list":                  {body: strings.NewReader("[" + good + "]"), want: http.StatusBadRequest},
		"YAML as JSON":            {body: strings.NewReader("apiVersion: authorization.k8s.io/v1\nkind: SubjectAccessReview\n"), want: http.StatusBadRequest},
		"deep":                    {body: strings.NewReader(strings.Repeat("[", MaxBody)), want: http.StatusBadRequest},
		"a deep field":            {body: strings.NewReader(review + `{"extra":` + strings.Repeat(`{"a":`, 100_000)), want: http.StatusBadRequest},
		"no kind":                 {body: strings.NewReader(strings.Replace(good, `"kind":"SubjectAccessReview",`, "", 1)), want: http.StatusBadRequest},
		"no version":              {body: strings.NewReader(strings.Replace(good, `"apiVersion":"authorization.k8s.io/v1",`, "", 1)), want: http.StatusBadRequest},
		"v1beta1":                 {body: strings.NewReader(strings.Replace(good, "io/v1", "io/v1beta1", 1)), want: http.StatusBadRequest},
		"another group":           {body: strings.NewReader(strings.Replace(good, "authorization", "authentication", 1)), want: http.StatusBadRequest},
		"another kind":            {body: strings.NewReader(strings.Replace(good, `"SubjectAccessReview"`, `"SelfSubjectAccessReview"`, 1)), want: http.StatusBadRequest},
		"options":                 {body: strings.NewReader(strings.Replace(good, `"SubjectAccessReview"`, `"DeleteOptions"`, 1)), want: http.StatusBadRequest},
		"no attributes":           {body: strings.NewReader(review + `{"user":"alice"}}`), want: http.StatusBadRequest},
		"both attributes":         {body: strings.NewReader(review + `{"resourceAttributes":{},"nonResourceAttributes":{}}}`), want: http.StatusBadRequest},
		"groups that are no list": {body: strings.NewReader(review + `{"groups":"devs","resourceAttributes":{}}}`), want: http.StatusBadRequest},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.method == "" {
				tc.method = http.MethodPost
			}
			r := httptest.NewRequestWithContext(t.Context(), tc.method, Path, tc.body)
			switch tc.media {
			case "":
				r.Header.Set("Content-Type", "application/json")
			case "-":
			default:
				r.Header.Set("Content-Type", tc.media)
			}
			code, got := post(t, &decider{}, r)
			if code != tc.want {
				t.Errorf("status %d, want %d", code, tc.want)
			}
			if refused := tc.want != http.StatusOK; refused == got.Status.Allowed || refused != (got.Status.EvaluationError != "") || got.Status.Denied {
				t.Errorf("%+v", got.Status)
			}
		})
	}
}

// TestHandler_longQuestions: a user can have the API server ask them, so they are answered no, with a reason.
func TestHandler_longQuestions(t *testing.T) {
	t.Parallel()
	d := &decider{}
	code, got := post(t, d, tooLong(t))
	if code != http.StatusOK || !got.Status.Denied || !strings.Contains(got.Status.Reason, "shorter selector") || d.last.Load() != nil {
		t.Errorf("status %d, %+v", code, got.Status)
	}
}

// TestHandler_manyLongQuestions: together they hold no more than they may; those of the ordinary kind are answered all
// the while, and afterwards all are.
func TestHandler_manyLongQuestions(t *testing.T) {
	h := &Handler{Authorizer: &decider{}, Clock: clock.RealClock{}}
	ask := func(body io.Reader) authorizationv1.SubjectAccessReviewStatus {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, body)
		r.Header.Set("Content-Type", "application/json")
		recorder, answer := httptest.NewRecorder(), authorizationv1.SubjectAccessReview{}
		h.ServeHTTP(recorder, r)
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || recorder.Code != http.StatusOK {
			t.Errorf("status %d, %v", recorder.Code, err)
		}
		return answer.Status
	}
	const padding = MaxBody - 1024
	long := func() io.Reader {
		return io.MultiReader(strings.NewReader(strings.Repeat(" ", padding)), strings.NewReader(review+`{"resourceAttributes":{"name":"yes"}}}`))
	}
	fits := int(large.Most / (MaxBody - maxKept))
	stalled, release, answered := make(chan struct{}), make(chan struct{}), make(chan authorizationv1.SubjectAccessReviewStatus)
	for range fits {
		go func() {
			body := io.MultiReader(strings.NewReader(strings.Repeat(" ", padding)), &gate{stalled, release, strings.NewReader(review + `{"resourceAttributes":{"name":"yes"}}}`)})
			answered <- ask(body)
		}()
	}
	for range fits {
		<-stalled
	}
	if got := ask(long()); !got.Denied || !strings.Contains(got.Reason, "at once") {
		t.Errorf("one too many: %+v", got)
	}
	if got := ask(strings.NewReader(review + `{"resourceAttributes":{"name":"yes"}}}`)); !got.Allowed {
		t.Errorf("an ordinary question: %+v", got)
	}
	close(release)
	for range fits {
		if got := <-answered; !got.Allowed {
			t.Errorf("a long question among as many as fit: %+v", got)
		}
	}
	if got := ask(long()); !got.Allowed {
		t.Errorf("a long question afterwards: %+v", got)
	}
}

// gate says that it is reached, and is read once it is open.
type gate struct {
	reached, open chan struct{}
	io.Reader
}

func (g *gate) Read(p []byte) (int, error) {
	if g.reached != nil {
		g.reached <- struct{}{}
		g.reached = nil
		<-g.open
	}
	return g.Reader.Read(p)
}

// FuzzHandler: whatever the body, there is an answer of the right kind, and none is both yes and no.
func FuzzHandler(f *testing.F) {
	f.Add([]byte(review + `{"user":"alice","resourceAttributes":{"name":"yes"}}}`))
	f.Add([]byte(review + `{"user":"alice","resourceAttributes":{"name":"no","labelSelector":{"requirements":[{"key":"a","operator":"In","values":["b"]}]}}}}`))
	f.Add([]byte(review + `{"nonResourceAttributes":{"path":"/"}}}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"kind":"SubjectAccessReview","apiVersion":"authorization.k8s.io/v1beta1"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		d := &decider{}
		code, got := post(t, d, r)
		switch code {
		case http.StatusOK:
		case http.StatusBadRequest:
			if got.Status.EvaluationError == "" || d.last.Load() != nil {
				t.Errorf("%d after asking %+v: %+v", code, d.last.Load(), got.Status)
			}
		default:
			t.Errorf("status %d", code)
		}
		if got.Status.Allowed != (d.last.Load() != nil && d.last.Load().Name == "yes") {
			t.Errorf("asked %+v: %+v", d.last.Load(), got.Status)
		}
	})
}

// TestHandler_namesInFieldSelectors: of a deletecollection the API server tells the name there only.
func TestHandler_namesInFieldSelectors(t *testing.T) {
	t.Parallel()
	is := func(key string, operator metav1.FieldSelectorOperator, values ...string) metav1.FieldSelectorRequirement {
		return metav1.FieldSelectorRequirement{Key: key, Operator: operator, Values: values}
	}
	for name, tc := range map[string]struct {
		verb, name, raw, want string
		requirements          []metav1.FieldSelectorRequirement
	}{
		"one name":         {verb: "deletecollection", requirements: []metav1.FieldSelectorRequirement{is("metadata.name", metav1.FieldSelectorOpIn, "x")}, want: "x"},
		"among others":     {verb: "deletecollection", requirements: []metav1.FieldSelectorRequirement{is("spec.job", metav1.FieldSelectorOpIn, "y"), is("metadata.name", metav1.FieldSelectorOpIn, "x")}, want: "x"},
		"all but one":      {verb: "deletecollection", requirements: []metav1.FieldSelectorRequirement{is("metadata.name", metav1.FieldSelectorOpNotIn, "x")}},
		"two names":        {verb: "deletecollection", requirements: []metav1.FieldSelectorRequirement{is("metadata.name", metav1.FieldSelectorOpIn, "x", "y")}},
		"any name":         {verb: "deletecollection", requirements: []metav1.FieldSelectorRequirement{is("metadata.name", metav1.FieldSelectorOpExists)}},
		"another field":    {verb: "deletecollection", requirements: []metav1.FieldSelectorRequirement{is("spec.job", metav1.FieldSelectorOpIn, "x")}},
		"a raw one, too":   {verb: "deletecollection", raw: "metadata.name=y", requirements: []metav1.FieldSelectorRequirement{is("metadata.name", metav1.FieldSelectorOpIn, "x")}},
		"a create":         {verb: "create", requirements: []metav1.FieldSelectorRequirement{is("metadata.name", metav1.FieldSelectorOpIn, "x")}},
		"a name, and then": {verb: "deletecollection", name: "n", requirements: []metav1.FieldSelectorRequirement{is("metadata.name", metav1.FieldSelectorOpIn, "x")}, want: "n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := requestOf(&authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: tc.verb, Name: tc.name, FieldSelector: &authorizationv1.FieldSelectorAttributes{RawSelector: tc.raw, Requirements: tc.requirements},
			}})
			if r.Name != tc.want {
				t.Errorf("got %q, want %q", r.Name, tc.want)
			}
		})
	}
}

// TestRead_sharesNothingWithLaterBodies: buffers are used again, and what was decoded from them stays.
func TestRead_sharesNothingWithLaterBodies(t *testing.T) {
	readOne := func(user string) string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, strings.NewReader(review+`{"user":"`+user+`","resourceAttributes":{}}}`))
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
		spec, refused := read(r, r.Body)
		if refused != nil {
			t.Fatal(refused.err)
		}
		return spec.User
	}
	first := readOne("carla")
	for range 100 {
		readOne("other")
	}
	if first != "carla" {
		t.Errorf("the user has become %s", first)
	}
}
