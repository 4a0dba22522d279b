package policystore_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
)

func user(name string) v1alpha1.Subject {
	return v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: name}
}

func groupSubject(name string) v1alpha1.Subject {
	return v1alpha1.Subject{Kind: v1alpha1.GroupSubject, Name: name}
}

func serviceAccount(namespace, name string) v1alpha1.Subject {
	return v1alpha1.Subject{Kind: v1alpha1.ServiceAccountSubject, Namespace: namespace, Name: name}
}

func texts(problems []policystore.Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

func TestSubjectOf(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		in   v1alpha1.Subject
		want effective.Subject
	}{
		"a user":                         {in: user("alice"), want: effective.UserSubject("alice")},
		"a user with a space in it":      {in: user(" Alice A"), want: effective.UserSubject(" Alice A")},
		"a group":                        {in: groupSubject("devs"), want: effective.GroupSubject("devs")},
		"a service account is a user":    {in: serviceAccount("ci", "bot"), want: effective.UserSubject("system:serviceaccount:ci:bot")},
		"a name of blanks is nobody":     {in: user(" \t")},
		"no name is nobody":              {in: groupSubject("")},
		"no namespace is nobody":         {in: serviceAccount("", "bot")},
		"an unknown kind is nobody":      {in: v1alpha1.Subject{Kind: "Robot", Name: "r2"}},
		"the zero subject is nobody":     {},
		"a kind in lower case is nobody": {in: v1alpha1.Subject{Kind: "user", Name: "alice"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := policystore.SubjectOf(tc.in); got != tc.want {
				t.Errorf("SubjectOf(%+v) = %v, want %v", tc.in, got, tc.want)
			}
		})
	}
}

func TestACLOf(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		spec    v1alpha1.ACLSpec
		want    string
		wantErr bool
	}{
		"a permission string": {
			spec: v1alpha1.ACLSpec{Resource: "dcos:service:metronome:metronome:jobs:/dev/batch"},
			want: "dcos:service:metronome:metronome:jobs:dev.batch",
		},
		"the typed form": {
			spec: v1alpha1.ACLSpec{Jobs: &v1alpha1.JobsResource{Namespace: "metronome", Path: "dev.batch"}},
			want: "dcos:service:metronome:metronome:jobs:dev.batch",
		},
		"the typed form of a whole namespace": {
			spec: v1alpha1.ACLSpec{Jobs: &v1alpha1.JobsResource{Namespace: "metronome"}},
			want: "dcos:service:metronome:metronome:jobs",
		},
		"a malformed string":     {spec: v1alpha1.ACLSpec{Resource: "dcos:service:metronome:metronome:jobs:dev..batch"}, wantErr: true},
		"a malformed typed form": {spec: v1alpha1.ACLSpec{Jobs: &v1alpha1.JobsResource{Namespace: "metro:nome"}}, wantErr: true},
		"neither":                {wantErr: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := policystore.ACLOf(&v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: tc.spec})
			if (err != nil) != tc.wantErr || got.Resource.Canonical() != tc.want {
				t.Fatalf("ACLOf() = %q, %v; want %q, error %t", got.Resource.Canonical(), err, tc.want, tc.wantErr)
			}
			if err == nil && got.Name != "a" {
				t.Errorf("the ACL is called %q, want a", got.Name)
			}
		})
	}
}

func TestGrantOf_leavesOutWhatCannotBeServed(t *testing.T) {
	t.Parallel()
	opens := metav1.NewTime(time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC))
	closes := metav1.NewTime(opens.Add(time.Hour))
	grant := &v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: "g"}, Spec: v1alpha1.GrantSpec{
		ACL:       "a",
		Subjects:  []v1alpha1.Subject{user("alice"), user(" "), serviceAccount("", "bot"), groupSubject("devs"), {Kind: "Robot", Name: "r2"}},
		Actions:   []v1alpha1.Action{v1alpha1.ActionRead, "fly", v1alpha1.ActionRun},
		NotBefore: &opens, ExpiresAt: &closes,
	}}
	got, problems := policystore.GrantOf(grant)
	want := effective.Grant{
		Name: "g", ACL: "a", Actions: permission.Read | permission.Run,
		Subjects:  []effective.Subject{effective.UserSubject("alice"), effective.GroupSubject("devs")},
		NotBefore: opens.Time, ExpiresAt: closes.Time,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GrantOf() (-want +got):\n%s", diff)
	}
	wantTexts := []string{
		"spec.subjects[1]: the name is empty",
		"spec.subjects[2]: a ServiceAccount needs a namespace",
		`spec.subjects[4]: the kind "Robot" is unknown: use User, Group or ServiceAccount`,
		`spec.actions[1]: action "fly" is unknown: use one of create, read, update, delete, run, full`,
	}
	if diff := cmp.Diff(wantTexts, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestGrantOf_anOpenWindow(t *testing.T) {
	t.Parallel()
	got, problems := policystore.GrantOf(&v1alpha1.Grant{Spec: v1alpha1.GrantSpec{Subjects: []v1alpha1.Subject{user("alice")}}})
	if !got.NotBefore.IsZero() || !got.ExpiresAt.IsZero() || len(problems) != 0 {
		t.Errorf("GrantOf() = %+v, %v; want no window and no problem", got, problems)
	}
}

func TestGroupOf_membersAreUsersAndServiceAccounts(t *testing.T) {
	t.Parallel()
	got, problems := policystore.GroupOf(&v1alpha1.Group{ObjectMeta: metav1.ObjectMeta{Name: "devs"}, Spec: v1alpha1.GroupSpec{
		Members: []v1alpha1.Subject{user("alice"), groupSubject("ops"), serviceAccount("ci", "bot"), user("")},
	}})
	want := effective.Group{Name: "devs", Members: []effective.Subject{
		effective.UserSubject("alice"), effective.ServiceAccount("ci", "bot"),
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("GroupOf() (-want +got):\n%s", diff)
	}
	wantTexts := []string{"spec.members[1]: a group can't be a member of a group", "spec.members[3]: the name is empty"}
	if diff := cmp.Diff(wantTexts, texts(problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
