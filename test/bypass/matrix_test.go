package bypass

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	// permissive and strict are the answers in each mode, down is that of permissive mode with Grantry stopped, and
	// unregistered with its webhooks removed, too. An empty one is for where it is not tried.
	permissive, strict, down, unregistered refusal
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

// refusal is who refuses a request, and what it says about it. A request that byStamp undoes is let through: it
// says what is stored instead.
type refusal struct{ by, says string }

// Who refuses.
const (
	byAuthorization = "authorization webhook"
	byPolicy        = "admission policy"
	bySchema        = "schema"
	byRBAC          = "RBAC"
	byServer        = "API server"
	byAdmission     = "admission webhook"
	byStamp         = "put right by the admission webhook"
)

// everyAttempt is the table that docs/bypass-matrix.md shows.
func everyAttempt() []attempt {
	return slices.Concat(statics(), identities(), requests(), writing(), handingOut(), whileDown())
}

func TestMatrix_permissive(t *testing.T) {
	w := build(t, permission.ModePermissive)
	w.refusesAll(t, func(a attempt) refusal { return a.permissive })
	t.Run("what is allowed", w.allows)
	w.stop()
	t.Run("down", func(t *testing.T) {
		w.refusesAll(t, func(a attempt) refusal { return a.down })
		t.Run("what is allowed", w.allows)
	})
	t.Run("no webhooks", func(t *testing.T) {
		w.unregister(t)
		w.refusesAll(t, func(a attempt) refusal { return a.unregistered })
	})
}

func TestMatrix_strict(t *testing.T) {
	w := build(t, permission.ModeStrict)
	w.refusesAll(t, func(a attempt) refusal { return a.strict })
	t.Run("a node is drained by RBAC alone", w.drains)
}

// refusesAll runs the table, as far as there are answers.
func (w *world) refusesAll(t *testing.T, answer func(attempt) refusal) {
	t.Helper()
	w.before = w.state(t)
	for i, a := range everyAttempt() {
		if want := answer(a); want.by != "" {
			t.Run(fmt.Sprintf("%03d %s by %s", i+1, a.way, a.who), func(t *testing.T) { w.refuses(t, a, want) })
		}
	}
}

// refuses sends an attempt, and expects that it is refused for what is said, and that nothing is different
// from before.
func (w *world) refuses(t *testing.T, a attempt, want refusal) {
	t.Helper()
	stored, err := w.try(t, a.who, a.send)
	switch status := apierrors.APIStatus(nil); {
	case want.by == byStamp && err == nil:
		if !strings.Contains(stored, want.says) {
			t.Errorf("what is stored does not have %s: %s", want.says, stored)
		}
	case err == nil:
		t.Errorf("it succeeded: %s", stored)
	case !errors.As(err, &status) || !isRefusal(status.Status(), want.by):
		t.Errorf("it failed, and was not refused: %v", err)
	case !strings.Contains(err.Error(), want.says):
		t.Errorf("the refusal does not say %q: %v", want.says, err)
	case refuser(err) != "" && refuser(err) != want.by, refuser(err) == "" && (want.by == byPolicy || want.by == byAdmission):
		t.Errorf("it was to be refused by the %s: %v", want.by, err)
	}
	after := w.state(t)
	if diff := cmp.Diff(w.before, after); diff != "" {
		t.Errorf("something is different now (-before +after):\n%s", diff)
	}
	w.before = after
}

// refuser is who refused, where the message says so.
func refuser(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "ValidatingAdmissionPolicy 'grantry-"):
		return byPolicy
	case strings.Contains(text, ".grantry.dev\" denied the request"):
		return byAdmission
	case strings.Contains(text, "failed calling webhook"):
		return byServer
	}
	return ""
}

// isRefusal tells a refusal from an accident.
func isRefusal(s metav1.Status, by string) bool {
	return by == byServer && (s.Code == http.StatusNotFound || s.Code == http.StatusInternalServerError) || s.Code == http.StatusForbidden || s.Code == http.StatusUnprocessableEntity || s.Code == http.StatusBadRequest
}

// try sends a request as a user, and returns what is answered.
func (w *world) try(t *testing.T, who string, r request) (string, error) {
	t.Helper()
	method, contentType := r.method, "application/json"
	if patch, ok := contentTypes[r.method]; ok {
		method, contentType = http.MethodPatch, patch
	}
	path, text := w.facts.Replace(r.path), w.facts.Replace(r.body)
	if strings.Contains(text, "$JOB_RV") {
		text = strings.ReplaceAll(text, "$JOB_RV", w.versionOfJob(t))
	}
	c := w.as(t, who).Verb(method).RequestURI(path).SetHeader("Accept", "application/json")
	if r.as != "" {
		user, group, _ := strings.Cut(r.as, "/")
		c = c.SetHeader("Impersonate-User", user)
		if group != "" {
			c = c.SetHeader("Impersonate-Group", group)
		}
	}
	if text != "" {
		body, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c = c.SetHeader("Content-Type", contentType).Body(body)
	}
	result := c.Do(t.Context())
	answer, err := result.Raw()
	if failed := result.Error(); failed != nil {
		err = failed // with the API server's words
	}
	return string(answer), err
}
