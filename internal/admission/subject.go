package admission

import (
	"fmt"
	"slices"
	"strings"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
)

const serviceAccountPrefix = "system:serviceaccount:"

// SubjectOf is the subject that a user name stands for: service accounts are users whose names say so.
func SubjectOf(user string) v1alpha1.Subject {
	if rest, ok := strings.CutPrefix(user, serviceAccountPrefix); ok {
		if namespace, name, ok := strings.Cut(rest, ":"); ok && namespace != "" && name != "" && !strings.Contains(name, ":") {
			return v1alpha1.Subject{Kind: v1alpha1.ServiceAccountSubject, Namespace: namespace, Name: name}
		}
	}
	return v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: user}
}

// userName is the name under which a subject makes requests; a group makes none.
func userName(s v1alpha1.Subject) string {
	switch s.Kind {
	case v1alpha1.ServiceAccountSubject:
		return effective.ServiceAccount(s.Namespace, s.Name).Name
	case v1alpha1.UserSubject:
		return s.Name
	case v1alpha1.GroupSubject:
	}
	return ""
}

// describe names a subject for people.
func describe(s v1alpha1.Subject) string {
	switch s.Kind {
	case v1alpha1.ServiceAccountSubject:
		return "service account " + s.Namespace + "/" + s.Name
	case v1alpha1.GroupSubject:
		return "group " + s.Name
	case v1alpha1.UserSubject:
	}
	return "user " + s.Name
}

// isRequester reports whether a subject is the requester.
func (r *Request) isRequester(s v1alpha1.Subject) bool {
	return userName(s) == r.By.Name && r.By.Name != ""
}

// mayActAs reports whether the requester may be answerable as a subject: itself, a group that it is in,
// whomever RBAC lets it impersonate, and for a superuser anyone.
func (r *Request) mayActAs(s v1alpha1.Subject) (bool, error) {
	switch {
	case r.isRequester(s):
		return true, nil
	case s.Kind == v1alpha1.GroupSubject && r.isIn(s.Name):
		return true, nil
	case r.IsSuperuser():
		return true, nil
	}
	if err := checkLength("the name of a subject", s.Name, maxSubject); err != nil {
		return false, err
	}
	if err := checkLength("the namespace of a subject", s.Namespace, maxNamespace); err != nil {
		return false, err
	}
	return r.asked(impersonation(s))
}

// isIn reports whether the requester is in a group: the authenticator or a Group object says so.
func (r *Request) isIn(group string) bool {
	if slices.Contains(r.By.Groups, group) {
		return true
	}
	return r.Snapshot != nil && r.Snapshot.IsMember(effective.UserSubject(r.By.Name), group)
}

// impersonation asks for what RBAC wants of who sends requests as somebody else.
func impersonation(s v1alpha1.Subject) Question {
	switch s.Kind {
	case v1alpha1.ServiceAccountSubject:
		return Question{Verb: "impersonate", Resource: "serviceaccounts", Namespace: s.Namespace, Name: s.Name}
	case v1alpha1.GroupSubject:
		return Question{Verb: "impersonate", Resource: "groups", Name: s.Name}
	case v1alpha1.UserSubject:
	}
	return Question{Verb: "impersonate", Resource: "users", Name: s.Name}
}

// notAs says what is missing to act as a subject.
func (r *Request) notAs(s v1alpha1.Subject) string {
	q := impersonation(s)
	needs := fmt.Sprintf("the RBAC verb %q on %s %q", q.Verb, q.Resource, q.Name)
	if q.Namespace != "" {
		needs += " in namespace " + q.Namespace
	}
	if s.Kind == v1alpha1.GroupSubject {
		needs = "membership or " + needs
	}
	return fmt.Sprintf("%s may not act as %s: that takes %s", r.who(), describe(s), needs)
}
