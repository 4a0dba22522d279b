package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

var policyNoon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *metav1.Time { return new(metav1.NewTime(policyNoon.Add(d))) }

// readyOf is what a status says, for comparing: "False ACLNotFound stalled", and the message.
func readyOf(conds []metav1.Condition) (state, message string) {
	ready := meta.FindStatusCondition(conds, v1alpha1.ConditionReady)
	if ready == nil {
		return "", ""
	}
	state = string(ready.Status) + " " + ready.Reason
	if meta.IsStatusConditionTrue(conds, v1alpha1.ConditionStalled) {
		state += " stalled"
	}
	return state, ready.Message
}

func TestSetGrantStatus(t *testing.T) {
	t.Parallel()
	const jobs = "dcos:service:metronome:metronome:jobs:dev.batch"
	cases := map[string]struct {
		change       func(*v1alpha1.Grant)
		resource     string // of the ACL; empty is no ACL
		deleting     bool   // the ACL
		want         string
		wantMessage  string
		wantResource string
		wantUntil    *metav1.Time
	}{
		"in force for ever": {
			resource: "dcos:service:metronome:metronome:jobs:/dev/batch", want: "True InForce", wantResource: jobs,
			wantMessage: "Gives read,run on jobs dev.batch in metronome to 1 subject.",
		},
		"in force until it ends": {
			change:   func(g *v1alpha1.Grant) { g.Spec.NotBefore, g.Spec.ExpiresAt = at(0), at(time.Hour) },
			resource: jobs, want: "True InForce", wantResource: jobs, wantUntil: at(time.Hour),
			wantMessage: "Gives read,run on jobs dev.batch in metronome to 1 subject until 2026-03-02T13:00:00Z.",
		},
		"no such ACL": {
			want: "False ACLNotFound",
			wantMessage: `There is no ACL "dev". This Grant counts as soon as there is: create it with kubectl apply, ` +
				"or name one that kubectl get acls lists.",
		},
		"the ACL is being deleted": {
			resource: jobs, deleting: true, want: "False ACLNotFound", wantMessage: `ACL "dev" is being deleted and counts no more.`,
		},
		"the ACL is malformed": {
			resource: "metronome", want: "False ACLNotReady",
			wantMessage: `ACL "dev" protects nothing: Resource id "metronome": it does not start with "dcos:" at offset 0: ` +
				`start it with "dcos:", in lower case.`,
		},
		"it waits for its time": {
			change:   func(g *v1alpha1.Grant) { g.Spec.NotBefore, g.Spec.ExpiresAt = at(time.Second), at(time.Hour) },
			resource: jobs, want: "False NotYetInForce", wantResource: jobs, wantMessage: "Counts from 2026-03-02T12:00:01Z on.",
		},
		"it ends at its end, not after": {
			change:   func(g *v1alpha1.Grant) { g.Spec.ExpiresAt = at(0) },
			resource: jobs, want: "False Expired", wantResource: jobs, wantMessage: "Expired at 2026-03-02T12:00:00Z.",
		},
		"an expired one needs no ACL": {
			change: func(g *v1alpha1.Grant) { g.Spec.ExpiresAt = at(-time.Hour) },
			want:   "False Expired", wantMessage: "Expired at 2026-03-02T11:00:00Z.",
		},
		"a window that never opens": {
			change:   func(g *v1alpha1.Grant) { g.Spec.NotBefore, g.Spec.ExpiresAt = at(2*time.Hour), at(time.Hour) },
			resource: jobs, want: "False Expired", wantResource: jobs,
			wantMessage: "Never counts: it ends at 2026-03-02T13:00:00Z, before it begins at 2026-03-02T14:00:00Z.",
		},
		"no subject can be used": {
			change:   func(g *v1alpha1.Grant) { g.Spec.Subjects[0].Name = " " },
			resource: jobs, want: "False SubjectEmpty stalled", wantResource: jobs,
			wantMessage: "Gives nothing to anybody: no subject can be used. Left out: spec.subjects[0]: the name is empty.",
		},
		"one subject of two can be used": {
			change: func(g *v1alpha1.Grant) {
				g.Spec.Subjects = append(g.Spec.Subjects, v1alpha1.Subject{Kind: v1alpha1.ServiceAccountSubject, Name: "bot"})
			},
			resource: jobs, want: "True InForce", wantResource: jobs,
			wantMessage: "Gives read,run on jobs dev.batch in metronome to 1 subject. " +
				"Left out: spec.subjects[1]: a ServiceAccount needs a namespace.",
		},
		"every action is ignored": {
			resource: "dcos:adminrouter:acs", want: "False ActionIgnored stalled", wantResource: "dcos:adminrouter:acs",
			wantMessage: "Gives nothing: dcos:adminrouter:acs takes none of the actions read,run.",
		},
		"full makes up for actions that a resource ignores": {
			change:   func(g *v1alpha1.Grant) { g.Spec.Actions = append(g.Spec.Actions, v1alpha1.ActionFull) },
			resource: "dcos:adminrouter:acs", want: "True InForce", wantResource: "dcos:adminrouter:acs",
			wantMessage: "Gives read,run,full on dcos:adminrouter:acs to 1 subject.",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			grant := makeGrant("g", "dev", "alice", v1alpha1.ActionRead, v1alpha1.ActionRun)
			grant.Generation = 3
			// What was said before must not shine through.
			grant.Status = v1alpha1.GrantStatus{Resource: "old", EffectiveUntil: at(5 * time.Hour)}
			if tc.change != nil {
				tc.change(grant)
			}
			var acl *v1alpha1.ACL
			if tc.resource != "" {
				acl = makeACL("dev", tc.resource)
			}
			if tc.deleting {
				acl.DeletionTimestamp = at(0)
				tc.wantResource = ""
			}
			setGrantStatus(grant, acl, standing{}, policyNoon)
			grantrytesting.CheckConditions(t, grant)
			state, message := readyOf(grant.Status.Conditions)
			if state != tc.want {
				t.Errorf("Ready is %q, want %q", state, tc.want)
			}
			if diff := cmp.Diff(tc.wantMessage, message); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
			if grant.Status.Resource != tc.wantResource {
				t.Errorf("resource is %q, want %q", grant.Status.Resource, tc.wantResource)
			}
			if diff := cmp.Diff(tc.wantUntil, grant.Status.EffectiveUntil); diff != "" {
				t.Errorf("effectiveUntil (-want +got):\n%s", diff)
			}
			if grant.Status.ObservedGeneration != 3 {
				t.Errorf("observedGeneration is %d, want 3", grant.Status.ObservedGeneration)
			}
		})
	}
}

