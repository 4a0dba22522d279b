package effective

import (
	"cmp"
	"slices"
	"time"

	"github.com/grantry/grantry/internal/permission"
)

// State says whether a holding counts at a time.
type State uint8

// The states of a holding.
const (
	InForce    State = iota // it counts
	NotYetOpen              // its window opens later
	Expired                 // its window has closed
	ACLMissing              // its ACL does not exist
)

// String is the state in words.
func (s State) String() string {
	return [...]string{"in force", "not yet open", "expired", "ACL missing"}[min(s, ACLMissing)]
}

// Holding is one reason why a subject may do something: a grant, and how it reaches the subject.
type Holding struct {
	Subject              Subject // who holds it
	Via                  Subject // the subject of the Grant: Subject itself or a group
	Membership           string  // the Group object that made Subject a member of Via, if one did
	Grant, ACL           string
	Resource             permission.Resource // zero if the ACL is missing
	Actions              permission.Actions
	NotBefore, ExpiresAt time.Time // of the grant; zero is unbounded
	State                State
}

func compareHoldings(a, b Holding) int {
	return cmp.Or(a.Subject.compare(b.Subject), a.Via.compare(b.Via), cmp.Compare(a.ACL, b.ACL),
		cmp.Compare(a.Grant, b.Grant), cmp.Compare(a.Membership, b.Membership))
}

// sortHoldings sorts and leaves one of those that differ by their membership only.
func sortHoldings(list []Holding) []Holding {
	slices.SortFunc(list, compareHoldings)
	return slices.CompactFunc(list, func(a, b Holding) bool {
		return a.Subject == b.Subject && a.Via == b.Via && a.Grant == b.Grant
	})
}

// holding describes a grant as held by the subject that it names.
func (s *Snapshot) holding(g *grant, via Subject, at instant) Holding {
	h := Holding{
		Subject: via, Via: via, Grant: g.name, ACL: g.acl.name, Actions: g.actions,
		NotBefore: startTime(g.starts()), ExpiresAt: endTime(g.ends()),
	}
	if a := s.acl(g.acl); a != nil {
		h.Resource = a.resource
	}
	switch {
	case h.Resource.IsZero():
		h.State = ACLMissing
	case g.ends() <= at.ended:
		h.State = Expired
	case g.starts() > at.opened:
		h.State = NotYetOpen
	}
	return h
}

// WhoCan lists who may do at least one of anyOf on the resource, and why: the subjects of the grants
// that allow it, and the members of their groups as far as Group objects name them. Members that only
// the authenticator knows are represented by their group. The list is sorted; it looks at the grants
// on the resource and on all that is above it.
func (s *Snapshot) WhoCan(resource permission.Resource, anyOf permission.Actions, at time.Time) []Holding { //nolint:gocognit // the loops are those of the index
	var p probe
	if !p.start(s, &Query{Resource: resource, AnyOf: anyOf, At: at}) {
		return nil
	}
	p.path.fill(resource)
	var list []Holding
	for _, spot := range p.path.spot[:p.path.n] {
		for key := range s.resources.at(spot) {
			a := s.acl(key)
			if !a.resource.Covers(resource) {
				continue
			}
			for it := range a.holders.all {
				if p.check(it.ref) == nil {
					continue
				}
				for holder := range it.ref.holders {
					if holder.hash == it.key {
						list = s.reach(list, s.holding(it.ref, holder.Subject, p.at))
					}
				}
			}
		}
	}
	return sortHoldings(list)
}

// reach appends a holding, and that of each member if a group holds it.
func (s *Snapshot) reach(list []Holding, h Holding) []Holding {
	list = append(list, h)
	if h.Via.Kind != KindGroup {
		return list
	}
	if g := s.groupNamed(h.Via.Name); g != nil {
		for _, member := range g.members {
			h.Subject, h.Membership = member.Subject, g.name
			list = append(list, h)
		}
	}
	return list
}

// PermissionsOf lists what a subject holds: its own grants first, then those of its groups, whether
// the authenticator reported them or Group objects name it. Grants that don't count at the time are
// listed with the reason in their state.
func (s *Snapshot) PermissionsOf(user Subject, groups []string, at time.Time) []Holding {
	var list []Holding
	when := instantOf(at)
	walk := asker{s: s, who: user, reported: groups}
	for who, membership, ok := walk.next(nil); ok; who, membership, ok = walk.next(nil) {
		for it := range who.grants.all {
			h := s.holding(it.ref, who.key.Subject, when)
			h.Subject, h.Membership = user, membership
			list = append(list, h)
		}
	}
	return sortHoldings(list)
}
