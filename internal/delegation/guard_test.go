package delegation_test

import (
	"testing"

	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

func TestGuard_theLastSuperuserStays(t *testing.T) {
	t.Parallel()
	root := grant("root", "super", permission.Read, user("root"))
	second := effective.SetGrant(*grant("second", "super", permission.Full, user("ann")))
	byGroup := []effective.Change{
		effective.SetGrant(*grant("root", "super", permission.Read, group("roots"))),
		effective.SetGroup(effective.Group{Name: "roots", Members: []effective.Subject{user("root")}}),
	}
	roots := &effective.Group{Name: "roots", Members: []effective.Subject{user("root")}}
	byIDP := effective.SetGrant(*grant("root", "super", permission.Read, group("roots")))
	cases := map[string]struct {
		with   []effective.Change
		decide func(delegation.Request) delegation.Decision
		want   string
	}{
		"it can't be deleted":                             {decide: grantChange(root, nil), want: "guarded"},
		"it can't be made to expire":                      {decide: grantChange(root, until(root, monday)), want: "guarded"},
		"it can't be put off":                             {decide: grantChange(root, between(root, friday, monday.AddDate(9, 0, 0))), want: "guarded"},
		"it can't be narrowed to nobody":                  {decide: grantChange(root, grant("root", "super", permission.Read)), want: "guarded"},
		"it can't go elsewhere":                           {decide: grantChange(root, grant("root", "email", permission.Read, user("root"))), want: "guarded"},
		"it can go to a group that nobody is known to be": {decide: grantChange(root, grant("root", "super", permission.Read, group("idp"))), want: "guarded"},
		"it can go to another one":                        {decide: grantChange(root, grant("root", "super", permission.Read, user("ann"))), want: "allowed"},
		"its ACL can't be deleted":                        {decide: remove("super", "dcos:superuser"), want: "guarded"},
		"with a second one it can be deleted":             {with: []effective.Change{second}, decide: grantChange(root, nil), want: "allowed"},
		"a second one with an end does not do":            {with: []effective.Change{effective.SetGrant(*until(grant("second", "super", permission.Full, user("ann")), monday))}, decide: grantChange(root, nil), want: "guarded"},
		"its Group can't be emptied":                      {with: byGroup, decide: groupChange(roots, &effective.Group{Name: "roots"}), want: "guarded"},
		"its Group can't be deleted":                      {with: byGroup, decide: groupChange(roots, nil), want: "guarded"},
		"its Group can get another member":                {with: byGroup, decide: groupChange(roots, &effective.Group{Name: "roots", Members: []effective.Subject{user("ann")}}), want: "allowed"},
		"a group of the authenticator's stays":            {with: []effective.Change{byIDP}, decide: grantChange(grant("root", "super", permission.Read, group("roots")), nil), want: "guarded"},
		"a group of the authenticator's may be another":   {with: []effective.Change{byIDP}, decide: grantChange(grant("root", "super", permission.Read, group("roots")), grant("root", "super", permission.Read, group("others"))), want: "allowed"},
		"an empty Group of that name makes it nobody":     {with: []effective.Change{byIDP}, decide: groupChange(nil, &effective.Group{Name: "roots"}), want: "guarded"},
		"where there is none, none is needed":             {with: []effective.Change{effective.DeleteGrant("root")}, decide: remove("super", "dcos:superuser"), want: "verb on super"},
		"other Grants don't matter":                       {decide: grantChange(grant("mary", "marketing", permission.Full, user("mary")), nil), want: "allowed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ask("root", tc.with...)
			r.Groups = []string{"roots"}
			d := tc.decide(r)
			if got := outcome(d); got != tc.want {
				t.Errorf("%s, want %s: %s", got, tc.want, d)
			}
		})
	}
}

func grantChange(before, after *effective.Grant) func(delegation.Request) delegation.Decision {
	return func(r delegation.Request) delegation.Decision { return r.Grant(before, after, false) }
}

func groupChange(before, after *effective.Group) func(delegation.Request) delegation.Decision {
	return func(r delegation.Request) delegation.Decision { return r.Group(before, after) }
}
