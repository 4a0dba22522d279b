package effective

import "slices"

// Change sets or deletes one object by its name.
type Change struct {
	apply func(*Snapshot)
}

// SetACL adds an ACL or replaces the one of its name. An ACL without a resource is one that isn't there.
func SetACL(a ACL) Change { return Change{func(s *Snapshot) { s.setACL(a) }} }

// DeleteACL removes an ACL. Its grants stay and count again as soon as the ACL is back.
func DeleteACL(name string) Change { return Change{func(s *Snapshot) { s.setACL(ACL{Name: name}) }} }

// SetGrant adds a grant or replaces the one of its name. Subjects that are nobody are left out.
func SetGrant(g Grant) Change { return Change{func(s *Snapshot) { s.setGrant(g) }} }

// DeleteGrant removes a grant.
func DeleteGrant(name string) Change { return Change{func(s *Snapshot) { s.deleteGrant(name) }} }

// SetGroup adds a Group object or replaces the one of its name. Members that are no users are left out.
func SetGroup(g Group) Change { return Change{func(s *Snapshot) { s.setGroup(g) }} }

// DeleteGroup removes a Group object. Grants to the group stay, for those whom the authenticator
// reports as members.
func DeleteGroup(name string) Change { return Change{func(s *Snapshot) { s.deleteGroup(name) }} }

// Apply returns a snapshot with the changes, in their order. It costs what it changes: the rest is
// shared. Changes of objects without a name are ignored.
func (s *Snapshot) Apply(changes ...Change) *Snapshot {
	next := *s
	for _, c := range changes {
		if c.apply != nil {
			c.apply(&next)
		}
	}
	return &next
}

// The methods below change a snapshot that nobody else has seen yet.

func (s *Snapshot) setACL(a ACL) {
	if a.Name == "" {
		return
	}
	old := s.aclNamed(a.Name, hashName(a.Name))
	if old == nil {
		if a.Resource.IsZero() {
			return
		}
		old = newACL(a.Name)
	}
	next := *old
	next.resource = a.Resource
	if old.exists() {
		s.resources = s.resources.without(item[*aclKey]{old.spot, old.key})
	}
	if next.exists() {
		next.spot = spotOf(a.Resource)
		s.resources = s.resources.with(item[*aclKey]{next.spot, next.key})
	}
	if next.spot != old.spot {
		s.moveGrants(old, next.spot)
	}
	s.putACL(&next)
}

func newACL(name string) *acl {
	return &acl{name: name, key: &aclKey{name: name, hash: hashName(name)}}
}

// putACL stores an ACL, or forgets it if it neither exists nor is named by a grant.
func (s *Snapshot) putACL(a *acl) {
	it := item[*acl]{a.key.hash, a}
	if a.exists() || a.grants > 0 {
		s.acls = s.acls.with(it)
	} else {
		s.acls = s.acls.without(it)
	}
}

// moveGrants files the grants of an ACL under another spot.
func (s *Snapshot) moveGrants(a *acl, spot uint64) {
	for it := range a.holders.all {
		for key := range it.ref.holders {
			if key.hash != it.key {
				continue
			}
			who := *s.subjectWith(key.Subject, key.hash)
			s.putGrants(&who, who.grants.without(item[*grant]{a.spot, it.ref}).with(item[*grant]{spot, it.ref}))
		}
	}
}

// putGrants stores a subject with other grants.
func (s *Snapshot) putGrants(who *subject, grants tree[*grant]) {
	who.grants, who.spots = grants, sieveOf(&grants)
	s.putSubject(who)
}

// putSubject stores a subject, or forgets it if it has nothing.
func (s *Snapshot) putSubject(who *subject) {
	it := item[*subject]{who.key.hash, who}
	if who.isEmpty() {
		s.subjects = s.subjects.without(it)
	} else {
		s.subjects = s.subjects.with(it)
	}
}

// subjectFor returns a copy of the subject's record, or a new one.
func (s *Snapshot) subjectFor(who Subject) subject {
	hash := hashSubject(who)
	if rec := s.subjectWith(who, hash); rec != nil {
		return *rec
	}
	return *newSubject(who, hash)
}

