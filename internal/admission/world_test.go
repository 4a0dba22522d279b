package admission

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

const operatorName = "system:serviceaccount:grantry-system:grantry"

// policy of the tests: alice may do everything under dev, bob may update and delete dev.shared, carol only
// update it, runner run it; root is a superuser; a Group makes alice one of the team.
func policy(t *testing.T) *effective.Snapshot {
	t.Helper()
	resource := func(id string) permission.Resource {
		r, err := permission.ParseResource(id)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	grant := func(acl, user string, actions permission.Actions) effective.Grant {
		return effective.Grant{Name: user + "-" + acl, ACL: acl, Subjects: []effective.Subject{effective.UserSubject(user)}, Actions: actions}
	}
	s, problems := effective.Build(effective.Input{
		ACLs: []effective.ACL{
			{Name: "dev", Resource: resource("dcos:service:metronome:metronome:jobs:dev")},
			{Name: "shared", Resource: resource("dcos:service:metronome:metronome:jobs:dev.shared")},
			{Name: "super", Resource: resource("dcos:superuser")},
		},
		Grants: []effective.Grant{
			grant("dev", "alice", permission.Full),
			grant("shared", "bob", permission.Update|permission.Delete), grant("shared", "carol", permission.Update),
			grant("shared", "runner", permission.Run), grant("super", "root", permission.Full),
			grant("dev", "system:serviceaccount:flux:apply", permission.Full),
		},
		Groups: []effective.Group{{Name: "team", Members: []effective.Subject{effective.UserSubject("alice")}}},
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

// by makes a request of a user, of whom RBAC says yes to some questions.
func by(t *testing.T, o Operation, user string, yes ...Question) *Request {
	t.Helper()
	return &Request{
		Operation: o, By: Requester{Name: user, Groups: []string{"idp-" + user, everyone}},
		Snapshot: policy(t), Mode: permission.ModePermissive, Operator: operatorName, At: noon,
		Ask:     func(q Question) (bool, error) { return slices.Contains(yes, q), nil },
		Cluster: &jobs{},
	}
}

func impersonate(user string) Question {
	return Question{Verb: "impersonate", Resource: "users", Name: user}
}

func override(resource, name string) Question {
	return Question{Verb: "override", Group: "grantry.dev", Resource: resource, Namespace: "metronome", Name: name}
}

var errAway = errors.New("away")

// jobs is a Cluster. Jobs of live alone were created a moment ago, those of cached alone deleted.
type jobs struct {
	cached, live map[string]*v1alpha1.Job // by name
	err          error
	reads        int // of live
}

func (j *jobs) Job(_, name string) (*v1alpha1.Job, error) { return j.cached[name], j.err }

func (j *jobs) LiveJob(_, name string) (*v1alpha1.Job, error) {
	j.reads++
	return j.live[name], j.err
}

func (j *jobs) Dependents(_, name string) (found []v1alpha1.Job, err error) {
	for _, other := range slices.Sorted(maps.Keys(j.cached)) {
		if slices.Contains(j.cached[other].Spec.Dependencies, v1alpha1.Dependency{ID: name}) {
			found = append(found, *j.cached[other])
		}
	}
	return found, j.err
}

func user(name string) *v1alpha1.Subject {
	return &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: name}
}

func group(name string) *v1alpha1.Subject {
	return &v1alpha1.Subject{Kind: v1alpha1.GroupSubject, Name: name}
}

// storedJob is dev.shared as it is stored: owned by bob, with the groups that were reported an hour ago less
// a minute.
func storedJob(changes ...func(*v1alpha1.Job)) *v1alpha1.Job {
	job := &v1alpha1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: "metronome", Name: "dev.shared", Labels: batchjob.AncestorLabels("dev.shared")},
		Spec: v1alpha1.JobSpec{
			Owner:       user("bob"),
			OwnerGroups: &v1alpha1.ReportedGroups{Names: []string{"idp-bob"}, ReportedAt: metav1.NewTime(noon.Add(-59 * time.Minute))},
			Run:         &v1alpha1.RunSpec{Cmd: "true"},
		},
	}
	for _, change := range changes {
		change(job)
	}
	return job
}

// newJob is dev.shared as somebody writes it.
func newJob(changes ...func(*v1alpha1.Job)) *v1alpha1.Job {
	job := storedJob(func(j *v1alpha1.Job) { j.Labels, j.Spec.Owner, j.Spec.OwnerGroups = nil, nil, nil })
	for _, change := range changes {
		change(job)
	}
	return job
}

func owner(s *v1alpha1.Subject) func(*v1alpha1.Job) {
	return func(j *v1alpha1.Job) { j.Spec.Owner = s }
}

func cmd(c string) func(*v1alpha1.Job) { return func(j *v1alpha1.Job) { j.Spec.Run.Cmd = c } }

func groupsOf(names ...string) func(*v1alpha1.Job) {
	return func(j *v1alpha1.Job) {
		j.Spec.OwnerGroups = &v1alpha1.ReportedGroups{Names: names, ReportedAt: metav1.NewTime(noon)}
	}
}

func label(key, value string) func(*v1alpha1.Job) {
	return func(j *v1alpha1.Job) {
		labels := map[string]string{key: value}
		maps.Copy(labels, j.Labels)
		j.Labels = labels
	}
}

// refusal is the cause and the text of an error, or nothing.
func refusal(t *testing.T, err error) (Cause, string) {
	t.Helper()
	if err == nil {
		return 0, ""
	}
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("%v is no refusal", err)
	}
	return r.Cause, r.Text
}
