package authorization

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// ask is a request that a user makes: as such, which changes nothing, and as a question about itself, the way
// kubectl auth can-i asks it.
type ask struct {
	verb, group, resource, subresource, namespace, name string
	labels, fields                                      string
}

// everywhere is the -A of a request.
const everywhere = " -A"

// parse reads "verb resource[/subresource] [name] [-n namespace | -A] [-l labels] [-f fields]". The verb apply is a
// server-side apply. What is namespaced is in the instance if nothing else is said.
func parse(text string) ask {
	a := ask{namespace: instance}
	text, a.fields, _ = strings.Cut(text, " -f ")
	text, a.labels, _ = strings.Cut(text, " -l ")
	if before, all := strings.CutSuffix(text, everywhere); all {
		text, a.namespace = before, ""
	}
	if before, namespace, found := strings.Cut(text, " -n "); found {
		text, a.namespace = before, namespace
	}
	words := strings.Fields(text)
	a.verb = words[0]
	a.resource, a.subresource, _ = strings.Cut(words[1], "/")
	if len(words) > 2 {
		a.name = words[2]
	}
	switch a.resource {
	case "jobs", "jobruns":
		a.group = v1alpha1.GroupVersion.Group
	case "acls", "grants", "groups":
		a.group, a.namespace = v1alpha1.GroupVersion.Group, ""
	case "nodes", "namespaces":
		a.namespace = ""
	case "jobs.batch":
		a.group, a.resource = "batch", "jobs"
	}
	return a
}

// isStream says that the request can't come to a good end without a node, once it is allowed.
func (a ask) isStream() bool {
	switch a.subresource {
	case "log", "exec", "attach", "portforward", "proxy":
		return true
	}
	return false
}

// path is where the request goes to.
func (a ask) path() string {
	path := map[string]string{"": "/api/v1", "batch": "/apis/batch/v1", v1alpha1.GroupVersion.Group: "/apis/" + v1alpha1.GroupVersion.String()}[a.group]
	if a.namespace != "" {
		path += "/namespaces/" + a.namespace
	}
	path += "/" + a.resource
	if a.name != "" && (a.verb != "create" || a.subresource != "") {
		path += "/" + a.name
	}
	if a.subresource != "" {
		path += "/" + a.subresource
	}
	return path
}

// request is the method, the query, the body's type and the body.
func (a ask) request(t *testing.T, s *site) (method string, query url.Values, media string, body []byte) {
	t.Helper()
	query = url.Values{}
	for key, value := range map[string]string{"labelSelector": a.labels, "fieldSelector": a.fields} {
		if value != "" {
			query.Set(key, value)
		}
	}
	if a.isStream() {
		query.Set("command", "true")
		query.Set("ports", "80")
	}
	dry := func(method, media string, body any) (string, url.Values, string, []byte) {
		query.Set("dryRun", "All")
		raw, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return method, query, media, raw
	}
	switch a.verb {
	case "get", "list":
		return http.MethodGet, query, "", nil
	case "watch":
		query.Set("watch", "true")
		return http.MethodGet, query, "", nil
	case "create":
		if a.isStream() {
			return http.MethodPost, query, "", nil
		}
		return dry(http.MethodPost, "application/json", a.object())
	case "apply":
		query.Set("fieldManager", "test")
		query.Set("force", "true")
		return dry(http.MethodPatch, "application/apply-patch+yaml", a.object())
	case "update":
		return dry(http.MethodPut, "application/json", s.read(t, a))
	case "patch":
		return dry(http.MethodPatch, "application/merge-patch+json", map[string]any{"metadata": map[string]any{"annotations": map[string]any{"a": "b"}}})
	default: // delete, deletecollection
		query.Set("dryRun", "All")
		return http.MethodDelete, query, "", nil
	}
}

// object is a new object that the API server takes.
func (a ask) object() map[string]any {
	kind := map[string]string{"jobs": "Job", "jobruns": "JobRun", "acls": "ACL", "grants": "Grant", "groups": "Group"}[a.resource]
	spec := map[string]map[string]any{
		"jobs":    {"run": map[string]any{"cmd": "true"}, "startPolicy": "OnDemand"},
		"jobruns": {"job": "dev.batch.job1"},
		"acls":    {"resource": "dcos:superuser"},
		"grants":  {"acl": "x", "actions": []string{"read"}, "subjects": []any{map[string]any{"kind": "User", "name": "x"}}},
		"groups":  {"members": []any{map[string]any{"kind": "User", "name": "x"}}},
	}[a.resource]
	return map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind, "metadata": map[string]any{"name": a.name, "namespace": a.namespace}, "spec": spec,
	}
}

// read is the object of an update, as it is.
func (s *site) read(t *testing.T, a ask) map[string]any {
	t.Helper()
	object := &unstructured.Unstructured{Object: a.object()}
	if a.group == "" {
		object.SetAPIVersion("v1")
		object.SetKind("Pod")
	}
	if err := s.admin.Get(t.Context(), client.ObjectKey{Namespace: a.namespace, Name: a.name}, object); err != nil {
		t.Fatal(err)
	}
	return object.Object
}

