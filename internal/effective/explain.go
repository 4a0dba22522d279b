package effective

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/grantry/grantry/internal/permission"
)

// Explanation is a verdict with its reason in structured form and, by String, in one sentence. A
// refusal names the nearest miss. Only grants of the asker and of its groups are ever named.
type Explanation struct {
	User     Subject
	Resource permission.Resource
	AnyOf    permission.Actions
	Verdict  Verdict
	Miss     Miss // if refused
}

// MissKind says what is lacking. A lower one is nearer to being allowed.
type MissKind uint8

// The kinds of misses.
const (
	NotMissed        MissKind = iota // it is allowed
	MissNotYetOpen                   // a grant gives it, from a later time on
	MissExpired                      // a grant gave it, up to an earlier time
	MissAction                       // a grant reaches the resource with other actions
	MissACL                          // a grant has the action; its ACL does not exist
	MissNarrower                     // a grant has the action on something beneath the resource
	MissElsewhere                    // a grant has the action on another resource of the same family and scope
	MissNoGrant                      // no grant comes near
	MissNotAQuestion                 // the query has no resource or no action
)

// Miss is the grant that comes nearest to allowing a query, and what is lacking.
type Miss struct {
	Kind    MissKind
	Holding Holding            // zero if no grant comes near
	Needed  permission.Actions // any one of them would do
	shared  int                // segments that the resources share
}

// explainLimit bounds how many grants of one subject and id are compared for the nearest miss. A
// subject with more grants is searched on the resource and above it only, so that a refusal stays
// cheap whatever a group holds.
const explainLimit = 4096

// Explain answers a query as Decide does, with the reason.
func (s *Snapshot) Explain(q Query) Explanation {
	e := Explanation{User: q.User, Resource: q.Resource, AnyOf: q.AnyOf & permission.AllActions, Verdict: s.Decide(q)}
	if e.Verdict.Allowed {
		return e
	}
	e.Miss = s.nearest(&q)
	e.Miss.Needed = e.AnyOf.SatisfiedBy()
	if q.Resource.Family() == permission.FamilyAdminRouter {
		e.Miss.Needed = permission.Full
	}
	return e
}

// nearest finds the nearest miss of a refused query.
func (s *Snapshot) nearest(q *Query) Miss {
	var p probe
	if !p.start(s, q) {
		return Miss{Kind: MissNotAQuestion}
	}
	p.path.fill(q.Resource)
	best := Miss{Kind: MissNoGrant}
	for who, membership, ok := p.asker.next(nil); ok; who, membership, ok = p.asker.next(nil) {
		for g := range p.candidates(who) {
			m := p.miss(g, who.key.Subject)
			if compareMisses(m, best) < 0 {
				m.Holding.Subject, m.Holding.Membership = q.User, membership
				best = m
			}
		}
	}
	return best
}

// candidates yields the grants of a subject that may be the nearest miss.
func (p *probe) candidates(who *subject) func(yield func(*grant) bool) { //nolint:gocognit // the loops are those of the index
	return func(yield func(*grant) bool) {
		if who.grants.n <= explainLimit {
			for it := range who.grants.all {
				if !yield(it.ref) {
					return
				}
			}
			return
		}
		for _, spot := range p.path.spot[:p.path.n] {
			n := 0
			for g := range who.grants.at(spot) {
				if n++; n > explainLimit {
					break
				}
				if !yield(g) {
					return
				}
			}
		}
	}
}

// miss says how near a grant comes.
func (p *probe) miss(g *grant, via Subject) Miss {
	h := p.s.holding(g, via, p.at)
	m := Miss{Kind: MissNoGrant, Holding: h}
	if h.State == ACLMissing {
		if g.actions.Satisfies(p.anyOf) && p.at.isOpen(g) {
			m.Kind = MissACL
		}
		return m
	}
	gives := h.Resource.Effective(h.Actions)&p.anyOf != 0
	if h.Resource.Family() == p.resource.Family() && h.Resource.Scope() == p.resource.Scope() {
		m.shared, _ = h.Resource.Common(p.resource)
	}
	switch covers := h.Resource.Covers(p.resource); {
	case covers && gives && h.State == NotYetOpen:
		m.Kind = MissNotYetOpen
	case covers && gives && h.State == Expired:
		m.Kind = MissExpired
	case covers && h.State == InForce:
		m.Kind = MissAction
	case !gives || h.State != InForce || h.Resource.Family() != p.resource.Family() || h.Resource.Scope() != p.resource.Scope():
		// nothing that would help
	case p.resource.Covers(h.Resource):
		m.Kind = MissNarrower
	default:
		m.Kind = MissElsewhere
	}
	return m
}

