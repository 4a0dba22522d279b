package effective

import "slices"

// Build makes a snapshot of everything at once. It always serves what it can; the rest it reports,
// sorted. The order of the input does not matter.
func Build(in Input) (*Snapshot, []Problem) {
	var i intake
	b := bulk{acls: make(map[string]*acl, len(in.ACLs)), index: make(map[Subject]int)}
	unique(&i, ObjectACL, in.ACLs, func(a *ACL) string { return a.Name }, func(a *ACL) {
		if a.Resource.IsZero() {
			i.add(ObjectACL, a.Name, NoResource, "it has no resource")
			return
		}
		b.addACL(a)
	})
	unique(&i, ObjectGrant, in.Grants, func(g *Grant) string { return g.Name }, func(g *Grant) {
		a := b.aclNamed(g.ACL)
		i.checkGrant(g, a.exists())
		b.addGrant(g, a)
	})
	unique(&i, ObjectGroup, in.Groups, func(g *Group) string { return g.Name }, func(g *Group) {
		i.checkGroup(g)
		b.addGroup(g)
	})
	return b.snapshot(), i.sorted()
}

// bulk collects what a snapshot holds in flat lists, sorts each once and makes the tables of them.
type bulk struct {
	acls     map[string]*acl
	index    map[Subject]int // in subjects
	subjects []*subject
	holdings []bulkHolding
	grants   []item[*grant]
	groups   []item[*group]
	edges    []item[*grant]
}

// bulkHolding is one subject of one grant.
type bulkHolding struct {
	grant   *grant
	acl     *acl
	subject int
}

func (b *bulk) addACL(in *ACL) {
	a := newACL(in.Name)
	a.resource, a.spot = in.Resource, spotOf(in.Resource)
	b.acls[in.Name] = a
}

// aclNamed is the ACL with the name, or the place of a missing one.
func (b *bulk) aclNamed(name string) *acl {
	a := b.acls[name]
	if a == nil {
		a = newACL(name)
		b.acls[name] = a
	}
	return a
}

// subjectAt is the place of a subject in the list, to which it is added if it is new.
func (b *bulk) subjectAt(who Subject) int {
	at, ok := b.index[who]
	if !ok {
		at = len(b.subjects)
		b.index[who] = at
		b.subjects = append(b.subjects, newSubject(who, hashSubject(who)))
	}
	return at
}

func (b *bulk) keysOf(subjects []Subject) (places []int, keys []*subjectKey) {
	for _, who := range subjects {
		at := b.subjectAt(who)
		places, keys = append(places, at), append(keys, b.subjects[at].key)
	}
	return places, keys
}

func (b *bulk) addGrant(in *Grant, a *acl) {
	places, keys := b.keysOf(subjectsOf(in.Subjects, isSubject))
	g := newGrant(*in, a.key, keys)
	for _, at := range places {
		b.holdings = append(b.holdings, bulkHolding{g, a, at})
	}
	a.grants++
	b.grants = append(b.grants, item[*grant]{hashName(g.name), g})
	for _, key := range g.edges() {
		b.edges = append(b.edges, item[*grant]{key, g})
	}
}

func (b *bulk) addGroup(in *Group) {
	who := GroupSubject(in.Name)
	g := &group{name: in.Name, key: &subjectKey{Subject: who, hash: hashSubject(who)}}
	places, keys := b.keysOf(subjectsOf(in.Members, isMember))
	g.members = keys
	for _, at := range places {
		who := b.subjects[at]
		who.memberOf = append(who.memberOf, g.key)
	}
	b.groups = append(b.groups, item[*group]{hashName(g.name), g})
}

// snapshot makes the tables. The lists are used up.
func (b *bulk) snapshot() *Snapshot {
	s := &Snapshot{grants: fill(b.grants), groups: fill(b.groups), edges: pack(sorted(b.edges))}
	b.packSubjects()
	subjects := make([]item[*subject], len(b.subjects))
	for i, who := range b.subjects {
		subjects[i] = item[*subject]{who.key.hash, who}
	}
	s.subjects = fill(subjects)
	b.packACLs()
	acls := make([]item[*acl], 0, len(b.acls))
	var resources []item[*aclKey]
	for _, a := range b.acls {
		acls = append(acls, item[*acl]{a.key.hash, a})
		if a.exists() {
			resources = append(resources, item[*aclKey]{a.spot, a.key})
		}
	}
	s.acls, s.resources = fill(acls), fill(resources)
	return s
}

// packSubjects gives each subject its grants.
func (b *bulk) packSubjects() {
	slices.SortFunc(b.holdings, func(x, y bulkHolding) int { return x.subject - y.subject })
	var items []item[*grant]
	for i, h := range b.holdings {
		who := b.subjects[h.subject]
		items = append(items, item[*grant]{h.acl.spot, h.grant})
		if i+1 == len(b.holdings) || b.holdings[i+1].subject != h.subject {
			who.grants = pack(sorted(items))
			who.spots = sieveOf(&who.grants)
			items = items[:0]
		}
	}
	for _, who := range b.subjects {
		slices.SortFunc(who.memberOf, compareKeys)
		who.memberOf = slices.Clip(who.memberOf)
	}
}

// packACLs gives each ACL its holders. They come sorted by subject, so that equal ones are neighbours.
func (b *bulk) packACLs() {
	holders := make(map[*acl][]item[*grant])
	last := make(map[*acl]int)
	for _, h := range b.holdings {
		if at, ok := last[h.acl]; !ok || at != h.subject {
			h.acl.subjects++
			last[h.acl] = h.subject
		}
		holders[h.acl] = append(holders[h.acl], item[*grant]{b.subjects[h.subject].key.hash, h.grant})
	}
	for a, items := range holders {
		a.holders = pack(sorted(items))
	}
}

// sorted orders items and leaves one of equal ones.
func sorted(items []item[*grant]) []item[*grant] {
	slices.SortFunc(items, item[*grant].compare)
	return slices.Compact(items)
}
