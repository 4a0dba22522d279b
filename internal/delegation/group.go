package delegation

import (
	"slices"
	"strings"

	"github.com/grantry/grantry/internal/effective"
)

// Group judges a change of a Group: before is nil at its creation, after at its deletion. A Group that does
// not count is nil before. Groups are flat: what a group holds is what Grants give to it. Who wrote a Group
// has no privilege: others may have granted to it since.
func (r Request) Group(before, after *effective.Group) Decision {
	name, change := "", effective.Change{}
	if after != nil {
		name, change = after.Name, effective.SetGroup(*after)
	} else if before != nil {
		name, change = before.Name, effective.DeleteGroup(before.Name)
	}
	var needs []need
	was, is := membersOf(before), membersOf(after)
	if r.Policy != nil && (hasMore(was, is) || hasMore(is, was)) {
		needs = r.heldBy(name)
	}
	return r.decide(verb(before != nil, after != nil)+" Group "+quote(name), scopeGroup, needs, change)
}

func membersOf(g *effective.Group) []effective.Subject {
	if g == nil {
		return nil
	}
	return g.Members
}

// heldBy is the authority over every Grant to a group that has not ended.
func (r Request) heldBy(group string) []need {
	byACL := map[string][]need{}
	for _, h := range r.Policy.PermissionsOf(effective.GroupSubject(group), nil, r.At) {
		if h.State == effective.Expired {
			continue
		}
		w := window{from: h.NotBefore, until: h.ExpiresAt}
		byACL[h.ACL] = append(byACL[h.ACL], need{acl: h.ACL, resource: h.Resource, window: w.rest(r.At)})
	}
	var needs []need
	for _, of := range byACL {
		needs = append(needs, widest(of)...)
	}
	slices.SortStableFunc(needs, func(a, b need) int { return strings.Compare(a.acl, b.acl) })
	return needs
}
