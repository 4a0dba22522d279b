package effective

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/grantry/grantry/internal/permission"
)

// The worlds of the properties are small, so that everything meets everything.
var (
	someNames = []string{"a", "b", "c"}
	someIDs   = []string{
		"dcos:superuser", jobsOf, jobsOf + ":a", jobsOf + ":a.b", jobsOf + ":/a/b", jobsOf + ":a.b.c", jobsOf + ":ab", jobsOf + ":b",
		"dcos:service:metronome:other:jobs:a", "dcos:adminrouter:x", "dcos:adminrouter:x:y", "dcos:mesos:agent:framework:role:*",
		"dcos:mesos:agent:framework:role", "dcos:mesos:master:task:app_id:/a/b", "dcos:x:y", "dcos:x",
	}
	someTimes = []time.Time{{}, noon.Add(-time.Hour), noon, noon.Add(time.Hour)}
)

func drawSubject() *rapid.Generator[Subject] {
	return rapid.Custom(func(t *rapid.T) Subject {
		return Subject{rapid.SampledFrom([]SubjectKind{KindUser, KindGroup}).Draw(t, "kind"), rapid.SampledFrom(someNames).Draw(t, "subject")}
	})
}

func drawResource() *rapid.Generator[permission.Resource] {
	return rapid.Map(rapid.SampledFrom(someIDs), permission.MustParseResource)
}

func drawActions(least int) *rapid.Generator[permission.Actions] {
	return rapid.Custom(func(t *rapid.T) permission.Actions {
		return permission.Actions(rapid.IntRange(least, int(permission.AllActions)).Draw(t, "actions"))
	})
}

func drawGrant() *rapid.Generator[Grant] {
	return rapid.Custom(func(t *rapid.T) Grant {
		return Grant{
			Name:      rapid.StringMatching(`g[0-9]`).Draw(t, "grant"),
			ACL:       rapid.StringMatching(`acl[0-5]`).Draw(t, "of"),
			Subjects:  rapid.SliceOfN(drawSubject(), 0, 3).Draw(t, "subjects"),
			Actions:   1 << rapid.IntRange(0, 5).Draw(t, "action"),
			NotBefore: rapid.SampledFrom(someTimes).Draw(t, "from"),
			ExpiresAt: rapid.SampledFrom(someTimes).Draw(t, "until"),
		}
	})
}

func drawACL() *rapid.Generator[ACL] {
	return rapid.Custom(func(t *rapid.T) ACL {
		return ACL{rapid.StringMatching(`acl[0-5]`).Draw(t, "acl"), drawResource().Draw(t, "resource")}
	})
}

func drawGroup() *rapid.Generator[Group] {
	return rapid.Custom(func(t *rapid.T) Group {
		return Group{rapid.SampledFrom(someNames).Draw(t, "group"), rapid.SliceOfN(rapid.Map(rapid.SampledFrom(someNames), UserSubject), 0, 3).Draw(t, "members")}
	})
}

func drawInput() *rapid.Generator[Input] {
	return rapid.Custom(func(t *rapid.T) Input {
		return Input{
			ACLs:   rapid.SliceOfNDistinct(drawACL(), 0, 6, func(a ACL) string { return a.Name }).Draw(t, "ACLs"),
			Grants: rapid.SliceOfNDistinct(drawGrant(), 0, 10, func(g Grant) string { return g.Name }).Draw(t, "grants"),
			Groups: rapid.SliceOfNDistinct(drawGroup(), 0, 3, func(g Group) string { return g.Name }).Draw(t, "groups"),
		}
	})
}

func drawQuery() *rapid.Generator[Query] {
	return rapid.Custom(func(t *rapid.T) Query {
		return Query{
			User:     drawSubject().Draw(t, "user"),
			Groups:   rapid.SliceOfN(rapid.SampledFrom(someNames), 0, 2).Draw(t, "groups"),
			Resource: drawResource().Draw(t, "asked"),
			AnyOf:    drawActions(1).Draw(t, "any of"),
			At:       rapid.SampledFrom(someTimes[1:]).Draw(t, "at"),
		}
	})
}

// oracle decides by looking at everything.
func oracle(in Input, q Query) bool {
	asker := []Subject{q.User}
	for _, g := range q.Groups {
		asker = append(asker, GroupSubject(g))
	}
	for _, g := range in.Groups {
		if slices.Contains(g.Members, q.User) {
			asker = append(asker, GroupSubject(g.Name))
		}
	}
	for _, g := range in.Grants {
		open := (g.NotBefore.IsZero() || !q.At.Before(g.NotBefore)) && (g.ExpiresAt.IsZero() || q.At.Before(g.ExpiresAt))
		for _, a := range in.ACLs {
			if open && a.Name == g.ACL && (permission.Rule{Resource: a.Resource, Actions: g.Actions}).Allows(q.Resource, q.AnyOf) &&
				slices.ContainsFunc(g.Subjects, func(s Subject) bool { return slices.Contains(asker, s) }) {
				return true
			}
		}
	}
	return false
}

