package effective

import (
	"slices"

	"github.com/grantry/grantry/internal/permission"
)

// The records below are immutable once a snapshot holds them; a change makes new ones.

// subjectKey is the identity of a subject, shared by all that refer to it.
type subjectKey struct {
	Subject
	hash uint64
}

// subject is somebody with grants or memberships.
// A decision reads it from the top, and for most subjects no further than the first field.
type subject struct {
	spots    sieve         // of grants
	who      Subject       // as in key: comparing it here saves a step through memory
	grants   tree[*grant]  // by the spot of the grant's ACL
	memberOf []*subjectKey // groups by Group objects, sorted by name
	key      *subjectKey
}

func newSubject(who Subject, hash uint64) *subject {
	return &subject{who: who, key: &subjectKey{Subject: who, hash: hash}}
}

func (a *subject) before(b *subject) bool { return a.key.compare(b.key.Subject) < 0 }

func (a *subject) isEmpty() bool { return a.grants.n == 0 && len(a.memberOf) == 0 }

// aclKey is the identity of an ACL, shared by all that refer to it.
type aclKey struct {
	name string
	hash uint64
}

func (a *aclKey) before(b *aclKey) bool { return a.name < b.name }

// acl is an ACL, or the place of a missing one that grants name.
type acl struct {
	key      *aclKey
	name     string              // as in key
	resource permission.Resource // zero if the ACL does not exist
	// spot is where the subjects keep the grants of this ACL. It outlives the ACL, so that deleting
	// one and creating it again costs nothing per grant.
	spot     uint64
	holders  tree[*grant] // by the hash of each subject
	grants   int
	subjects int
}

func (a *acl) before(b *acl) bool { return a.key.before(b.key) }

func (a *acl) exists() bool { return !a.resource.IsZero() }

// grant is a Grant with its references resolved to keys. It is kept small: there may be millions.
type grant struct {
	name    string
	acl     *aclKey
	subject *subjectKey // the first subject; nil if there is none
	more    *grantMore  // nil for a grant with one subject and no window
	actions permission.Actions
}

type grantMore struct {
	subjects     []*subjectKey // after the first
	starts, ends int64
}

func (g *grant) starts() int64 {
	if g.more == nil {
		return distantPast
	}
	return g.more.starts
}

func (g *grant) ends() int64 {
	if g.more == nil {
		return distantFuture
	}
	return g.more.ends
}

// before puts the grant that lasts longest first, so that a search can stop at the first one that has
// expired, and so that the verdict names the one that lasts.
func (g *grant) before(other *grant) bool {
	if a, b := g.ends(), other.ends(); a != b {
		return a > b
	}
	return g.name < other.name
}

// holders yields the subjects of the grant.
func (g *grant) holders(yield func(*subjectKey) bool) {
	if g.subject == nil || !yield(g.subject) || g.more == nil {
		return
	}
	for _, s := range g.more.subjects {
		if !yield(s) {
			return
		}
	}
}

// group is a Group object.
type group struct {
	name    string
	key     *subjectKey
	members []*subjectKey // sorted
}

func (a *group) before(b *group) bool { return a.name < b.name }

func compareKeys(a, b *subjectKey) int { return a.compare(b.Subject) }

// subjectsOf is the valid subjects of a list, sorted and without repetition.
func subjectsOf(list []Subject, valid func(Subject) bool) []Subject {
	var kept []Subject
	for _, s := range list {
		if valid(s) {
			kept = append(kept, s)
		}
	}
	slices.SortFunc(kept, Subject.compare)
	return slices.Compact(kept)
}

func isSubject(s Subject) bool { return !s.IsZero() }

func isMember(s Subject) bool { return s.Kind == KindUser && s.Name != "" }
