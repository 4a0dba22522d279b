package admission

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/grantry/grantry/api/v1alpha1"
)

// TestHandler_dispatches: each kind's rules are asked, and what they say becomes the answer.
func TestHandler_dispatches(t *testing.T) {
	t.Parallel()
	const create, update, remove = admissionv1.Create, admissionv1.Update, admissionv1.Delete
	mine, parent := ownedBy("alice", newJob("dev.batch.a")), ownedBy("alice", newJob("dev.batch.parent"))
	child := ownedBy("alice", newJob("dev.batch.child", "dev.batch.parent"))
	const labels, owner = "/metadata/labels", "/spec/owner"
	cases := map[string]struct {
		phase
		review
		want     int32 // 0 is allowed
		says     string
		patches  []string
		warnings []string
	}{
		"a Job is stamped":                         {phase: mutate, review: review{user: "alice", operation: create, resource: "jobs", object: newJob("dev.batch.a")}, patches: []string{labels, owner}},
		"nobody's Job is stamped all the same":     {phase: mutate, review: review{user: "mallory", operation: create, resource: "jobs", object: newJob("dev.batch.a")}, patches: []string{labels, owner}},
		"a Job is let in":                          {phase: validate, review: review{user: "alice", operation: create, resource: "jobs", object: mine}},
		"a Job is refused":                         {phase: validate, review: review{user: "mallory", operation: create, resource: "jobs", object: mine}, want: http.StatusForbidden, says: `user mallory may not "create" on jobs dev.batch.a in metronome`},
		"a Job by RBAC's verb":                     {phase: validate, review: review{user: "carla", operation: create, resource: "jobs", object: ownedBy("carla", newJob("ops.x"))}},
		"a Job, and RBAC can't be asked":           {phase: validate, review: review{user: "nobody", operation: create, resource: "jobs", object: ownedBy("nobody", newJob("ops.x"))}, want: http.StatusServiceUnavailable, says: "can't be asked now"},
		"another owner is replaced, with a word":   {phase: mutate, review: review{user: "alice", operation: create, resource: "jobs", object: ownedBy("bob", newJob("dev.batch.a"))}, patches: []string{labels, owner}, warnings: []string{`spec.owner: set to user alice; user alice may not act as user bob: that takes the RBAC verb "impersonate" on users "bob"`}},
		"an update that may not be made":           {phase: mutate, review: review{user: "mallory", operation: update, resource: "jobs", old: mine, object: ownedBy("alice", newJob("dev.batch.a", "x"))}, want: http.StatusForbidden, says: `may not "update"`},
		"a dependency on nothing":                  {phase: validate, review: review{user: "alice", operation: create, resource: "jobs", object: ownedBy("alice", newJob("dev.batch.a", "dev.batch.none"))}, want: http.StatusUnprocessableEntity, says: "there is no such Job in namespace metronome: create it first"},
		"a dependency on what is there":            {phase: validate, review: review{user: "alice", operation: create, resource: "jobs", object: ownedBy("alice", newJob("dev.batch.a", "dev.batch.parent"))}},
		"a deletion":                               {phase: validate, review: review{user: "alice", operation: remove, resource: "jobs", old: child}},
		"a deletion of what another depends on":    {phase: validate, review: review{user: "alice", operation: remove, resource: "jobs", old: parent}, want: http.StatusUnprocessableEntity, says: "1 Job depends on dev.batch.parent"},
		"a deletion is not stamped":                {phase: mutate, review: review{user: "mallory", operation: remove, resource: "jobs", old: mine}},
		"a run is stamped":                         {phase: mutate, review: review{user: "alice", operation: create, resource: "jobruns", object: newRun("r", "dev.batch.a")}, patches: []string{labels, "/spec/requestedBy"}},
		"a run is refused":                         {phase: validate, review: review{user: "mallory", operation: create, resource: "jobruns", object: newRun("r", "dev.batch.a")}, want: http.StatusForbidden, says: `may not "run"`},
		"a Grant is stamped and attested":          {phase: mutate, review: review{user: "alice", operation: create, resource: "grants", object: newGrant("g", "dev-batch", "bob")}, patches: []string{"/metadata/annotations", "/spec/grantedBy"}},
		"a Grant that is refused is not attested":  {phase: mutate, review: review{user: "mallory", operation: create, resource: "grants", object: newGrant("g", "dev-batch", "bob")}, patches: []string{"/spec/grantedBy"}},
		"a Grant is let in":                        {phase: validate, review: review{user: "alice", operation: create, resource: "grants", object: writtenBy("alice", newGrant("g", "dev-batch", "bob"))}, warnings: []string{"1 subject gains read on 2 jobs"}},
		"a Grant by RBAC's verb, and it is odd":    {phase: validate, review: review{user: "carla", operation: create, resource: "grants", object: writtenBy("carla", newGrant("g", "later", "bob"))}, warnings: []string{`there is no ACL "later" yet: this Grant counts once there is`}},
		"a Grant that gives what is given already": {phase: validate, review: review{user: "root", operation: create, resource: "grants", object: writtenBy("root", newGrant("g", "dev-batch", "alice"))}, warnings: []string{"other Grants already give all of this to each of these subjects, for as long"}},
		"a Grant is refused":                       {phase: validate, review: review{user: "mallory", operation: create, resource: "grants", object: writtenBy("mallory", newGrant("g", "dev-batch", "bob"))}, want: http.StatusForbidden, says: `user mallory may not create Grant "g"`},
		"an ACL is refused":                        {phase: validate, review: review{user: "alice", operation: create, resource: "acls", object: newACL("x", "dcos:superuser", "alice")}, want: http.StatusForbidden, says: `may not create ACL "x"`},
		"an ACL that covers nothing yet":           {phase: validate, review: review{user: "alice", operation: create, resource: "acls", object: newACL("x", "dcos:service:metronome:metronome:jobs:dev.batch.x", "alice")}, warnings: []string{"this ACL covers no Job yet that you may read"}},
		"the last superuser":                       {phase: validate, review: review{user: "root", operation: remove, resource: "grants", old: writtenBy("root", namedGrant("root-all", "all", "root"))}, want: http.StatusForbidden, says: "nobody would be a superuser for good any more"},
		"no kind of ours":                          {phase: validate, review: review{user: "root", operation: create, resource: "widgets", object: mine}, want: http.StatusBadRequest, says: "admission does not serve CREATE of widgets"},
		"a subresource":                            {phase: validate, review: review{user: "root", operation: update, resource: "jobs", subresource: "status", old: mine, object: mine}, want: http.StatusBadRequest, says: "admission does not serve"},
		"a connection":                             {phase: validate, review: review{user: "root", operation: admissionv1.Connect, resource: "jobs", object: mine}, want: http.StatusBadRequest, says: "admission does not serve"},
		"a creation of something that was there":   {phase: validate, review: review{user: "root", operation: create, resource: "jobs", old: mine, object: mine}, want: http.StatusBadRequest, says: "the object can't be read"},
		"an update of nothing":                     {phase: validate, review: review{user: "root", operation: update, resource: "jobs", object: mine}, want: http.StatusBadRequest, says: "the object can't be read"},
		"a deletion of nothing":                    {phase: validate, review: review{user: "root", operation: remove, resource: "jobs"}, want: http.StatusBadRequest, says: "the object can't be read"},
		"a list for an object":                     {phase: validate, review: review{user: "root", operation: create, resource: "jobs", object: "[]"}, want: http.StatusBadRequest, says: "the object can't be read"},
		"a field of another type":                  {phase: mutate, review: review{user: "root", operation: create, resource: "jobs", object: `{"spec":{"suspend":"yes"}}`}, want: http.StatusBadRequest, says: "the object can't be read"},
		"no spec is the schema's to refuse":        {phase: mutate, review: review{user: "alice", operation: create, resource: "jobs", object: `{"metadata":{"name":"dev.batch.a"}}`}},
		"a spec that is null is, too":              {phase: mutate, review: review{user: "alice", operation: create, resource: "jobs", object: `{"metadata":{"name":"dev.batch.a"},"spec":null}`}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := post(t, dispatch(t, nil, parent.DeepCopy(), child.DeepCopy()), tc.phase, tc.body(t))
			if got.UID != "uid-1" {
				t.Errorf("the answer is to %q", got.UID)
			}
			if got.Allowed != (tc.want == 0) || (!got.Allowed && got.Result.Code != tc.want) {
				t.Errorf("allowed is %t, %+v; want %d", got.Allowed, got.Result, tc.want)
			}
			if tc.want != 0 && !strings.Contains(got.Result.Message, tc.says) {
				t.Errorf("it says %q, and not %q", got.Result.Message, tc.says)
			}
			if diff := cmp.Diff(tc.patches, patched(t, got)); diff != "" {
				t.Errorf("patched (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.warnings, got.Warnings); diff != "" {
				t.Errorf("warned (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDispatcher_asksRBACWhereItMatters: for a warning, only about Jobs that the change covers.
func TestDispatcher_asksRBACWhereItMatters(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int32{"ops.other": 0, "dev.batch.a": 1} {
		d, asked := dispatch(t, nil, newJob(name)), atomic.Int32{}
		d.reviews = rbac{asked: &asked}
		r := review{user: "alice", operation: admissionv1.Create, resource: "grants", object: writtenBy("alice", newGrant("g", "dev-batch", "bob"))}
		if got := post(t, d, validate, r.body(t)); !got.Allowed {
			t.Errorf("refused: %+v", got.Result)
		}
		if asked.Load() != want {
			t.Errorf("with Job %s: %d questions, want %d", name, asked.Load(), want)
		}
	}
}

func newRun(name, job string) *v1alpha1.JobRun {
	run := &v1alpha1.JobRun{Spec: v1alpha1.JobRunSpec{Job: job}}
	run.Namespace, run.Name = "metronome", name
	return run
}

func newACL(name, resource, by string) *v1alpha1.ACL {
	acl := &v1alpha1.ACL{Spec: v1alpha1.ACLSpec{Resource: resource, GrantedBy: &v1alpha1.Identity{Username: by}}}
	acl.Name = name
	return acl
}

func namedGrant(name, acl, user string) *v1alpha1.Grant {
	g := newGrant(name, acl, user)
	g.Status.ValidatedGeneration = g.Generation
	g.Spec.Actions = []v1alpha1.Action{v1alpha1.ActionFull}
	return g
}

// TestHandler_hostileBodies: whatever is sent, the answer is a review, and no yes.
func TestHandler_hostileBodies(t *testing.T) {
	t.Parallel()
	good := review{user: "root", operation: admissionv1.Create, resource: "jobs", object: ownedBy("root", newJob("dev.a"))}.body(t)
	const tooLong = 7 << 20
	media := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", value) }
	}
	cases := map[string]struct {
		body   string
		change []func(*http.Request)
	}{
		"empty":               {},
		"null":                {body: "null"},
		"half":                {body: good[:len(good)/2]},
		"a list":              {body: "[" + good + "]"},
		"deep":                {body: strings.Repeat("[", 1<<20)},
		"a deep object":       {body: strings.Replace(good, `"spec":{`, `"spec":{"template":`+strings.Repeat(`{"a":`, 100_000), 1)},
		"too long":            {body: good + strings.Repeat(" ", tooLong)},
		"no request":          {body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`},
		"a request of null":   {body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}`},
		"an answer":           {body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"1","allowed":true}}`},
		"YAML":                {body: good, change: []func(*http.Request){media("application/yaml")}},
		"no media type":       {body: good, change: []func(*http.Request){media("")}},
		"an object of a text": {body: review{user: "root", operation: admissionv1.Create, resource: "jobs", object: `"x"`}.body(t)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, p := range []phase{mutate, validate} {
				got := post(t, dispatch(t, nil), p, tc.body, tc.change...)
				if got.Allowed || got.Result == nil || got.Result.Code < http.StatusBadRequest || len(got.Patch) > 0 {
					t.Errorf("%s: %+v", p, got)
				}
			}
		})
	}
	if got := post(t, dispatch(t, nil), validate, good); !got.Allowed {
		t.Errorf("the good one is refused: %+v", got.Result)
	}
}

// FuzzHandler: whatever the objects are, whoever holds nothing creates and deletes nothing, and a patch writes
// only what is Grantry's to write.
func FuzzHandler(f *testing.F) {
	seed := func(object any) string {
		text, err := json.Marshal(object)
		if err != nil {
			f.Fatal(err)
		}
		return string(text)
	}
	resources := []string{"jobs", "jobruns", "acls", "grants", "groups"}
	f.Add(uint8(0), "", seed(newJob("dev.batch.a", "dev.b")))
	f.Add(uint8(1), "", seed(newRun("r", "dev.batch.a")))
	f.Add(uint8(5), seed(newJob("dev.batch.a")), seed(ownedBy("alice", newJob("dev.batch.a"))))
	f.Add(uint8(13), seed(writtenBy("alice", newGrant("g", "dev-batch", "bob"))), "")
	f.Add(uint8(3), "", `{"metadata":{"name":"g","annotations":{"grantry.dev/admitted":"1.x"}},"spec":{"acl":"all"}}`)
	d := dispatch(f, nil, newJob("dev.batch.parent"))
	ours := []string{"/metadata/labels", "/metadata/annotations", "/spec/owner", "/spec/ownerGroups", "/spec/requestedBy", "/spec/grantedBy"}
	f.Fuzz(func(t *testing.T, what uint8, old, object string) {
		if (old != "" && !json.Valid([]byte(old))) || (object != "" && !json.Valid([]byte(object))) {
			t.Skip("the API server sends JSON")
		}
		r := review{user: "mallory", groups: []string{"devs"}, resource: resources[int(what)%len(resources)], operation: admissionv1.Update}
		if old != "" {
			r.old = old
		}
		if object != "" {
			r.object = object
		}
		switch what / 5 % 3 {
		case 0:
			r.operation = admissionv1.Create
		case 2:
			r.operation = admissionv1.Delete
		}
		// Who wrote a Grant may delete it, and a Group that holds nothing is anybody's.
		free := r.operation == admissionv1.Update || r.resource == "groups" || (r.resource == "grants" && r.operation == admissionv1.Delete)
		if got := post(t, d, validate, r.body(t)); got.Allowed && !free {
			t.Errorf("%s of %s is let through", r.operation, r.resource)
		}
		for _, path := range patched(t, post(t, d, mutate, r.body(t))) {
			if !slices.ContainsFunc(ours, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") }) {
				t.Errorf("the patch writes %s", path)
			}
		}
	})
}
