package delegation

import (
	"slices"
	"strings"
	"time"

	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// Requester is who asks for a change, and when.
type Requester struct {
	User   effective.Subject
	Groups []string  // that the authenticator reported
	At     time.Time // must not be zero
}

// Request is one change that somebody asks for.
type Request struct {
	Requester
	// Policy is what is in force without the change. Nil refuses everything.
	Policy *effective.Snapshot
}

// window is from when until when something counts; a zero time leaves that side open.
type window struct{ from, until time.Time }

// rest is the part of a window that has not passed. What has passed altogether leaves an instant: to write
// such a thing still takes authority now.
func (w window) rest(at time.Time) window {
	if w.from.Before(at) {
		w.from = at
	}
	if !w.until.IsZero() && !w.until.After(w.from) {
		w.until = w.from.Add(1)
	}
	return w
}

// now is the shortest window: what somebody needs for a change that lasts no time of its own.
func now(at time.Time) window { return window{from: at, until: at.Add(1)} }

func (w window) startsBefore(other window) bool { return w.from.Before(other.from) }

func (w window) endsAfter(other window) bool {
	return !other.until.IsZero() && (w.until.IsZero() || w.until.After(other.until))
}

// reaches reports whether w is open wherever other is.
func (w window) reaches(other window) bool { return !other.startsBefore(w) && !other.endsAfter(w) }

// need is authority that a change takes: full on a resource for a window.
type need struct {
	acl      string
	resource permission.Resource // zero if the ACL does not exist
	window
}

// Need is authority that a requester lacks.
type Need struct {
	// ACL is the ACL whose RBAC verb "grant" would do instead.
	ACL string
	// Resource is what the ACL protects; zero if the ACL does not exist.
	Resource permission.Resource
	// ACLMissing says that the ACL does not exist, so that nobody knows what it will protect.
	ACLMissing bool
	// From and Until are the window for which "full" is needed; a zero Until is for ever.
	From, Until time.Time
	// HeldUntil is when the requester's own "full" ends, if there is one that is open now and too short.
	HeldUntil time.Time
	// HeldNow says that the requester holds "full" now, but not for the whole window.
	HeldNow bool
}

// Held is authority that a requester has, and the grant that gives it for as long as it is needed.
type Held struct {
	Resource permission.Resource
	By       effective.Verdict
}

// Decision says whether a change may be made. The zero Decision refuses.
type Decision struct {
	// Missing is the authority that the requester lacks, sorted by ACL. If the requester holds the RBAC verb
	// "grant" on each of these ACLs, nothing is missing.
	Missing []Need
	// Held is the authority that the requester has, in the order in which it was asked for.
	Held []Held
	// EveryACL says that the verb "grant" on a single ACL does not do: it must be held on all of them.
	EveryACL bool
	// LastSuperuser says that nobody would be a permanent superuser any more. Nothing outweighs that.
	LastSuperuser bool

	decided bool
	what    string
	who     effective.Subject
	scope   scope
}

// Allowed reports whether the requester may make the change by its grants alone.
func (d Decision) Allowed() bool { return d.decided && !d.LastSuperuser && len(d.Missing) == 0 }

// AllowedByVerb reports whether the requester may make the change if it holds the RBAC verb "grant".
func (d Decision) AllowedByVerb() bool { return d.decided && !d.LastSuperuser }

// ACLs lists the ACLs on which the requester lacks authority, sorted.
func (d Decision) ACLs() []string {
	var names []string
	for _, n := range d.Missing {
		names = append(names, n.ACL)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// decide puts what a change takes against what the requester holds.
func (r Request) decide(what string, s scope, needs []need, next ...effective.Change) Decision {
	d := Decision{what: what, who: r.User, scope: s}
	if r.Policy == nil || r.At.IsZero() || r.User.IsZero() {
		return d
	}
	d.decided = true
	d.LastSuperuser = r.isLastSuperuser(next...)
	for _, n := range needs {
		claim := n.claim()
		if by := r.Policy.CoveredBy(r.User, r.Groups, r.At, claim); by.Allowed {
			d.Held = append(d.Held, Held{Resource: claim.Resource, By: by})
		} else {
			d.Missing = append(d.Missing, r.describe(n))
		}
	}
	slices.SortStableFunc(d.Missing, func(a, b Need) int { return strings.Compare(a.ACL, b.ACL) })
	return d
}

// holds reports whether the requester has the authority that is needed.
func (r Request) holds(n need) bool {
	return r.Policy.CoveredBy(r.User, r.Groups, r.At, n.claim()).Allowed
}

// claim is full on the resource. What an unknown ACL will protect is only covered by what covers everything.
func (n need) claim() effective.Claim {
	resource := n.resource
	if resource.IsZero() {
		resource = permission.Superuser()
	}
	return effective.Claim{
		Rule:      permission.Rule{Resource: resource, Actions: permission.Full},
		NotBefore: n.from, ExpiresAt: n.until,
	}
}

// describe says how near the requester comes to what it lacks.
func (r Request) describe(n need) Need {
	missing := Need{ACL: n.acl, Resource: n.resource, ACLMissing: n.resource.IsZero(), From: n.from, Until: n.until}
	if missing.ACLMissing {
		return missing
	}
	v := r.Policy.Decide(effective.Query{User: r.User, Groups: r.Groups, Resource: n.resource, AnyOf: permission.Full, At: r.At})
	missing.HeldNow, missing.HeldUntil = v.Allowed, v.ExpiresAt
	return missing
}

// onACL is the need for a window on an ACL as it is in force.
func (r Request) onACL(acl string, w window) need {
	return need{acl: acl, resource: r.Policy.ACLStats(acl).Resource, window: w.rest(r.At)}
}

// widest leaves out the windows that others reach, of needs on one resource: 100,000 Grants on one ACL mostly
// come down to one.
func widest(needs []need) []need {
	slices.SortFunc(needs, func(a, b need) int {
		switch {
		case a.from.Before(b.from), a.from.Equal(b.from) && a.endsAfter(b.window):
			return -1
		case b.from.Before(a.from), a.from.Equal(b.from) && b.endsAfter(a.window):
			return 1
		}
		return 0
	})
	var kept []need
	for _, n := range needs {
		if len(kept) == 0 || !kept[len(kept)-1].reaches(n.window) {
			kept = append(kept, n)
		}
	}
	return kept
}
