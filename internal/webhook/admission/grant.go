package admission

import (
	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/policystore"
)

func grantHooks(s Settings) reviewer {
	return policyKind[v1alpha1.Grant, *v1alpha1.Grant]{
		Settings: s, name: "Grant",
		part: func(g *v1alpha1.Grant) (any, **v1alpha1.Identity) { return &g.Spec, &g.Spec.GrantedBy },
		judge: func(r delegation.Request, before, after *v1alpha1.Grant, own bool) (delegation.Decision, error) {
			return r.Grant(servedGrant(before), servedGrant(after), own), nil
		},
		warn: s.warnOfGrant,
	}.hooks()
}

func servedGrant(g *v1alpha1.Grant) *effective.Grant {
	if g == nil {
		return nil
	}
	served, _ := policystore.GrantOf(g)
	return &served
}
