package delegation

import (
	"time"

	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// rootedness says how sure it is that somebody is a superuser for good.
type rootedness uint8

const (
	noRoot      rootedness = iota
	unknownRoot            // a group is one, whose members only the authenticator knows
	knownRoot              // a user is one, or a group with a member by a Group
)

// isLastSuperuser reports whether the changes leave fewer who are superusers for good than there must be: if
// there was a known one there must be a known one, and if there was perhaps one there must be perhaps one.
// Where there was none, there need not be one.
func (r Request) isLastSuperuser(changes ...effective.Change) bool {
	before := rootsOf(r.Policy, r.At)
	return before != noRoot && rootsOf(r.Policy.Apply(changes...), r.At) < before
}

// rootsOf looks at the permanent Grants on dcos:superuser.
func rootsOf(s *effective.Snapshot, at time.Time) rootedness {
	found := noRoot
	for _, acl := range s.ACLsOf(permission.Superuser()) {
		for _, name := range s.GrantsOf(acl) {
			g, ok := s.GrantNamed(name)
			if !ok || !g.ExpiresAt.IsZero() || g.NotBefore.After(at) || g.Actions == 0 {
				continue
			}
			for _, who := range g.Subjects {
				found = max(found, rootednessOf(s, who))
			}
			if found == knownRoot {
				return found
			}
		}
	}
	return found
}

func rootednessOf(s *effective.Snapshot, who effective.Subject) rootedness {
	switch {
	case who.Kind == effective.KindUser, len(s.MembersOf(who.Name)) > 0:
		return knownRoot
	case s.HasGroup(who.Name):
		return noRoot // it was emptied
	}
	return unknownRoot
}
