package effective

// Build makes a snapshot of everything at once. It always serves what it can; the rest it reports,
// sorted. The order of the input does not matter.
func Build(in Input) (*Snapshot, []Problem) {
	var i intake
	s := New()
	unique(&i, ObjectACL, in.ACLs, func(a *ACL) string { return a.Name }, func(a *ACL) {
		if a.Resource.IsZero() {
			i.add(ObjectACL, a.Name, NoResource, "it has no resource")
			return
		}
		s.setACL(*a)
	})
	unique(&i, ObjectGrant, in.Grants, func(g *Grant) string { return g.Name }, func(g *Grant) {
		i.checkGrant(g, s.HasACL(g.ACL))
		s.setGrant(*g)
	})
	unique(&i, ObjectGroup, in.Groups, func(g *Group) string { return g.Name }, func(g *Group) {
		i.checkGroup(g)
		s.setGroup(*g)
	})
	return s, i.sorted()
}
