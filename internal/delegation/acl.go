package delegation

import (
	"github.com/grantry/grantry/internal/effective"
)

// CreateACL judges the creation of an ACL. The Grants that name it come into force by it. The verb "grant" on
// the one ACL does not do: whoever holds it for a name must not choose what the name stands for.
func (r Request) CreateACL(acl effective.ACL) Decision {
	d := r.decide("create ACL "+quote(acl.Name), scopeACL, r.onGrantsOf(acl), effective.SetACL(acl))
	d.EveryACL = true
	return d
}

// DeleteACL judges the deletion of an ACL, and any change of what it does: its Grants may lose by it.
func (r Request) DeleteACL(acl effective.ACL) Decision {
	return r.decide("delete ACL "+quote(acl.Name), scopeACL, r.onGrantsOf(acl), effective.DeleteACL(acl.Name))
}

// ChangeACL judges a change of what an ACL does with Grants whose granter loses the right.
func (r Request) ChangeACL(acl effective.ACL) Decision {
	return r.decide("change ACL "+quote(acl.Name), scopeACL, r.onGrantsOf(acl))
}

// DescribeACL judges a change of an ACL that takes nothing from anybody and gives nothing.
func (r Request) DescribeACL(acl effective.ACL) Decision {
	return r.decide("describe ACL "+quote(acl.Name), scopeDescription, []need{{acl: acl.Name, resource: acl.Resource, window: now(r.At)}})
}

// onGrantsOf is the authority over what an ACL protects, now and for as long as its Grants last.
func (r Request) onGrantsOf(acl effective.ACL) []need {
	needs := []need{{acl: acl.Name, resource: acl.Resource, window: now(r.At)}}
	if r.Policy == nil {
		return needs
	}
	for _, name := range r.Policy.GrantsOf(acl.Name) {
		g, ok := r.Policy.GrantNamed(name)
		if !ok || (!g.ExpiresAt.IsZero() && !g.ExpiresAt.After(r.At)) {
			continue
		}
		needs = append(needs, need{acl: acl.Name, resource: acl.Resource, window: windowOf(&g).rest(r.At)})
	}
	return widest(needs)
}
