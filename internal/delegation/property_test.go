package delegation_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// The tenants are everybody who writes; the worlds are small, so that everything meets everything.
var (
	tenants   = []string{"a", "b", "c"}
	aclNames  = []string{"acl0", "acl1", "acl2", "acl3"}
	groupSome = []string{"x", "y"}
	someIDs   = []string{"dcos:superuser", jobs + "a", jobs + "a.b", jobs + "a.b.c", jobs + "ab", "dcos:service:metronome:metronome:jobs", "dcos:adminrouter:acs"}
	// instants are when windows open and close; moments lie between them.
	instants = []time.Time{{}, noon.Add(time.Hour), noon.Add(2 * time.Hour), noon.Add(3 * time.Hour)}
	moments  = []time.Time{noon, noon.Add(90 * time.Minute), noon.Add(150 * time.Minute), noon.Add(9 * time.Hour)}
)

// state is the objects themselves, for an oracle that looks at everything.
type state struct {
	acls   map[string]effective.ACL
	grants map[string]effective.Grant
	groups map[string]effective.Group
	author map[string]string // of Grants
}

func (s *state) snapshot() *effective.Snapshot {
	var in effective.Input
	for _, a := range s.acls {
		in.ACLs = append(in.ACLs, a)
	}
	for _, g := range s.grants {
		in.Grants = append(in.Grants, g)
	}
	for _, g := range s.groups {
		in.Groups = append(in.Groups, g)
	}
	built, _ := effective.Build(in)
	return built
}

// may is the naive decision.
func (s *state) may(who effective.Subject, resource permission.Resource, action permission.Actions, at time.Time) bool {
	for _, g := range s.grants {
		open := (g.NotBefore.IsZero() || !at.Before(g.NotBefore)) && (g.ExpiresAt.IsZero() || at.Before(g.ExpiresAt))
		acl, ok := s.acls[g.ACL]
		if !open || !ok || !(permission.Rule{Resource: acl.Resource, Actions: g.Actions}).Allows(resource, action) {
			continue
		}
		for _, subject := range g.Subjects {
			if subject == who || (subject.Kind == effective.KindGroup && slices.Contains(s.groups[subject.Name].Members, who)) {
				return true
			}
		}
	}
	return false
}

// fact is something that can be asked of a state.
type fact struct {
	who      effective.Subject
	resource permission.Resource
	action   permission.Actions
	at       time.Time
}

func (s *state) facts() map[string]fact {
	held := map[string]fact{}
	who := []effective.Subject{user("victim")}
	for _, name := range tenants {
		who = append(who, user(name))
	}
	for _, name := range groupSome {
		who = append(who, group(name))
	}
	for _, w := range who {
		for _, id := range someIDs {
			r := permission.MustParseResource(id)
			for action := permission.Create; action <= permission.Run; action <<= 1 {
				for _, at := range moments {
					if s.may(w, r, action, at) {
						held[fmt.Sprint(w, id, action, at)] = fact{w, r, action, at}
					}
				}
			}
		}
	}
	return held
}

// inTenantsHands reports whether some tenant holds full on what the fact is about, when it is about.
func (s *state) inTenantsHands(f fact) bool {
	return slices.ContainsFunc(tenants, func(t string) bool { return s.may(user(t), f.resource, permission.Full, f.at) })
}

func drawSubjects(label string, least int) *rapid.Generator[[]effective.Subject] {
	return rapid.Custom(func(t *rapid.T) []effective.Subject {
		all := []effective.Subject{user("victim"), user("a"), user("b"), user("c"), group("x"), group("y")}
		return rapid.SliceOfNDistinct(rapid.SampledFrom(all), least, 3, func(s effective.Subject) string { return s.String() }).Draw(t, label)
	})
}

func drawGrant() *rapid.Generator[effective.Grant] {
	return rapid.Custom(func(t *rapid.T) effective.Grant {
		return effective.Grant{
			Name:      rapid.StringMatching(`g[0-5]`).Draw(t, "grant"),
			ACL:       rapid.SampledFrom(aclNames).Draw(t, "of"),
			Subjects:  drawSubjects("subjects", 1).Draw(t, "to"),
			Actions:   rapid.SampledFrom([]permission.Actions{permission.Read, permission.Full, permission.Update, permission.Full | permission.Read}).Draw(t, "actions"),
			NotBefore: rapid.SampledFrom(instants).Draw(t, "from"),
			ExpiresAt: rapid.SampledFrom(instants).Draw(t, "until"),
		}
	})
}

func drawGroup() *rapid.Generator[effective.Group] {
	return rapid.Custom(func(t *rapid.T) effective.Group {
		members := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "victim"}), 0, 3, rapid.ID).Draw(t, "members")
		g := effective.Group{Name: rapid.SampledFrom(groupSome).Draw(t, "group")}
		for _, m := range members {
			g.Members = append(g.Members, user(m))
		}
		return g
	})
}

