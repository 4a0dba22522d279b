package authorizer

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

var (
	someJobs  = []string{"a", "a.b", "a.b.c", "a.bc", "b", "b.a"}
	someHeld  = []string{"", ":a", ":a.b", ":/a/b", ":a.b.c", ":a.bc", ":b"}
	someVerbs = map[string]permission.Actions{
		"get": permission.Read, "update": permission.Update, "patch": permission.Update, "delete": permission.Delete,
	}
)

func drawHeld(t *rapid.T) held {
	var texts []string
	for range rapid.IntRange(0, 4).Draw(t, "grants") {
		action := rapid.SampledFrom([]string{"create", "read", "update", "delete", "run", "full"}).Draw(t, "action")
		texts = append(texts, jobsID+rapid.SampledFrom(someHeld).Draw(t, "path")+" "+action)
	}
	return grants(texts...)
}

func ask(h held, path string, action permission.Actions) bool {
	return h.s.Decide(effective.Query{
		User: effective.UserSubject("alice"), Resource: permission.JobResource("metronome", path), AnyOf: action, At: noon,
	}).Allowed
}

// TestAuthorize_agreesWithDecide: a request by name is what Decide says of the name.
func TestAuthorize_agreesWithDecide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeld(t)
		verb := rapid.SampledFrom([]string{"get", "update", "patch", "delete"}).Draw(t, "verb")
		job := rapid.SampledFrom(someJobs).Draw(t, "job")
		want := ask(h, job, someVerbs[verb])
		if got := newAuthorizer(permission.ModePermissive, h).Authorize(t.Context(), request(verb+" jobs "+job)); (got.Verdict == Allow) != want {
			t.Fatalf("%s %s: %s, and Decide says %v", verb, job, got.Verdict, want)
		}
		if got := newAuthorizer(permission.ModeStrict, h).Authorize(t.Context(), request(verb+" jobs "+job)); (got.Verdict == Deny) == want {
			t.Fatalf("strict, %s %s: %s, and Decide says %v", verb, job, got.Verdict, want)
		}
	})
}

func drawRequirement(t *rapid.T) metav1.LabelSelectorRequirement {
	r := metav1.LabelSelectorRequirement{
		Key:      rapid.SampledFrom([]string{ancestorPrefix, "other/"}).Draw(t, "prefix") + rapid.SampledFrom(someJobs).Draw(t, "of"),
		Operator: rapid.SampledFrom([]metav1.LabelSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist"}).Draw(t, "operator"),
	}
	if strings.HasSuffix(string(r.Operator), "In") {
		r.Values = rapid.SliceOfN(rapid.SampledFrom([]string{"", "x"}), 1, 2).Draw(t, "values")
	}
	return r
}

// TestAuthorize_listsShowWhatGetShows: whatever a list that is allowed selects, each of its Jobs may be read by
// name. The labels of a Job are those of its ancestors and its own.
func TestAuthorize_listsShowWhatGetShows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHeld(t)
		var requirements []metav1.LabelSelectorRequirement
		for range rapid.IntRange(0, 3).Draw(t, "requirements") {
			requirements = append(requirements, drawRequirement(t))
		}
		verb := rapid.SampledFrom([]string{"list", "watch", "deletecollection"}).Draw(t, "verb")
		action := permission.Read
		if verb == "deletecollection" {
			action = permission.Delete
		}
		allowed := newAuthorizer(permission.ModePermissive, h).Authorize(t.Context(), request(verb+" jobs", requirements...)).Verdict == Allow
		selector, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: requirements})
		if err != nil {
			t.Fatal(err)
		}
		for _, job := range someJobs {
			if allowed && selector.Matches(ancestors(job)) && !ask(h, job, action) {
				t.Fatalf("%s by %s shows %s", verb, selector, job)
			}
		}
		for _, path := range someJobs { // and nothing is refused that the label alone gives
			pinned := newAuthorizer(permission.ModePermissive, h).Authorize(t.Context(), request(verb+" jobs", exists(ancestorPrefix+path)))
			if (pinned.Verdict == Allow) != ask(h, path, action) {
				t.Fatalf("%s of %s: %s", verb, path, pinned.Verdict)
			}
		}
	})
}

// ancestors are the labels that a Job has.
type ancestors string

func (a ancestors) Has(key string) bool {
	path, ok := strings.CutPrefix(key, ancestorPrefix)
	return ok && (path == string(a) || strings.HasPrefix(string(a), path+"."))
}

func (a ancestors) Get(string) string { return "" }

func (a ancestors) Lookup(key string) (string, bool) { return "", a.Has(key) }
