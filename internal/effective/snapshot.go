package effective

import (
	"slices"
	"time"

	"github.com/grantry/grantry/internal/permission"
)

// Snapshot is an immutable set of ACLs, Grants and Groups that answers questions. Any number of
// goroutines may use it. Use Build or, for an empty one, New.
type Snapshot struct {
	subjects  table[*subject] // by hashSubject
	acls      table[*acl]     // by hashName; includes missing ones that grants name
	resources table[*aclKey]  // existing ACLs by spot
	grants    table[*grant]   // by hashName
	groups    table[*group]   // by hashName
	edges     tree[*grant]    // by edgeKey, for each start and end of a window
}

// New returns the empty snapshot, which refuses everything.
func New() *Snapshot { return &Snapshot{} }

// Counts says how much a snapshot holds.
type Counts struct {
	ACLs, Grants, Groups int
	Subjects             int // with grants or memberships
	MissingACLs          int // that grants name and that do not exist
}

// Counts returns how much the snapshot holds.
func (s *Snapshot) Counts() Counts {
	return Counts{
		ACLs: s.resources.n, Grants: s.grants.n, Groups: s.groups.n, Subjects: s.subjects.n,
		MissingACLs: s.acls.n - s.resources.n,
	}
}

// ACLStats is what a snapshot knows about an ACL.
type ACLStats struct {
	Exists   bool                // false if grants name an ACL that there isn't
	Resource permission.Resource // zero unless it exists
	Grants   int                 // that name the ACL, whatever their windows
	Subjects int                 // distinct subjects of these grants; a group counts as one
}

// ACLStats returns what is known about an ACL, at no cost that depends on its grants. It is zero for
// an ACL that neither exists nor is named by a grant.
func (s *Snapshot) ACLStats(name string) ACLStats {
	a := s.aclNamed(name, hashName(name))
	if a == nil {
		return ACLStats{}
	}
	return ACLStats{Exists: a.exists(), Resource: a.resource, Grants: a.grants, Subjects: a.subjects}
}

// HasACL reports whether the ACL exists.
func (s *Snapshot) HasACL(name string) bool { return s.ACLStats(name).Exists }

// ACLsOf lists the names of the ACLs that protect exactly this resource, sorted.
func (s *Snapshot) ACLsOf(r permission.Resource) []string {
	var names []string
	for key := range s.resources.at(spotOf(r)) {
		if a := s.acl(key); a != nil && a.resource.Equal(r) {
			names = append(names, key.name)
		}
	}
	slices.Sort(names)
	return names
}

// GrantNamed returns a grant as the snapshot serves it: its valid subjects, sorted.
func (s *Snapshot) GrantNamed(name string) (Grant, bool) {
	g := s.grantNamed(name)
	if g == nil {
		return Grant{}, false
	}
	return g.export(), true
}

// GrantsOf lists the names of the grants that name the ACL, sorted. It looks at all of them.
func (s *Snapshot) GrantsOf(acl string) []string {
	a := s.aclNamed(acl, hashName(acl))
	if a == nil {
		return nil
	}
	return sortedNames(a.holders.all)
}

// MembersOf lists the members of a Group object, sorted.
func (s *Snapshot) MembersOf(groupName string) []Subject {
	g := s.groupNamed(groupName)
	if g == nil {
		return nil
	}
	members := make([]Subject, len(g.members))
	for i, m := range g.members {
		members[i] = m.Subject
	}
	return members
}

// IsMember reports whether a Group object makes a user a member of the group of its name.
func (s *Snapshot) IsMember(user Subject, group string) bool {
	who := s.subjectWith(user, hashSubject(user))
	return who != nil && slices.ContainsFunc(who.memberOf, func(key *subjectKey) bool { return key.Name == group })
}

// HasGroup reports whether there is a Group object of the name, be it empty.
func (s *Snapshot) HasGroup(name string) bool { return s.groupNamed(name) != nil }

// NextEdge returns the first time after a given one at which the window of some grant opens or
// closes. Decide needs no such hint; it is for those who act when a verdict changes.
func (s *Snapshot) NextEdge(after time.Time) (time.Time, bool) {
	c := s.edges.seek(edgeKey(nanos(after)) + 1)
	it, ok := c.next()
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(0, edgeTime(it.key)).UTC(), true
}

// EdgesBetween lists the grants whose window opens or closes after a time and not after another one,
// sorted.
func (s *Snapshot) EdgesBetween(after, until time.Time) []string {
	end := edgeKey(nanos(until))
	return sortedNames(func(yield func(item[*grant]) bool) {
		c := s.edges.seek(edgeKey(nanos(after)) + 1)
		for it, ok := c.next(); ok && it.key <= end && yield(it); it, ok = c.next() {
		}
	})
}

// edgeKey maps times to keys of the same order.
func edgeKey(nanos int64) uint64 { return uint64(nanos) ^ 1<<63 }

func edgeTime(key uint64) int64 { return int64(key ^ 1<<63) }

func (s *Snapshot) subjectWith(who Subject, hash uint64) *subject {
	for rec := range s.subjects.at(hash) {
		if rec.who == who {
			return rec
		}
	}
	return nil
}

func (s *Snapshot) acl(key *aclKey) *acl {
	cells, i := s.acls.lookup(key.hash)
	for ; len(cells) > 0 && cells[i].ref != nil; i = nextCell(i, len(cells)) {
		if cells[i].key == key.hash && (cells[i].ref.key == key || cells[i].ref.name == key.name) {
			return cells[i].ref
		}
	}
	return nil
}

func (s *Snapshot) aclNamed(name string, hash uint64) *acl {
	return s.acl(&aclKey{name: name, hash: hash})
}

func (s *Snapshot) grantNamed(name string) *grant {
	for g := range s.grants.at(hashName(name)) {
		if g.name == name {
			return g
		}
	}
	return nil
}

func (s *Snapshot) groupNamed(name string) *group {
	for g := range s.groups.at(hashName(name)) {
		if g.name == name {
			return g
		}
	}
	return nil
}

func (g *grant) export() Grant {
	out := Grant{Name: g.name, ACL: g.acl.name, Actions: g.actions, NotBefore: startTime(g.starts()), ExpiresAt: endTime(g.ends())}
	for key := range g.holders {
		out.Subjects = append(out.Subjects, key.Subject)
	}
	return out
}
