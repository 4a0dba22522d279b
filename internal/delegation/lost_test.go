package delegation_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

func by(name string, g *effective.Grant, revocable bool) delegation.Granted {
	return delegation.Granted{Grant: *g, By: user(name), Revocable: revocable}
}

func rooted(g delegation.Granted) delegation.Granted {
	g.Rooted = true
	return g
}

func TestLost(t *testing.T) {
	t.Parallel()
	annToBob := grant("a", "dev", permission.Full, user("bob"))
	bobToAnn := grant("b", "dev", permission.Full, user("ann"))
	bobToCarl := grant("c", "dev", permission.Full, user("carl"))
	carlToDora := grant("d", "dev", permission.Read, user("dora"))
	root := effective.SetGrant(*grant("first", "dev", permission.Full, user("ann")))
	cases := map[string]struct {
		with []effective.Change
		all  []delegation.Granted
		want []string
	}{
		"nothing was granted":                              {},
		"a granter who holds it":                           {all: []delegation.Granted{by("mary", grant("g", "email", permission.Read, user("bob")), false)}},
		"a granter who never did":                          {all: []delegation.Granted{by("eve", grant("g", "email", permission.Read, user("bob")), false)}, want: []string{"g"}},
		"a granter who holds the verb":                     {all: []delegation.Granted{rooted(by("eve", grant("g", "email", permission.Read, user("bob")), true))}},
		"a granter whose own ends first":                   {all: []delegation.Granted{by("tom", grant("g", "email", permission.Read, user("bob")), false)}, want: []string{"g"}},
		"a granter whose own ends as late":                 {all: []delegation.Granted{by("tom", until(grant("g", "email", permission.Read, user("bob")), friday), false)}},
		"what has ended can't be lost":                     {all: []delegation.Granted{by("eve", until(grant("g", "email", permission.Read, user("bob")), noon), true)}},
		"what waits for its ACL can't be lost":             {all: []delegation.Granted{by("eve", grant("g", "later", permission.Read, user("bob")), true)}},
		"a cycle of two with a root":                       {with: []effective.Change{root}, all: []delegation.Granted{by("ann", annToBob, true), by("bob", bobToAnn, true)}},
		"a cycle of two without a root":                    {all: []delegation.Granted{by("ann", annToBob, true), by("bob", bobToAnn, true)}, want: []string{"a", "b"}},
		"a cycle of two of which one is kept":              {with: []effective.Change{effective.SetGrant(*annToBob)}, all: []delegation.Granted{by("ann", annToBob, false), by("bob", bobToAnn, true)}},
		"a cycle of two that hold the verb":                {all: []delegation.Granted{rooted(by("ann", annToBob, true)), by("bob", bobToAnn, true)}},
		"a cycle that is not revocable keeps itself":       {with: []effective.Change{effective.SetGrant(*annToBob), effective.SetGrant(*bobToAnn)}, all: []delegation.Granted{by("ann", annToBob, false), by("bob", bobToAnn, false)}},
		"a Grant to oneself":                               {all: []delegation.Granted{by("ann", bobToAnn, true)}, want: []string{"b"}},
		"a chain, in whatever order":                       {with: []effective.Change{root}, all: []delegation.Granted{by("carl", carlToDora, true), by("bob", bobToCarl, true), by("ann", annToBob, true)}},
		"a chain whose root is gone":                       {all: []delegation.Granted{by("carl", carlToDora, true), by("bob", bobToCarl, true), by("ann", annToBob, true)}, want: []string{"a", "c", "d"}},
		"a chain whose middle is not revocable goes on":    {with: []effective.Change{effective.SetGrant(*bobToCarl)}, all: []delegation.Granted{by("carl", carlToDora, true), by("bob", bobToCarl, false), by("ann", annToBob, true)}, want: []string{"a", "c"}},
		"by a group that was reported when it was written": {with: []effective.Change{effective.SetGrant(*grant("leads", "dev", permission.Full, group("leads")))}, all: []delegation.Granted{{Grant: *annToBob, By: user("ann"), Groups: []string{"leads"}, Revocable: true}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := delegation.Lost(office(tc.with...), tc.all, noon)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			// It makes no difference whether the policy holds the revocable ones.
			var present []effective.Change
			for _, g := range tc.all {
				if g.Revocable {
					present = append(present, effective.SetGrant(g.Grant))
				}
			}
			if diff := cmp.Diff(tc.want, delegation.Lost(office(append(tc.with, present...)...), tc.all, noon)); diff != "" {
				t.Errorf("with the revocable ones in force (-want +got):\n%s", diff)
			}
		})
	}
}

// The leader looks at all Grants whenever the policy changes.
func BenchmarkLost(b *testing.B) {
	in := effective.Input{ACLs: []effective.ACL{acl("dev", jobs+"dev")}, Grants: []effective.Grant{*grant("mary", "dev", permission.Full, user("mary"))}}
	var all []delegation.Granted
	for i := range 100_000 {
		g := grant(fmt.Sprint("g", i), "dev", permission.Read, user(fmt.Sprint("u", i%10_000)))
		in.Grants = append(in.Grants, *g)
		all = append(all, by("mary", g, false))
	}
	policy, _ := effective.Build(in)
	for b.Loop() {
		if lost := delegation.Lost(policy, all, noon); len(lost) > 0 {
			b.Fatal(lost)
		}
	}
}
