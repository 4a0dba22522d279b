package delegation

import (
	"slices"
	"time"

	"github.com/grantry/grantry/internal/effective"
)

// Granted is a Grant with who answers for it.
type Granted struct {
	Grant  effective.Grant
	By     effective.Subject
	Groups []string // of By, as they were reported when it wrote the Grant
	// Rooted says that the Grant needs no other one behind it: its granter holds the RBAC verb "grant".
	Rooted bool
	// Revocable says that the Grant is not to count once its granter has lost the authority over it.
	Revocable bool
}

// Lost lists the Grants whose granter does not hold the authority over them any more, sorted by name. The
// policy may hold the Grants of all or not, revoked ones included: those that are revocable are put aside, and
// come back one after the other as their granters turn out to hold authority without those that have not. So
// revocable Grants that only give authority to each other's granters are all lost. Grants that are not
// revocable count, lost or not, and so does what they give. What has ended, or waits for its ACL, is not lost.
func Lost(policy *effective.Snapshot, all []Granted, at time.Time) []string {
	var aside, kept []Granted
	var roots []effective.Change
	for _, g := range all {
		switch {
		case g.Rooted && g.Revocable:
			roots = append(roots, effective.SetGrant(g.Grant))
		case g.Rooted || !policy.HasACL(g.Grant.ACL) || (!g.Grant.ExpiresAt.IsZero() && !g.Grant.ExpiresAt.After(at)):
		case g.Revocable:
			aside = append(aside, g)
			roots = append(roots, effective.DeleteGrant(g.Grant.Name))
		default:
			kept = append(kept, g)
		}
	}
	policy = policy.Apply(roots...)
	for before := -1; before != len(aside); {
		before = len(aside)
		aside = slices.DeleteFunc(aside, func(g Granted) bool {
			if !g.hasAuthority(policy, at) {
				return false
			}
			policy = policy.Apply(effective.SetGrant(g.Grant))
			return true
		})
	}
	var lost []string
	for _, g := range aside {
		lost = append(lost, g.Grant.Name)
	}
	for _, g := range kept {
		if !g.hasAuthority(policy, at) {
			lost = append(lost, g.Grant.Name)
		}
	}
	slices.Sort(lost)
	return lost
}

func (g *Granted) hasAuthority(policy *effective.Snapshot, at time.Time) bool {
	r := Request{Requester: Requester{User: g.By, Groups: g.Groups, At: at}, Policy: policy}
	return r.holds(r.onGrant(&g.Grant))
}
