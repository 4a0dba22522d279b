package delegation

import (
	"slices"

	"github.com/grantry/grantry/internal/effective"
)

// Grant judges a change of a Grant: before is nil at its creation, after at its deletion. A Grant that does
// not count (it was not validated, or is revoked) is nil before: all of it comes anew. own says that the
// requester is who wrote before. A change that neither adds nor takes away is judged, too: it makes the
// requester the one who wrote the Grant.
func (r Request) Grant(before, after *effective.Grant, own bool) Decision {
	name, change := "", effective.Change{}
	if after != nil {
		name, change = after.Name, effective.SetGrant(*after)
	} else if before != nil {
		name, change = before.Name, effective.DeleteGrant(before.Name)
	}
	var needs []need
	if r.Policy != nil {
		if adds(before, after, r) {
			needs = append(needs, r.onGrant(after))
		}
		if before != nil && !own {
			needs = append(needs, r.onGrant(before))
		}
	}
	if len(needs) == 2 && needs[0] == needs[1] {
		needs = needs[:1]
	}
	return r.decide(verb(before != nil, after != nil)+" Grant "+quote(name), scopeGrant, needs, change)
}

func (r Request) onGrant(g *effective.Grant) need {
	return r.onACL(g.ACL, windowOf(g))
}

func windowOf(g *effective.Grant) window { return window{from: g.NotBefore, until: g.ExpiresAt} }

// adds reports whether after gives somebody something, some time from now on, that before does not.
func adds(before, after *effective.Grant, r Request) bool {
	switch {
	case after == nil:
		return false
	case before == nil || before.ACL != after.ACL:
		return true
	case after.Actions.Implied()&^before.Actions.Implied() != 0:
		return true
	}
	was, is := windowOf(before).rest(r.At), windowOf(after).rest(r.At)
	return is.startsBefore(was) || is.endsAfter(was) || hasMore(before.Subjects, after.Subjects)
}

// hasMore reports whether somebody is in after and not in before.
func hasMore(before, after []effective.Subject) bool {
	return slices.ContainsFunc(after, func(s effective.Subject) bool { return !slices.Contains(before, s) })
}