func TestNextGrantEdge(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		opens, closes *metav1.Time
		want          time.Duration
	}{
		"no window":                 {},
		"opens later":               {opens: at(time.Hour), closes: at(2 * time.Hour), want: time.Hour},
		"is open":                   {opens: at(-time.Hour), closes: at(2 * time.Hour), want: 2 * time.Hour},
		"opens now, and never ends": {opens: at(0)},
		"has closed":                {opens: at(-2 * time.Hour), closes: at(-time.Hour)},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			grant := &v1alpha1.Grant{Spec: v1alpha1.GrantSpec{NotBefore: tc.opens, ExpiresAt: tc.closes}}
			if got := nextGrantEdge(grant, policyNoon); got != tc.want {
				t.Errorf("nextGrantEdge() = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestSetACLStatus(t *testing.T) {
	t.Parallel()
	resource, err := permission.ParseResource("dcos:adminrouter:acs")
	if err != nil {
		t.Fatal(err)
	}
	snapshot, _ := effective.Build(effective.Input{
		ACLs: []effective.ACL{{Name: "acs", Resource: resource}},
		Grants: []effective.Grant{
			{Name: "a", ACL: "acs", Actions: permission.Full, Subjects: []effective.Subject{effective.UserSubject("alice")}},
			{Name: "b", ACL: "acs", Actions: permission.Full, Subjects: []effective.Subject{effective.UserSubject("alice")}},
		},
	})
	cases := map[string]struct {
		spec         v1alpha1.ACLSpec
		snapshot     *effective.Snapshot
		want         string
		wantMessage  string
		wantResource string
		wantGrants   int32
		wantSubjects int32
	}{
		"in force": {
			spec: v1alpha1.ACLSpec{Resource: "dcos:adminrouter:acs"}, snapshot: snapshot,
			want: "True InForce", wantMessage: "Protects dcos:adminrouter:acs.", wantResource: "dcos:adminrouter:acs",
			wantGrants: 2, wantSubjects: 1,
		},
		"in force, typed, before the policy is loaded": {
			spec: v1alpha1.ACLSpec{Jobs: &v1alpha1.JobsResource{Namespace: "metronome", Path: "dev"}},
			want: "True InForce", wantMessage: "Protects jobs dev in metronome.",
			wantResource: "dcos:service:metronome:metronome:jobs:dev",
			wantGrants:   7, wantSubjects: 5, // as they were
		},
		"malformed": {
			spec: v1alpha1.ACLSpec{Resource: "dcos:superuser:x"}, snapshot: snapshot,
			want: "False ResourceMalformed stalled",
			wantMessage: `Resource id "dcos:superuser:x": dcos:superuser has no parts at offset 14: write dcos:superuser alone. ` +
				"Delete this ACL and create it with a resource that can be read.",
			wantGrants: 2, wantSubjects: 1,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			acl := &v1alpha1.ACL{
				ObjectMeta: metav1.ObjectMeta{Name: "acs", Generation: 2}, Spec: tc.spec,
				Status: v1alpha1.ACLStatus{Resource: "old", Grants: 7, Subjects: 5},
			}
			setACLStatus(acl, tc.snapshot, "", policyNoon)
			grantrytesting.CheckConditions(t, acl)
			state, message := readyOf(acl.Status.Conditions)
			got := []any{state, message, acl.Status.Resource, acl.Status.Grants, acl.Status.Subjects, acl.Status.ObservedGeneration}
			want := []any{tc.want, tc.wantMessage, tc.wantResource, tc.wantGrants, tc.wantSubjects, int64(2)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSetGroupStatus(t *testing.T) {
	t.Parallel()
	blanks := makeGroup("g", strings.Split("      ", "")...)
	cases := map[string]struct {
		group       *v1alpha1.Group
		want        string
		wantMessage string
		wantMembers int32
	}{
		"members": {
			group: makeGroup("g", "alice", "bob", "alice"), want: "True InForce", wantMessage: "Adds 2 members.", wantMembers: 2,
		},
		"nobody is in force, too": {group: makeGroup("g"), want: "True InForce", wantMessage: "Adds 0 members."},
		"one of two": {
			group: makeGroup("g", "", "bob"), want: "True InForce", wantMembers: 1,
			wantMessage: "Adds 1 member. Left out: spec.members[0]: the name is empty.",
		},
		"none that can be one": {
			group: blanks, want: "False SubjectEmpty stalled",
			wantMessage: "Adds nobody. Left out: spec.members[0]: the name is empty, spec.members[1]: the name is empty, " +
				"spec.members[2]: the name is empty, spec.members[3]: the name is empty, spec.members[4]: the name is empty and 1 more.",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			setGroupStatus(tc.group, "", policyNoon)
			grantrytesting.CheckConditions(t, tc.group)
			state, message := readyOf(tc.group.Status.Conditions)
			got := []any{state, message, tc.group.Status.Members}
			if diff := cmp.Diff([]any{tc.want, tc.wantMessage, tc.wantMembers}, got); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
		})
	}
}
