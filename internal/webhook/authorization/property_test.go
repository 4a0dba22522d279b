package authorization

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"github.com/grantry/grantry/internal/authorizer"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// ownLookup says that every run and pod is of the Job of its name.
type ownLookup struct{}

func (ownLookup) JobOfRun(_ context.Context, _, name string) (string, error) { return name, nil }
func (ownLookup) JobOfPod(_ context.Context, _, name string) (string, error) { return name, nil }
func (ownLookup) HoldsJobs(context.Context, string) (bool, error)            { return true, nil }

var (
	someJobs    = []string{"a", "a.b", "a.b.c", "a.bc", "b", "b.a"}
	someActions = []string{"create", "read", "update", "delete", "run", "full"}
	someHeld    = []string{
		"dcos:service:metronome:metronome:jobs", "dcos:service:metronome:metronome:jobs:a", "dcos:service:metronome:metronome:jobs:/a/b",
		"dcos:service:metronome:metronome:jobs:a.bc", "dcos:service:metronome:metronome:jobs:b", "dcos:service:metronome:team:jobs:a",
		"dcos:adminrouter:acs", "dcos:superuser",
	}
	taskLevel = []string{
		"dcos:adminrouter:ops:mesos", "dcos:adminrouter:ops:slave", "dcos:mesos:master:framework:role:*", "dcos:mesos:agent:framework:role:*",
		"dcos:mesos:master:executor:app_id:/a", "dcos:mesos:master:task:app_id:/a", "dcos:mesos:agent:executor:app_id:/a/b",
		"dcos:mesos:agent:task:app_id", "dcos:mesos:agent:sandbox:app_id:/a",
	}
)

// drawPolicy gives alice and the groups that she may be in some permissions, in windows that may be closed.
func drawPolicy(t *rapid.T) *effective.Snapshot {
	in := effective.Input{Groups: []effective.Group{{Name: "team", Members: []effective.Subject{effective.UserSubject("alice")}}}}
	add := func(id string, actions ...string) {
		parsed, err := permission.ParseActions(actions...)
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("o%d", len(in.ACLs))
		in.ACLs = append(in.ACLs, effective.ACL{Name: name, Resource: permission.MustParseResource(id)})
		grant := effective.Grant{Name: name, ACL: name, Actions: parsed, Subjects: []effective.Subject{rapid.SampledFrom([]effective.Subject{
			effective.UserSubject("alice"), effective.UserSubject("bob"), effective.GroupSubject("devs"), effective.GroupSubject("team"),
		}).Draw(t, "subject")}}
		if rapid.IntRange(0, 4).Draw(t, "window") == 0 {
			grant.ExpiresAt = noon
		}
		in.Grants = append(in.Grants, grant)
	}
	for range rapid.IntRange(0, 4).Draw(t, "grants") {
		add(rapid.SampledFrom(someHeld).Draw(t, "resource"), rapid.SampledFrom(someActions).Draw(t, "action"))
	}
	if rapid.Bool().Draw(t, "task level") {
		for _, id := range taskLevel {
			if rapid.IntRange(0, 7).Draw(t, id) > 0 {
				add(id, "full")
			}
		}
	}
	s, problems := effective.Build(in)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

// wire asks over HTTP, and returns the status of the answer.
func wire(t *rapid.T, mode permission.SecurityMode, s *effective.Snapshot, groups []string, of authorizationv1.ResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	h := &Handler{Clock: clocktesting.NewFakePassiveClock(noon), Authorizer: &authorizer.Authorizer{
		Policy: policy{snapshot: s}, Lookup: ownLookup{}, Clock: clocktesting.NewFakePassiveClock(noon), Mode: mode, DefaultInstance: "metronome",
	}}
	body, err := json.Marshal(authorizationv1.SubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SubjectAccessReview"},
		Spec:     authorizationv1.SubjectAccessReviewSpec{User: "alice", Groups: groups, ResourceAttributes: &of},
	})
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	answer := authorizationv1.SubjectAccessReview{}
	if err := json.Unmarshal(recorder.Body.Bytes(), &answer); err != nil || recorder.Code != http.StatusOK {
		t.Fatalf("%d, %v: %s", recorder.Code, err, recorder.Body)
	}
	strict := mode == permission.ModeStrict
	mayAbstain := !strict || of.Group == "" // who may see the pods of all Jobs may list what RBAC says
	got := answer.Status
	if got.Allowed && got.Denied || got.Denied && !strict || !got.Allowed && !got.Denied && !mayAbstain {
		t.Fatalf("%s, %+v: %+v", mode, of, got)
	}
	return got
}