// do makes the request, and returns the status code and the message of a refusal.
func (s *site) do(t *testing.T, u *user, a ask) (code int, message string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel() // ends a watch
	method, query, media, body := a.request(t, s)
	request, err := http.NewRequestWithContext(ctx, method, u.url(a.path())+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", media)
	response, err := u.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK && a.verb == "watch" {
		return response.StatusCode, ""
	}
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	status := metav1.Status{}
	if json.Unmarshal(raw, &status) != nil { // a failure of the webhook's, and those of streams, are no Status
		return response.StatusCode, string(raw)
	}
	return response.StatusCode, status.Message
}

// may makes a request, fails the test if it fails for another reason than that it is forbidden, and asks the same by
// SelfSubjectAccessReview, which must say the same.
func (s *site) may(t *testing.T, u *user, text string) (allowed bool, message string) {
	t.Helper()
	a := parse(text)
	code, message := s.do(t, u, a)
	switch {
	case code == http.StatusForbidden:
	case code >= 200 && code < 300, a.isStream() && code == http.StatusBadRequest:
		allowed = true
	default:
		t.Errorf("%s: %s: %d: %s", u.name, text, code, message)
	}
	can := true
	for _, attributes := range a.attributes(t) {
		can = can && s.canI(t, u, attributes)
	}
	if can != allowed {
		t.Errorf("%s: %s: allowed %v, and can-i says %v: %s", u.name, text, allowed, can, message)
	}
	return allowed, message
}

// expect makes requests, each of which must be allowed, or each refused.
func (s *site) expect(t *testing.T, u *user, want bool, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if got, message := s.may(t, u, text); got != want {
			t.Errorf("%s: %s: allowed %v, want %v: %s", u.name, text, got, want, message)
		}
	}
}

// served fails the test if a request is not answered as if there were no Grantry: that an authorizer could not be asked
// is a 500 of any request, and a stream that is allowed comes to its end for want of a node with less.
func (s *site) served(t *testing.T, u *user, text string) {
	t.Helper()
	code, message := s.do(t, u, parse(text))
	if code == http.StatusForbidden || code >= 500 {
		t.Errorf("%s: %s: %d: %s", u.name, text, code, message)
	}
}

// unserved fails the test if a request is answered, and not refused in one way or the other.
func (s *site) unserved(t *testing.T, u *user, text string) {
	t.Helper()
	if code, message := s.do(t, u, parse(text)); code != http.StatusForbidden && code != http.StatusInternalServerError {
		t.Errorf("%s: %s: %d: %s", u.name, text, code, message)
	}
}

// attributes are those of the questions that the API server asks about the request, one for most.
func (a ask) attributes(t *testing.T) []authorizationv1.ResourceAttributes {
	t.Helper()
	of := authorizationv1.ResourceAttributes{
		Verb: a.verb, Group: a.group, Version: "*", Resource: a.resource, Subresource: a.subresource, Namespace: a.namespace, Name: a.name,
	}
	if a.labels != "" {
		selector, err := labels.Parse(a.labels)
		if err != nil {
			t.Fatal(err)
		}
		of.LabelSelector = &authorizationv1.LabelSelectorAttributes{}
		requirements, _ := selector.Requirements()
		for _, r := range requirements {
			of.LabelSelector.Requirements = append(of.LabelSelector.Requirements, requirementOf(r))
		}
	}
	if a.fields != "" {
		selector, err := fields.ParseSelector(a.fields)
		if err != nil {
			t.Fatal(err)
		}
		of.FieldSelector = &authorizationv1.FieldSelectorAttributes{}
		for _, r := range selector.Requirements() {
			operator := metav1.FieldSelectorOpIn
			if r.Operator == selection.NotEquals {
				operator = metav1.FieldSelectorOpNotIn
			}
			of.FieldSelector.Requirements = append(of.FieldSelector.Requirements, metav1.FieldSelectorRequirement{Key: r.Field, Operator: operator, Values: []string{r.Value}})
		}
		if a.verb != "deletecollection" { // as the API server says it
			of.Name, _ = selector.RequiresExactMatch("metadata.name")
		}
	}
	switch {
	case a.verb == "apply":
		patch, create := of, of
		patch.Verb, create.Verb = "patch", "create"
		if strings.Contains(a.name, "fresh") { // it does not exist
			return []authorizationv1.ResourceAttributes{patch, create}
		}
		return []authorizationv1.ResourceAttributes{patch}
	case a.verb == "create" && a.subresource == "":
		of.Name = ""
	}
	return []authorizationv1.ResourceAttributes{of}
}

func requirementOf(r labels.Requirement) metav1.LabelSelectorRequirement {
	operator := map[selection.Operator]metav1.LabelSelectorOperator{
		selection.Exists: metav1.LabelSelectorOpExists, selection.DoesNotExist: metav1.LabelSelectorOpDoesNotExist,
		selection.In: metav1.LabelSelectorOpIn, selection.Equals: metav1.LabelSelectorOpIn, selection.DoubleEquals: metav1.LabelSelectorOpIn,
		selection.NotIn: metav1.LabelSelectorOpNotIn, selection.NotEquals: metav1.LabelSelectorOpNotIn,
	}[r.Operator()]
	return metav1.LabelSelectorRequirement{Key: r.Key(), Operator: operator, Values: r.Values().UnsortedList()}
}

// canI asks as kubectl auth can-i does.
func (s *site) canI(t *testing.T, u *user, attributes authorizationv1.ResourceAttributes) bool {
	t.Helper()
	body, err := json.Marshal(authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"},
		Spec:     authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes},
	})
	if err != nil {
		t.Fatal(err)
	}
	url := u.url("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
	response, err := u.http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	review := authorizationv1.SelfSubjectAccessReview{}
	if err := json.NewDecoder(response.Body).Decode(&review); err != nil || response.StatusCode != http.StatusCreated {
		t.Fatalf("can-i: %d, %v", response.StatusCode, err)
	}
	return review.Status.Allowed
}

// eventually waits until a user may do something: until a Grant counts.
func (s *site) eventually(t *testing.T, u *user, text string) {
	t.Helper()
	attributes := parse(text).attributes(t)[0]
	for deadline := time.Now().Add(waitFor); !s.canI(t, u, attributes); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s may not %s after %s", u.name, text, waitFor)
		}
	}
}
