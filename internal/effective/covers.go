package effective

import (
	"time"

	"github.com/grantry/grantry/internal/permission"
)

// Claim is a permission that somebody wants to hand out: all of the actions, in a window.
type Claim struct {
	permission.Rule
	NotBefore, ExpiresAt time.Time // zero is unbounded
}

// Covers returns what of the asked claims the subject does not hold itself, with the actions that are
// missing, in the order asked: what it must not hand out. A claim is held if for each of its actions
// some grant reaches the resource and is open for the whole rest of the claim's window, from at on.
// Grants that follow each other in time are not added up.
func (s *Snapshot) Covers(user Subject, groups []string, at time.Time, asked []Claim) (missing []Claim) {
	for _, claim := range asked {
		claim.Actions &= permission.AllActions
		if claim.Actions &^= s.heldFor(user, groups, at, claim); claim.Actions != 0 {
			missing = append(missing, claim)
		}
	}
	return missing
}

// CoveredBy returns the grant that covers a claim by itself, for the whole rest of its window, or the zero
// Verdict: of a claim of one action Covers says the same. Of several grants it is the one that Decide would
// name first.
func (s *Snapshot) CoveredBy(user Subject, groups []string, at time.Time, claim Claim) (by Verdict) {
	claim.Actions &= permission.AllActions
	if claim.Actions == 0 {
		return by
	}
	s.reaching(user, groups, at, claim, func(g *grant, a *acl, who *subject, membership string) bool {
		if claim.Actions&^a.resource.Effective(g.actions) == 0 {
			by = verdict(g, a, who, membership)
		}
		return !by.Allowed
	})
	return by
}

// heldFor is the set of actions that the subject holds on a claim's resource for its whole window.
func (s *Snapshot) heldFor(user Subject, groups []string, at time.Time, claim Claim) (held permission.Actions) {
	s.reaching(user, groups, at, claim, func(g *grant, a *acl, _ *subject, _ string) bool {
		held |= a.resource.Effective(g.actions)
		return true
	})
	return held
}

// reaching visits the subject's grants that reach a claim's resource and are open for its whole window, until
// visit returns false.
func (s *Snapshot) reaching(user Subject, groups []string, at time.Time, claim Claim, visit func(g *grant, a *acl, who *subject, membership string) bool) {
	var path spots
	path.fill(claim.Resource)
	starts, ends := max(startNanos(claim.NotBefore), instantOf(at).opened), endNanos(claim.ExpiresAt)
	walk := asker{s: s, who: user, reported: groups}
	for who, membership, ok := walk.next(&path); ok; who, membership, ok = walk.next(&path) {
		for _, spot := range path.spot[:path.n] {
			for g := range who.grants.at(spot) {
				if g.ends() < ends {
					break
				}
				if a := s.acl(g.acl); g.starts() <= starts && a.resource.Covers(claim.Resource) && !visit(g, a, who, membership) {
					return
				}
			}
		}
	}
}