var modes = []permission.SecurityMode{permission.ModePermissive, permission.ModeStrict}

func drawGroups(t *rapid.T) []string {
	return rapid.SampledFrom([][]string{nil, {"devs"}, {"system:authenticated", "team"}}).Draw(t, "groups")
}

// TestHandler_agreesWithDecideAndTheLists: a request by name is answered over HTTP as Decide answers it, as WhoCan lists
// it, and as what the user holds covers it.
func TestHandler_agreesWithDecideAndTheLists(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, groups := drawPolicy(t), drawGroups(t)
		of := authorizationv1.ResourceAttributes{
			Group: "grantry.dev", Version: rapid.SampledFrom([]string{"v1alpha1", "*"}).Draw(t, "version"),
			Namespace: rapid.SampledFrom([]string{"metronome", "team"}).Draw(t, "namespace"),
			Resource:  rapid.SampledFrom([]string{"jobs", "jobruns", "acls", "grants"}).Draw(t, "resource"),
			Verb:      rapid.SampledFrom([]string{"get", "list", "watch", "update", "patch", "delete", "deletecollection"}).Draw(t, "verb"),
			Name:      rapid.SampledFrom(someJobs).Draw(t, "name"),
		}
		resource, action := permission.JobResource(of.Namespace, of.Name), wants(of.Verb)
		switch {
		case of.Resource == "acls" || of.Resource == "grants":
			resource, action = permission.AdminRouter("acs"), permission.Full
		case of.Resource == "jobruns" && action != permission.Read:
			action = permission.Run
		}
		if of.Verb == "deletecollection" { // the API server tells the name in the field selector only
			of.FieldSelector = selecting(of.Name)
			of.Name = ""
		}
		want := s.Decide(effective.Query{User: effective.UserSubject("alice"), Groups: groups, Resource: resource, AnyOf: action, At: noon}).Allowed
		for _, mode := range modes {
			if got := wire(t, mode, s, groups, of); got.Allowed != want {
				t.Fatalf("%s, %+v: %+v, and Decide says %v", mode, of, got, want)
			}
		}
		listed := slices.ContainsFunc(s.WhoCan(resource, action, noon), func(h effective.Holding) bool {
			return h.State == effective.InForce && (h.Subject == effective.UserSubject("alice") || h.Subject.Kind == effective.KindGroup && slices.Contains(groups, h.Subject.Name))
		})
		if listed != want {
			t.Fatalf("%+v: WhoCan says %v, and Decide %v", of, listed, want)
		}
		missing := s.Covers(effective.UserSubject("alice"), groups, noon, []effective.Claim{{Rule: permission.Rule{Resource: resource, Actions: action}}})
		if (len(missing) == 0) != want {
			t.Fatalf("%+v: Covers misses %v, and Decide says %v", of, missing, want)
		}
	})
}

func wants(verb string) permission.Actions {
	switch verb {
	case "update", "patch":
		return permission.Update
	case "delete", "deletecollection":
		return permission.Delete
	}
	return permission.Read
}

func selecting(name string) *authorizationv1.FieldSelectorAttributes {
	return &authorizationv1.FieldSelectorAttributes{Requirements: []metav1.FieldSelectorRequirement{
		{Key: "metadata.name", Operator: metav1.FieldSelectorOpIn, Values: []string{name}},
	}}
}

