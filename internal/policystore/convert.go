package policystore

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// Problem is a part of an object that can't be served. The rest of the object is.
type Problem struct {
	Path *field.Path // of the part, such as spec.subjects[2]
	What string      // is wrong with it
}

// String is the path and what is wrong there: "spec.subjects[2]: the name is empty".
func (p Problem) String() string { return p.Path.String() + ": " + p.What }

// ACLOf is what an ACL protects. An ACL whose resource can't be read protects nothing and is not in
// the snapshot; the error says what is wrong and where.
func ACLOf(acl *v1alpha1.ACL) (effective.ACL, error) {
	resource, err := resourceOf(&acl.Spec)
	if err != nil {
		return effective.ACL{}, err
	}
	return effective.ACL{Name: acl.Name, Resource: resource}, nil
}

func resourceOf(spec *v1alpha1.ACLSpec) (permission.Resource, error) {
	if spec.Jobs != nil {
		return permission.ParseJobResource(spec.Jobs.Namespace, spec.Jobs.Path)
	}
	return permission.ParseResource(spec.Resource)
}

// GrantOf is what a Grant gives, without the subjects and actions that nobody can have or hold: each
// of those is a Problem. Whether the ACL exists is not asked.
func GrantOf(grant *v1alpha1.Grant) (effective.Grant, []Problem) {
	subjects, problems := subjectsOf(grant.Spec.Subjects, field.NewPath("spec", "subjects"), subjectProblem)
	actions, actionProblems := actionsOf(grant.Spec.Actions)
	g := effective.Grant{
		Name:     grant.Name,
		ACL:      grant.Spec.ACL,
		Subjects: subjects,
		Actions:  actions,
	}
	if grant.Spec.NotBefore != nil {
		g.NotBefore = grant.Spec.NotBefore.Time
	}
	if grant.Spec.ExpiresAt != nil {
		g.ExpiresAt = grant.Spec.ExpiresAt.Time
	}
	return g, append(problems, actionProblems...)
}

// GroupOf is whom a Group makes members, without those who can't be: each is a Problem.
func GroupOf(group *v1alpha1.Group) (effective.Group, []Problem) {
	members, problems := subjectsOf(group.Spec.Members, field.NewPath("spec", "members"), memberProblem)
	return effective.Group{Name: group.Name, Members: members}, problems
}

// SubjectOf is the subject as the decisions know it. One that nobody can be, such as a user without a
// name, is the zero Subject.
func SubjectOf(s v1alpha1.Subject) effective.Subject {
	if subjectProblem(s) != "" {
		return effective.Subject{}
	}
	switch s.Kind {
	case v1alpha1.GroupSubject:
		return effective.GroupSubject(s.Name)
	case v1alpha1.ServiceAccountSubject:
		return effective.ServiceAccount(s.Namespace, s.Name)
	case v1alpha1.UserSubject:
	}
	return effective.UserSubject(s.Name)
}

// subjectProblem says why nobody can be s, or nothing.
func subjectProblem(s v1alpha1.Subject) string {
	switch s.Kind {
	case v1alpha1.UserSubject, v1alpha1.GroupSubject:
	case v1alpha1.ServiceAccountSubject:
		if strings.TrimSpace(s.Namespace) == "" {
			return "a ServiceAccount needs a namespace"
		}
	default:
		return fmt.Sprintf("the kind %q is unknown: use User, Group or ServiceAccount", s.Kind)
	}
	if strings.TrimSpace(s.Name) == "" {
		return "the name is empty"
	}
	return ""
}

// memberProblem says why s can't be a member, or nothing. The API refuses groups, too; a snapshot must
// not depend on who else checked.
func memberProblem(s v1alpha1.Subject) string {
	if s.Kind == v1alpha1.GroupSubject {
		return "a group can't be a member of a group"
	}
	return subjectProblem(s)
}

// subjectsOf converts those of whom problem says nothing.
func subjectsOf(
	in []v1alpha1.Subject, path *field.Path, problem func(v1alpha1.Subject) string,
) (subjects []effective.Subject, problems []Problem) {
	subjects = make([]effective.Subject, 0, len(in))
	for i, s := range in {
		if what := problem(s); what != "" {
			problems = append(problems, Problem{path.Index(i), what})
			continue
		}
		subjects = append(subjects, SubjectOf(s))
	}
	return subjects, problems
}

func actionsOf(in []v1alpha1.Action) (set permission.Actions, problems []Problem) {
	for i, name := range in {
		action, err := permission.ParseAction(string(name))
		if err != nil {
			problems = append(problems, Problem{field.NewPath("spec", "actions").Index(i), err.Error()})
			continue
		}
		set |= action
	}
	return set, problems
}