// compareMisses puts the nearer miss first: by kind; then the window that opens first or closed last;
// then by the segments shared; then the asker's own before a group's; then by name.
func compareMisses(a, b Miss) int {
	if a.Kind != b.Kind {
		return cmp.Compare(a.Kind, b.Kind)
	}
	byTime := 0
	switch a.Kind {
	case MissNotYetOpen:
		byTime = a.Holding.NotBefore.Compare(b.Holding.NotBefore)
	case MissExpired:
		byTime = b.Holding.ExpiresAt.Compare(a.Holding.ExpiresAt)
	case MissNoGrant:
		return 0
	default: // no time tells them apart
	}
	return cmp.Or(byTime, cmp.Compare(b.shared, a.shared), a.Holding.Via.compare(b.Holding.Via), cmp.Compare(a.Holding.Grant, b.Holding.Grant))
}

// Brief says what was decided and, on a refusal, names neither grants nor ACLs.
func (e Explanation) Brief() string {
	may := "may not"
	if e.Verdict.Allowed {
		may = "may"
	}
	return fmt.Sprintf("%s %s %s on %s", e.User, may, anyOf(e.AnyOf), e.Resource.Describe())
}

// String is one sentence: the decision and what led to it, or what is lacking.
func (e Explanation) String() string {
	if e.Verdict.Allowed {
		return e.Brief() + ": " + e.Verdict.String()
	}
	return e.Brief() + ": " + e.Miss.String()
}

// String says by what the verdict is.
func (v Verdict) String() string {
	if !v.Allowed {
		return "not allowed"
	}
	text := fmt.Sprintf("Grant %s (ACL %s) gives %s to %s", v.Grant, v.ACL, allOf(v.Actions), v.Via)
	if v.Superuser {
		text += ", which makes a superuser"
	}
	if v.Membership != "" {
		text += ", of which Group " + v.Membership + " makes it a member"
	}
	if !v.ExpiresAt.IsZero() {
		text += ", until " + stamp(v.ExpiresAt)
	}
	return text
}

// String says what is lacking.
func (m Miss) String() string {
	h := m.Holding
	grant := fmt.Sprintf("Grant %s (ACL %s)", h.Grant, h.ACL)
	if h.Via != h.Subject {
		grant += " of " + h.Via.String()
	}
	switch m.Kind {
	case NotMissed:
		return "nothing is missing"
	case MissNotYetOpen:
		return grant + " gives it, but its window opens at " + stamp(h.NotBefore)
	case MissExpired:
		return grant + " gave it, but expired at " + stamp(h.ExpiresAt)
	case MissAction:
		return fmt.Sprintf("%s gives %s on %s; %s is missing", grant, allOf(h.Actions), h.Resource.Describe(), anyOf(m.Needed))
	case MissACL:
		return fmt.Sprintf("Grant %s names ACL %s, which does not exist or can't be read", h.Grant, h.ACL)
	case MissNarrower:
		return fmt.Sprintf("%s gives it on %s only", grant, h.Resource.Describe())
	case MissElsewhere:
		return fmt.Sprintf("closest is %s, which gives it on %s", grant, h.Resource.Describe())
	case MissNotAQuestion:
		return "no valid resource or action was asked for"
	case MissNoGrant:
	}
	return "no grant of the user or of its groups comes near"
}

// anyOf writes a set of actions of which one is enough: "read", "update" or "full".
func anyOf(a permission.Actions) string { return quoted(a, " or ") }

// allOf writes a set of actions that go together: "read" and "update".
func allOf(a permission.Actions) string { return quoted(a, " and ") }

func quoted(a permission.Actions, last string) string {
	names := a.Names()
	if len(names) == 0 {
		return "nothing"
	}
	end := `"` + names[len(names)-1] + `"`
	if len(names) == 1 {
		return end
	}
	return `"` + strings.Join(names[:len(names)-1], `", "`) + `"` + last + end
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
