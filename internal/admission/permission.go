package admission

import (
	"slices"
	"strings"

	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

const (
	// VerbOverride is the RBAC verb on jobs and jobruns of grantry.dev that stands for every grant in security
	// mode permissive, where Grantry only adds to RBAC. Roles with the verb "*", such as cluster-admin, have
	// it. Tenants must not.
	VerbOverride = "override"

	// mastersGroup is let in whatever RBAC says, by every API server. No authorizer is asked about it.
	mastersGroup = "system:masters"

	apiGroup = "grantry.dev"
)

// Object is what an access is about, as RBAC names it.
type Object struct {
	// Resource is the plural: jobs.
	Resource, Namespace, Name string
}

// Need refuses a request unless the requester holds one of the actions on a resource, or stands above grants.
func (r *Request) Need(anyOf permission.Actions, on permission.Resource, object Object) error {
	if r.Mode == permission.ModeDisabled {
		return nil
	}
	by := r.decide(anyOf, on)
	r.Basis.Answered(Answer{Resource: on, AnyOf: anyOf, By: by})
	if by.Allowed {
		return nil
	}
	if above, err := r.overrides(object); err != nil || above {
		return err
	}
	if r.Snapshot == nil {
		return unavailable("%v, and allows nothing until it has: try again in a moment", r.Unavailable)
	}
	refused := effective.Explanation{User: effective.UserSubject(r.By.Name), Resource: on, AnyOf: anyOf}
	return forbidden("%s: ask for a Grant of %s on an ACL that covers %s", refused.Brief(), strings.Join(anyOf.SatisfiedBy().Names(), " or "), on)
}

// Holds reports whether grants give the requester one of the actions on a resource now.
func (r *Request) Holds(anyOf permission.Actions, on permission.Resource) bool {
	return r.decide(anyOf, on).Allowed
}

// decide asks the policy. As long as there is none it allows nothing.
func (r *Request) decide(anyOf permission.Actions, on permission.Resource) effective.Verdict {
	if r.Snapshot == nil {
		return effective.Verdict{}
	}
	return r.Snapshot.Decide(effective.Query{
		User: effective.UserSubject(r.By.Name), Groups: r.By.Groups, Resource: on, AnyOf: anyOf, At: r.At,
	})
}

// IsSuperuser reports whether grants make the requester a superuser.
func (r *Request) IsSuperuser() bool { return r.Holds(permission.AllActions, permission.Superuser()) }

// overrides reports whether the requester needs no grant. In strict mode grants alone count, but for those
// who are never asked about anything, which is the way back in.
func (r *Request) overrides(object Object) (bool, error) {
	if slices.Contains(r.By.Groups, mastersGroup) {
		return true, nil
	}
	if r.Mode != permission.ModePermissive {
		return false, nil
	}
	return r.asked(Question{Verb: VerbOverride, Group: apiGroup, Resource: object.Resource, Namespace: object.Namespace, Name: object.Name})
}
