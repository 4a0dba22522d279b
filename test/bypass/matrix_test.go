package bypass

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/internal/permission"
)

// attempt is one way in, who tries it, and what comes of it.
type attempt struct {
	way, who string
	send     request
	// permissive and strict are the answers in each mode; an empty one is a mode in which it is not tried.
	permissive, strict refusal
}

// request is what is sent. The method is that of HTTP, or one of the four kinds of patch. The body is in
// YAML, and sent as JSON.
type request struct {
	method, path, body string
	// as is the user that is impersonated, and a group of it after a slash.
	as string
}

// The kinds of patch.
const (
	jsonPatch  = "JSON patch"
	mergePatch = "merge patch"
	strategic  = "strategic merge patch"
	applyPatch = "apply"
)

var contentTypes = map[string]string{
	jsonPatch: "application/json-patch+json", mergePatch: "application/merge-patch+json",
	strategic: "application/strategic-merge-patch+json", applyPatch: "application/apply-patch+yaml",
}

// refusal is who refuses a request, and what it says about it.
type refusal struct{ by, says string }

// Who refuses.
const (
	byAuthorization = "authorization webhook"
	byPolicy        = "admission policy"
	bySchema        = "schema"
	byRBAC          = "RBAC"
	byServer        = "API server"
)

// everyAttempt is the table that docs/bypass-matrix.md shows.
func everyAttempt() []attempt {
	return append(statics(), requests()...)
}

func TestMatrix(t *testing.T) {
	for _, mode := range []permission.SecurityMode{permission.ModePermissive, permission.ModeStrict} {
		t.Run(string(mode), func(t *testing.T) {
			w := build(t, mode)
			for i, a := range everyAttempt() {
				if want := a.answer(mode); want.by != "" {
					t.Run(fmt.Sprintf("%03d %s by %s", i+1, a.way, a.who), func(t *testing.T) { w.refuses(t, a, want) })
				}
			}
		})
	}
}

func (a *attempt) answer(mode permission.SecurityMode) refusal {
	if mode == permission.ModeStrict {
		return a.strict
	}
	return a.permissive
}

// refuses sends an attempt, and expects that it is refused for what is said, and that nothing is different
// from before.
func (w *world) refuses(t *testing.T, a attempt, want refusal) {
	t.Helper()
	if w.before == nil {
		w.before = w.state(t)
	}
	err := w.try(t, a.who, a.send)
	switch status := apierrors.APIStatus(nil); {
	case err == nil:
		t.Error("it succeeded")
	case !errors.As(err, &status) || !isRefusal(status.Status(), want.by):
		t.Errorf("it failed, and was not refused: %v", err)
	case !strings.Contains(err.Error(), want.says):
		t.Errorf("the refusal does not say %q: %v", want.says, err)
	case (want.by == byPolicy) != strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'grantry-"):
		t.Errorf("it was to be refused by the %s: %v", want.by, err)
	}
	after := w.state(t)
	if diff := cmp.Diff(w.before, after); diff != "" {
		t.Errorf("something is different now (-before +after):\n%s", diff)
	}
	w.before = after
}

// isRefusal tells a refusal from an accident.
func isRefusal(s metav1.Status, by string) bool {
	return by == byServer && s.Code == http.StatusNotFound || s.Code == http.StatusForbidden || s.Code == http.StatusUnprocessableEntity || s.Code == http.StatusBadRequest
}

// try sends a request as a user.
func (w *world) try(t *testing.T, who string, r request) error {
	t.Helper()
	method, contentType := r.method, "application/json"
	if patch, ok := contentTypes[r.method]; ok {
		method, contentType = http.MethodPatch, patch
	}
	path := w.facts.Replace(r.path)
	c := w.as(t, who).Verb(method).RequestURI(path).SetHeader("Accept", "application/json")
	if r.as != "" {
		user, group, _ := strings.Cut(r.as, "/")
		c = c.SetHeader("Impersonate-User", user)
		if group != "" {
			c = c.SetHeader("Impersonate-Group", group)
		}
	}
	if r.body != "" {
		body, err := yaml.YAMLToJSON([]byte(w.facts.Replace(r.body)))
		if err != nil {
			t.Fatal(err)
		}
		c = c.SetHeader("Content-Type", contentType).Body(body)
	}
	return c.Do(t.Context()).Error()
}