func drawState() *rapid.Generator[*state] {
	return rapid.Custom(func(t *rapid.T) *state {
		s := &state{acls: map[string]effective.ACL{}, grants: map[string]effective.Grant{}, groups: map[string]effective.Group{}, author: map[string]string{}}
		for _, name := range aclNames {
			if rapid.Bool().Draw(t, "has "+name) {
				s.acls[name] = acl(name, rapid.SampledFrom(someIDs[1:]).Draw(t, name))
			}
		}
		for _, g := range rapid.SliceOfN(drawGrant(), 0, 5).Draw(t, "grants") {
			s.grants[g.Name] = g
		}
		for _, g := range rapid.SliceOfN(drawGroup(), 0, 2).Draw(t, "groups") {
			s.groups[g.Name] = g
		}
		return s
	})
}

// step lets a tenant try one change, and makes it if it is allowed.
func (s *state) step(t *rapid.T, at time.Time) {
	tenant := rapid.SampledFrom(tenants).Draw(t, "tenant")
	r := delegation.Request{Requester: delegation.Requester{User: user(tenant), At: at}, Policy: s.snapshot()}
	switch rapid.IntRange(0, 5).Draw(t, "change") {
	case 0, 1:
		g := drawGrant().Draw(t, "grant")
		old, ok := s.grants[g.Name]
		d := r.Grant(nil, &g, false)
		if ok {
			d = r.Grant(&old, &g, s.author[g.Name] == tenant)
		}
		if d.Allowed() {
			s.grants[g.Name], s.author[g.Name] = g, tenant
		}
	case 2:
		name := rapid.StringMatching(`g[0-5]`).Draw(t, "gone")
		if old, ok := s.grants[name]; ok && r.Grant(&old, nil, s.author[name] == tenant).Allowed() {
			delete(s.grants, name)
			delete(s.author, name)
		}
	case 3:
		s.stepGroup(t, r)
	case 4:
		a := acl(rapid.SampledFrom(aclNames).Draw(t, "acl"), rapid.SampledFrom(someIDs).Draw(t, "resource"))
		if _, ok := s.acls[a.Name]; !ok && r.CreateACL(a).Allowed() {
			s.acls[a.Name] = a
		}
	case 5:
		if old, ok := s.acls[rapid.SampledFrom(aclNames).Draw(t, "acl")]; ok && r.DeleteACL(old).Allowed() {
			delete(s.acls, old.Name)
		}
	}
}

func (s *state) stepGroup(t *rapid.T, r delegation.Request) {
	g := drawGroup().Draw(t, "group")
	old, ok := s.groups[g.Name]
	switch {
	case ok && rapid.Bool().Draw(t, "delete"):
		if r.Group(&old, nil).Allowed() {
			delete(s.groups, g.Name)
		}
	case ok:
		if r.Group(&old, &g).Allowed() {
			s.groups[g.Name] = g
		}
	default:
		if r.Group(nil, &g).Allowed() {
			s.groups[g.Name] = g
		}
	}
}

// Whatever the tenants do, what anybody gains or loses, now or later, is what one of them held full on at the
// start, at that time.
func TestNoSequenceOfAllowedChangesEscalates(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawState().Draw(t, "state")
		start := &state{acls: maps.Clone(s.acls), grants: maps.Clone(s.grants), groups: maps.Clone(s.groups)}
		before := start.facts()
		at := 0
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			if at+1 < len(moments) && rapid.IntRange(0, 5).Draw(t, "wait") == 0 {
				at++
			}
			s.step(t, moments[at])
		}
		after := s.facts()
		for key, f := range after {
			if _, had := before[key]; !had && !f.at.Before(moments[at]) && !start.inTenantsHands(f) {
				t.Fatalf("gained: %s", key)
			}
		}
		for key, f := range before {
			if _, has := after[key]; !has && !f.at.Before(moments[at]) && !start.inTenantsHands(f) {
				t.Fatalf("lost: %s", key)
			}
		}
	})
}

// The same with a superuser among the tenants: whatever they do, a permanent superuser remains.
func TestNoSequenceOfAllowedChangesLosesTheLastSuperuser(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawState().Draw(t, "state")
		s.acls["acl0"] = acl("acl0", "dcos:superuser")
		s.grants["g0"] = effective.Grant{Name: "g0", ACL: "acl0", Actions: permission.Read, Subjects: []effective.Subject{user("a")}}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			s.step(t, noon)
		}
		root := permission.Superuser()
		far := noon.AddDate(100, 0, 0)
		for _, name := range append([]string{"victim"}, tenants...) {
			if s.may(user(name), root, permission.Full, noon) && s.may(user(name), root, permission.Full, far) {
				return
			}
		}
		t.Fatal("nobody is a superuser for good any more")
	})
}