func drawSelector(t *rapid.T) (attributes *authorizationv1.LabelSelectorAttributes, leaves labels.Selector) {
	attributes = &authorizationv1.LabelSelectorAttributes{}
	for range rapid.IntRange(0, 3).Draw(t, "requirements") {
		r := metav1.LabelSelectorRequirement{
			Key:      rapid.SampledFrom([]string{"in.grantry.dev/", "other/"}).Draw(t, "prefix") + rapid.SampledFrom(someJobs).Draw(t, "of"),
			Operator: rapid.SampledFrom([]metav1.LabelSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist"}).Draw(t, "operator"),
		}
		if strings.HasSuffix(string(r.Operator), "In") {
			r.Values = rapid.SliceOfN(rapid.SampledFrom([]string{"", "x"}), 1, 2).Draw(t, "values")
		}
		attributes.Requirements = append(attributes.Requirements, r)
	}
	leaves, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchExpressions: attributes.Requirements})
	if err != nil {
		t.Fatal(err)
	}
	if rapid.IntRange(0, 4).Draw(t, "raw") == 0 { // who sends both may filter by the one and be judged by the other
		attributes.RawSelector, leaves = "in.grantry.dev/a", labels.Everything()
	}
	return attributes, leaves
}

// TestHandler_collectionsHoldWhatNamesGive: of whatever a list, a watch or a deletecollection that is allowed leaves,
// each object may be had by its name, too; and a label by itself gives all that is below it.
func TestHandler_collectionsHoldWhatNamesGive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, groups := drawPolicy(t), drawGroups(t)
		mode := rapid.SampledFrom(modes).Draw(t, "mode")
		of := authorizationv1.ResourceAttributes{Group: "grantry.dev", Resource: rapid.SampledFrom([]string{"jobs", "jobruns", "pods"}).Draw(t, "resource"), Namespace: "metronome"}
		verbs := []string{"list", "watch", "deletecollection"}
		if of.Resource == "pods" {
			of.Group, verbs = "", verbs[:2]
		}
		of.Verb = rapid.SampledFrom(verbs).Draw(t, "verb")
		byName := map[string]string{"list": "get", "watch": "get", "deletecollection": "delete"}[of.Verb]
		mayHave := func(name string) bool {
			one := of
			one.Verb, one.Name = byName, name
			return wire(t, mode, s, groups, one).Allowed
		}
		selector, leaves := drawSelector(t)
		several := of
		several.LabelSelector = selector
		if rapid.IntRange(0, 3).Draw(t, "by name") == 0 {
			name := rapid.SampledFrom(someJobs).Draw(t, "name")
			several.FieldSelector = selecting(name)
			if of.Verb != "deletecollection" {
				several.Name = name
			}
		}
		isLeft := func(name string) bool {
			return leaves.Matches(labels.Set(batchjob.AncestorLabels(name))) && (several.FieldSelector == nil || several.FieldSelector.Requirements[0].Values[0] == name)
		}
		if wire(t, mode, s, groups, several).Allowed {
			for _, name := range someJobs {
				if isLeft(name) && !mayHave(name) {
					t.Fatalf("%s, %s %s by %+v shows %s", mode, of.Verb, of.Resource, selector, name)
				}
			}
		}
		path := rapid.SampledFrom(someJobs).Draw(t, "path")
		several.FieldSelector, several.Name = nil, ""
		several.LabelSelector = &authorizationv1.LabelSelectorAttributes{Requirements: []metav1.LabelSelectorRequirement{
			{Key: "in.grantry.dev/" + path, Operator: metav1.LabelSelectorOpExists},
		}}
		if got := wire(t, mode, s, groups, several); got.Allowed != mayHave(path) {
			t.Fatalf("%s, %s %s below %s: %+v, and by name %v", mode, of.Verb, of.Resource, path, got, mayHave(path))
		}
	})
}
