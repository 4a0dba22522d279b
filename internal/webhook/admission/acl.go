package admission

import (
	"fmt"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/policystore"
)

func aclHooks(s Settings) reviewer {
	return policyKind[v1alpha1.ACL, *v1alpha1.ACL]{
		Settings: s, name: "ACL",
		part:  func(a *v1alpha1.ACL) (any, **v1alpha1.Identity) { return &a.Spec, &a.Spec.GrantedBy },
		judge: judgeACL,
		warn:  s.warnOfACL,
	}.hooks()
}

func judgeACL(r delegation.Request, before, after *v1alpha1.ACL, _ bool) (delegation.Decision, error) {
	switch {
	case after == nil:
		return r.DeleteACL(readableACL(before)), nil
	case before == nil:
		served, err := policystore.ACLOf(after)
		if err != nil {
			return delegation.Decision{}, fmt.Errorf("spec: %w", err)
		}
		return r.CreateACL(served), nil
	case before.Spec.OnGranterLost != after.Spec.OnGranterLost:
		return r.ChangeACL(readableACL(after)), nil
	}
	return r.DescribeACL(readableACL(after)), nil
}

// readableACL is an ACL that is there. One that can't be read protects nothing that anybody could hold but
// superusers.
func readableACL(a *v1alpha1.ACL) effective.ACL {
	served, err := policystore.ACLOf(a)
	if err != nil {
		return effective.ACL{Name: a.Name}
	}
	return served
}