func (s *Snapshot) setGrant(in Grant) {
	if in.Name == "" {
		return
	}
	s.deleteGrant(in.Name)
	rec := s.aclNamed(in.ACL, hashName(in.ACL))
	if rec == nil {
		rec = newACL(in.ACL)
	}
	a := *rec
	subjects := subjectsOf(in.Subjects, isSubject)
	records := make([]subject, len(subjects))
	keys := make([]*subjectKey, len(subjects))
	for i, who := range subjects {
		records[i] = s.subjectFor(who)
		keys[i] = records[i].key
	}
	g := newGrant(in, a.key, keys)
	for i := range records {
		who := records[i]
		s.putGrants(&who, who.grants.with(item[*grant]{a.spot, g}))
		if !a.hasHolder(who.key) {
			a.subjects++
		}
		a.holders = a.holders.with(item[*grant]{who.key.hash, g})
	}
	a.grants++
	s.putACL(&a)
	s.grants = s.grants.with(item[*grant]{hashName(g.name), g})
	for _, key := range g.edges() {
		s.edges = s.edges.with(item[*grant]{key, g})
	}
}

func newGrant(in Grant, a *aclKey, subjects []*subjectKey) *grant {
	g := &grant{name: in.Name, acl: a, actions: in.Actions}
	starts, ends := startNanos(in.NotBefore), endNanos(in.ExpiresAt)
	if len(subjects) > 0 {
		g.subject, subjects = subjects[0], subjects[1:]
	}
	if len(subjects) > 0 || starts != distantPast || ends != distantFuture {
		g.more = &grantMore{subjects: slices.Clone(subjects), starts: starts, ends: ends}
	}
	return g
}

// edges are the keys of the times at which the window of the grant opens and closes.
func (g *grant) edges() []uint64 {
	var keys []uint64
	if n := g.starts(); n != distantPast {
		keys = append(keys, edgeKey(n))
	}
	if n := g.ends(); n != distantFuture {
		keys = append(keys, edgeKey(n))
	}
	return keys
}

// hasHolder reports whether a grant of the ACL has the subject.
func (a *acl) hasHolder(key *subjectKey) bool {
	for g := range a.holders.at(key.hash) {
		for holder := range g.holders {
			if holder.Subject == key.Subject {
				return true
			}
		}
	}
	return false
}

func (s *Snapshot) deleteGrant(name string) {
	g := s.grantNamed(name)
	if g == nil {
		return
	}
	a := *s.acl(g.acl)
	for key := range g.holders {
		a.holders = a.holders.without(item[*grant]{key.hash, g})
		if !a.hasHolder(key) {
			a.subjects--
		}
		who := *s.subjectWith(key.Subject, key.hash)
		s.putGrants(&who, who.grants.without(item[*grant]{a.spot, g}))
	}
	a.grants--
	s.putACL(&a)
	s.grants = s.grants.without(item[*grant]{hashName(name), g})
	for _, key := range g.edges() {
		s.edges = s.edges.without(item[*grant]{key, g})
	}
}

func (s *Snapshot) setGroup(in Group) {
	if in.Name == "" {
		return
	}
	old := s.groupNamed(in.Name)
	if old == nil {
		who := GroupSubject(in.Name)
		old = &group{name: in.Name, key: &subjectKey{Subject: who, hash: hashSubject(who)}}
	}
	next := &group{name: in.Name, key: old.key}
	members := subjectsOf(in.Members, isMember)
	gone := old.members
	for _, m := range members {
		for len(gone) > 0 && gone[0].compare(m) < 0 {
			s.leave(gone[0], next.key)
			gone = gone[1:]
		}
		if len(gone) > 0 && gone[0].Subject == m {
			next.members = append(next.members, gone[0])
			gone = gone[1:]
			continue
		}
		next.members = append(next.members, s.join(m, next.key))
	}
	for _, key := range gone {
		s.leave(key, next.key)
	}
	s.groups = s.groups.with(item[*group]{hashName(in.Name), next})
}

func (s *Snapshot) deleteGroup(name string) {
	g := s.groupNamed(name)
	if g == nil {
		return
	}
	for _, key := range g.members {
		s.leave(key, g.key)
	}
	s.groups = s.groups.without(item[*group]{hashName(name), g})
}

// join makes a user a member of a group.
func (s *Snapshot) join(user Subject, group *subjectKey) *subjectKey {
	who := s.subjectFor(user)
	i, _ := slices.BinarySearchFunc(who.memberOf, group, compareKeys)
	who.memberOf = inserted(who.memberOf, i, group)
	s.putSubject(&who)
	return who.key
}

// leave ends a membership.
func (s *Snapshot) leave(user, group *subjectKey) {
	who := *s.subjectWith(user.Subject, user.hash)
	i, _ := slices.BinarySearchFunc(who.memberOf, group, compareKeys)
	who.memberOf = deleted(who.memberOf, i)
	s.putSubject(&who)
}
