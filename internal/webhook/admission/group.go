package admission

import (
	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/policystore"
)

func groupHooks(s Settings) reviewer {
	return policyKind[v1alpha1.Group, *v1alpha1.Group]{
		Settings: s, name: "Group",
		part: func(g *v1alpha1.Group) (any, **v1alpha1.Identity) { return &g.Spec, &g.Spec.GrantedBy },
		judge: func(r delegation.Request, before, after *v1alpha1.Group, _ bool) (delegation.Decision, error) {
			return r.Group(servedGroup(before), servedGroup(after)), nil
		},
		warn: s.warnOfGroup,
	}.hooks()
}

func servedGroup(g *v1alpha1.Group) *effective.Group {
	if g == nil {
		return nil
	}
	served, _ := policystore.GroupOf(g)
	return &served
}