// someQueries are enough to tell two snapshots of such a world apart.
func someQueries() []Query {
	var list []Query
	for _, kind := range []SubjectKind{KindUser, KindGroup} {
		for _, name := range someNames {
			for _, id := range someIDs {
				for action := permission.Create; action <= permission.Run; action <<= 1 {
					list = append(list, Query{User: Subject{kind, name}, Resource: permission.MustParseResource(id), AnyOf: action, At: noon})
				}
			}
		}
	}
	return list
}

func checkSame(t *rapid.T, a, b *Snapshot) {
	t.Helper()
	for _, q := range someQueries() {
		if va, vb := a.Explain(q), b.Explain(q); va.String() != vb.String() || va.Verdict != vb.Verdict {
			t.Fatalf("%v\n%v", va, vb)
		}
	}
	if diff := cmp.Diff(dump(a), dump(b)); diff != "" {
		t.Fatal(diff)
	}
}

// dump is everything that a snapshot says without being asked about anybody.
func dump(s *Snapshot) []string {
	list := []string{fmt.Sprint(s.Counts(), s.grants.n, s.subjects.n, s.acls.n, s.edges.n, s.EdgesBetween(time.Time{}, noon.Add(9*time.Hour)))}
	for i := range 10 {
		acl := fmt.Sprintf("acl%d", i)
		stats := s.ACLStats(acl)
		g, ok := s.GrantNamed(fmt.Sprintf("g%d", i))
		list = append(list, fmt.Sprint(stats.Exists, stats.Resource, stats.Grants, stats.Subjects, s.GrantsOf(acl), g, ok))
	}
	for _, name := range someNames {
		list = append(list, fmt.Sprint(s.MembersOf(name)))
	}
	for _, id := range someIDs {
		list = append(list, fmt.Sprint(s.ACLsOf(permission.MustParseResource(id)), s.WhoCan(permission.MustParseResource(id), permission.AllActions, noon)))
	}
	return list
}

func TestDecide_agreesWithLookingAtEverything(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput().Draw(t, "input")
		s, _ := Build(in)
		for range 20 {
			q := drawQuery().Draw(t, "query")
			v := s.Decide(q)
			if want := oracle(in, q); v.Allowed != want {
				t.Fatalf("%+v for %+v, want %v", v, q, want)
			}
			checkReverse(t, s, q, v)
			beneath := v.Allowed || slices.ContainsFunc(in.ACLs, func(a ACL) bool {
				return q.Resource.Family() == a.Resource.Family() && q.Resource.Covers(a.Resource) && oracleOn(in, q, a)
			})
			if got := s.DecideBeneath(q); got.Allowed != beneath {
				t.Fatalf("beneath: %+v for %+v, want %v", got, q, beneath)
			}
		}
	})
}

// oracleOn decides by the grants of one ACL.
func oracleOn(in Input, q Query, a ACL) bool {
	in.ACLs = []ACL{a}
	q.Resource = a.Resource
	return oracle(in, q)
}

func TestDecide_addingAGrantTakesNothingAway(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in, more := drawInput().Draw(t, "input"), drawGrant().Draw(t, "one more")
		more.Name = "one more"
		before, _ := Build(in)
		after := before.Apply(SetGrant(more))
		for _, q := range someQueries() {
			if before.Decide(q).Allowed && !after.Decide(q).Allowed {
				t.Fatalf("%+v is lost", q)
			}
		}
	})
}

func TestBuild_ignoresTheOrderOfInput(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput().Draw(t, "input")
		other := Input{
			ACLs: rapid.Permutation(in.ACLs).Draw(t, "ACLs"), Grants: rapid.Permutation(in.Grants).Draw(t, "grants"),
			Groups: rapid.Permutation(in.Groups).Draw(t, "groups"),
		}
		a, problems := Build(in)
		b, otherProblems := Build(other)
		if diff := cmp.Diff(problems, otherProblems); diff != "" {
			t.Fatal(diff)
		}
		checkSame(t, a, b)
	})
}

