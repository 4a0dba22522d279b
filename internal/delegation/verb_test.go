package delegation_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

func TestHoldsVerb(t *testing.T) {
	t.Parallel()
	member := &effective.Group{Name: "team", Members: []effective.Subject{user("eve")}}
	more := effective.SetGrant(*grant("more", "dev", permission.Read, group("team")))
	var many []effective.Change
	for i := range 20 {
		many = append(many, effective.SetACL(acl(fmt.Sprint("many", i), jobs+fmt.Sprint("many", i))),
			effective.SetGrant(*grant(fmt.Sprint("many", i), fmt.Sprint("many", i), permission.Read, group("team"))))
	}
	cases := map[string]struct {
		decision delegation.Decision
		holds    []string
		want     bool
		asked    []string
	}{
		"the ACL":                     {decision: ask("eve").Grant(nil, grant("g", "email", permission.Read, user("bob")), false), holds: []string{"email"}, want: true, asked: []string{"email"}},
		"another one":                 {decision: ask("eve").Grant(nil, grant("g", "email", permission.Read, user("bob")), false), holds: []string{"dev"}, asked: []string{"email"}},
		"all that are missing":        {decision: ask("eve", more).Group(nil, member), holds: []string{"dev", "email"}, want: true, asked: []string{"dev", "email"}},
		"the first is refused":        {decision: ask("eve", more).Group(nil, member), holds: []string{"email"}, asked: []string{"dev"}},
		"very many are asked at once": {decision: ask("eve", many...).Group(nil, member), holds: []string{""}, want: true, asked: []string{""}},
		"an ACL that is created takes the verb on all": {decision: ask("eve").CreateACL(acl("new", jobs+"dev")), holds: []string{"new"}, asked: []string{""}},
		"nothing outweighs the guard":                  {decision: ask("eve").DeleteACL(acl("super", "dcos:superuser")), holds: []string{"super"}},
		"nothing is decided":                           {holds: []string{""}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			got, err := delegation.HoldsVerb(tc.decision, func(acl string) (bool, error) {
				asked = append(asked, acl)
				return slices.Contains(tc.holds, acl), nil
			})
			if got != tc.want || err != nil {
				t.Errorf("HoldsVerb() = %t, %v, want %t", got, err, tc.want)
			}
			if diff := cmp.Diff(tc.asked, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
	failure := errors.New("no answer")
	d := ask("eve").Grant(nil, grant("g", "email", permission.Read, user("bob")), false)
	if ok, err := delegation.HoldsVerb(d, func(string) (bool, error) { return true, failure }); ok || !errors.Is(err, failure) {
		t.Errorf("HoldsVerb() = %t, %v; want the error", ok, err)
	}
}
