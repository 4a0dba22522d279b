package effective

import (
	"slices"
	"time"
)

// Flip is a query that two snapshots answer differently.
type Flip struct {
	Query         Query
	Before, After Verdict
}

// Impact is what changes between two snapshots at one time.
type Impact struct {
	Flips        []Flip    // of the questions, in their order
	Gained, Lost []Holding // in force after and not before, and the reverse; sorted
}

// ImpactOf compares two snapshots: which of the questions they answer differently, and which holdings
// come into force or go, at a time. A question without a time is asked at that time. A holding that
// changes its actions or its resource is both lost and gained; that somebody loses a holding does not
// mean that another one does not still allow the same: that is what the questions are for. Members of
// groups are listed as far as Group objects name them. Parts that the snapshots share are skipped.
func ImpactOf(before, after *Snapshot, at time.Time, questions ...Query) Impact {
	var impact Impact
	for _, q := range questions {
		if q.At.IsZero() {
			q.At = at
		}
		b, a := before.Decide(q), after.Decide(q)
		if b.Allowed != a.Allowed {
			impact.Flips = append(impact.Flips, Flip{Query: q, Before: b, After: a})
		}
	}
	touched := touchedGrants(before, after)
	had, has := before.inForce(touched, at), after.inForce(touched, at)
	impact.Lost, impact.Gained = without(had, has), without(has, had)
	return impact
}

// touchedGrants lists the names of the grants that may mean something else in the other snapshot.
func touchedGrants(before, after *Snapshot) []string {
	var names []string
	diff(before.grants, after.grants, func(it item[*grant]) { names = append(names, it.ref.name) })
	// A grant that is the same in both belongs to the same ACL and subjects in both: after will do.
	diff(before.resources, after.resources, func(it item[*aclKey]) {
		if a := after.acl(it.ref); a != nil {
			names = append(names, sortedNames(a.holders.all)...)
		}
	})
	diff(before.groups, after.groups, func(it item[*group]) {
		if who := after.subjectWith(it.ref.key.Subject, it.ref.key.hash); who != nil {
			names = append(names, sortedNames(who.grants.all)...)
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// inForce lists the holdings of the named grants that count at a time, sorted.
func (s *Snapshot) inForce(grants []string, at time.Time) []Holding {
	var list []Holding
	when := instantOf(at)
	for _, name := range grants {
		g := s.grantNamed(name)
		if g == nil {
			continue
		}
		for key := range g.holders {
			if h := s.holding(g, key.Subject, when); h.State == InForce {
				list = s.reach(list, h)
			}
		}
	}
	return sortHoldings(list)
}

// without is the sorted holdings of a that are not in b.
func without(a, b []Holding) []Holding {
	var only []Holding
	for _, h := range a {
		for len(b) > 0 && compareHoldings(b[0], h) < 0 {
			b = b[1:]
		}
		if len(b) == 0 || !sameRight(b[0], h) {
			only = append(only, h)
		}
	}
	return only
}

// sameRight reports whether two holdings are of one grant to one subject and give the same.
func sameRight(a, b Holding) bool {
	return compareHoldings(a, b) == 0 && a.Actions == b.Actions && a.Resource.Equal(b.Resource)
}