// TestApply_equalsBuild takes a snapshot through many changes and checks that it is as if it had been
// built of what is left, and that the snapshots before each change did not change with it.
func TestApply_equalsBuild(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		acls, grants, groups := map[string]ACL{}, map[string]Grant{}, map[string]Group{}
		s := New()
		t.Repeat(map[string]func(*rapid.T){
			"set ACL": func(t *rapid.T) {
				a := drawACL().Draw(t, "ACL")
				acls[a.Name] = a
				s = s.Apply(SetACL(a))
			},
			"delete ACL": func(t *rapid.T) {
				name := drawACL().Draw(t, "ACL").Name
				delete(acls, name)
				s = s.Apply(DeleteACL(name))
			},
			"set grant": func(t *rapid.T) {
				g := drawGrant().Draw(t, "grant")
				grants[g.Name] = g
				s = s.Apply(SetGrant(g))
			},
			"delete grant": func(t *rapid.T) {
				name := drawGrant().Draw(t, "grant").Name
				delete(grants, name)
				s = s.Apply(DeleteGrant(name))
			},
			"set group": func(t *rapid.T) {
				g := drawGroup().Draw(t, "group")
				groups[g.Name] = g
				s = s.Apply(SetGroup(g))
			},
			"delete group": func(t *rapid.T) {
				name := drawGroup().Draw(t, "group").Name
				delete(groups, name)
				s = s.Apply(DeleteGroup(name))
			},
		})
		var in Input
		for _, a := range acls {
			in.ACLs = append(in.ACLs, a)
		}
		for _, g := range grants {
			in.Grants = append(in.Grants, g)
		}
		for _, g := range groups {
			in.Groups = append(in.Groups, g)
		}
		built, _ := Build(in)
		checkSame(t, built, s)
		kept := dump(s)
		s.Apply(SetACL(ACL{"acl0", permission.Superuser()}), DeleteACL("acl1"), SetGrant(Grant{Name: "g0", ACL: "acl2", Subjects: []Subject{alice}}),
			DeleteGrant("g1"), SetGroup(Group{"a", []Subject{alice}}), DeleteGroup("b"))
		if diff := cmp.Diff(kept, dump(s)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestImpactOf_agreesWithAskingAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before, _ := Build(drawInput().Draw(t, "before"))
		after := before.Apply(SetGrant(drawGrant().Draw(t, "grant")), SetACL(drawACL().Draw(t, "ACL")), SetGroup(drawGroup().Draw(t, "group")),
			DeleteGrant(drawGrant().Draw(t, "no grant").Name), DeleteACL(drawACL().Draw(t, "no ACL").Name), DeleteGroup(drawGroup().Draw(t, "no group").Name))
		questions := someQueries()
		impact := ImpactOf(before, after, noon, questions...)
		flips := impact.Flips
		for _, q := range questions {
			b, a := before.Decide(q), after.Decide(q)
			if b.Allowed == a.Allowed {
				continue
			}
			if len(flips) == 0 || flips[0].Before != b || flips[0].After != a {
				t.Fatalf("flip is missing: %+v", q)
			}
			flips = flips[1:]
			changed := impact.Gained
			if b.Allowed {
				changed = impact.Lost
			}
			if !slices.ContainsFunc(changed, func(h Holding) bool {
				return h.Subject == q.User && permission.Rule{Resource: h.Resource, Actions: h.Actions}.Allows(q.Resource, q.AnyOf)
			}) {
				t.Fatalf("no holding explains %+v: %+v", q, changed)
			}
		}
		if len(flips) > 0 {
			t.Fatalf("too many flips: %+v", flips)
		}
		back := ImpactOf(after, before, noon)
		if !slices.EqualFunc(back.Gained, impact.Lost, sameRight) || !slices.EqualFunc(back.Lost, impact.Gained, sameRight) {
			t.Fatalf("%+v\n%+v", impact, back)
		}
	})
}

// FuzzDecide builds a world from the bytes and compares all forms with the oracle.
func FuzzDecide(f *testing.F) {
	for i := range 8 {
		var seed [128]byte
		r := rand.New(rand.NewPCG(uint64(i), 1))
		for k := range seed {
			seed[k] = byte(r.Uint32())
		}
		f.Add(seed[:])
	}
	f.Fuzz(rapid.MakeFuzz(func(t *rapid.T) {
		in, q := drawInput().Draw(t, "input"), drawQuery().Draw(t, "query")
		s, _ := Build(in)
		v := s.Decide(q)
		if want := oracle(in, q); v.Allowed != want {
			t.Fatalf("%+v, want %v", v, want)
		}
		checkReverse(t, s, q, v)
		_ = s.Explain(q).String()
	}))
}
