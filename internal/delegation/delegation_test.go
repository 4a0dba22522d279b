package delegation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
)

// outcome is what a table compares: "" is allowed, else the ACLs on which the verb would do.
func outcome(d delegation.Decision) string {
	switch {
	case d.Allowed():
		return "allowed"
	case d.LastSuperuser:
		return "guarded"
	case !d.AllowedByVerb():
		return "undecided"
	case d.EveryACL:
		return "verb on every ACL"
	}
	return "verb on " + strings.Join(d.ACLs(), ",")
}

func TestGrant(t *testing.T) {
	t.Parallel()
	read := grant("g", "email", permission.Read, user("bob"))
	full := grant("g", "email", permission.Full, user("bob"))
	two := grant("g", "email", permission.Read, user("bob"), user("ann"))
	cases := map[string]struct {
		by            string
		before, after *effective.Grant
		own           bool
		want          string
	}{
		"full on the group gives read on a job below it":     {by: "mary", after: read, want: "allowed"},
		"full hands out full":                                {by: "mary", after: full, want: "allowed"},
		"every action but full hands out nothing":            {by: "eve", after: read, want: "verb on email"},
		"nobody hands out nothing":                           {by: "nobody", after: read, want: "verb on email"},
		"a superuser hands out anything":                     {by: "root", after: full, want: "allowed"},
		"full on marketing is not full on marketingx":        {by: "mary", after: grant("g", "marketingx", permission.Read, user("bob")), want: "verb on marketingx"},
		"full on marketing is not full on superuser":         {by: "mary", after: grant("g", "super", permission.Read, user("mary")), want: "verb on super"},
		"within one's own window":                            {by: "tom", after: until(read, friday), want: "allowed"},
		"a second beyond one's own window":                   {by: "tom", after: until(read, friday.Add(time.Second)), want: "verb on email"},
		"without an end, when one's own has one":             {by: "tom", after: read, want: "verb on email"},
		"a start that has passed is no matter":               {by: "tom", after: between(read, noon.Add(-time.Hour), friday), want: "allowed"},
		"what starts later, within one's own window":         {by: "tom", after: between(read, noon.Add(time.Hour), friday), want: "allowed"},
		"an ended Grant takes authority now":                 {by: "nobody", after: until(read, noon.Add(-time.Hour)), want: "verb on email"},
		"an ended Grant by who has authority now":            {by: "tom", after: until(read, noon.Add(-time.Hour)), want: "allowed"},
		"an ACL that is not there may become anything":       {by: "mary", after: grant("g", "later", permission.Read, user("bob")), want: "verb on later"},
		"an ACL that is not there, by a superuser":           {by: "root", after: grant("g", "later", permission.Read, user("bob")), want: "allowed"},
		"delete like create":                                 {by: "mary", before: full, want: "allowed"},
		"who could not create can't delete":                  {by: "eve", before: read, want: "verb on email"},
		"a Grant that outlasts one's own can't be deleted":   {by: "tom", before: read, want: "verb on email"},
		"one's own can be deleted after all was lost":        {by: "nobody", before: full, own: true, want: "allowed"},
		"one's own can be narrowed after all was lost":       {by: "nobody", before: two, after: read, own: true, want: "allowed"},
		"one's own can be shortened after all was lost":      {by: "nobody", before: read, after: until(read, friday), own: true, want: "allowed"},
		"one's own can't be widened after all was lost":      {by: "nobody", before: read, after: two, own: true, want: "verb on email"},
		"somebody else's can't be narrowed":                  {by: "nobody", before: two, after: read, want: "verb on email"},
		"a subject more takes authority":                     {by: "eve", before: read, after: two, want: "verb on email"},
		"an action more takes authority":                     {by: "eve", before: read, after: full, want: "verb on email"},
		"run is in update":                                   {by: "nobody", own: true, before: grant("g", "email", permission.Update, user("bob")), after: grant("g", "email", permission.Update|permission.Run, user("bob")), want: "allowed"},
		"another order takes it over, and so authority":      {by: "nobody", before: two, after: grant("g", "email", permission.Read, user("ann"), user("bob")), want: "verb on email"},
		"another order of one's own":                         {by: "nobody", before: two, after: grant("g", "email", permission.Read, user("ann"), user("bob")), own: true, want: "allowed"},
		"an end later takes authority until then":            {by: "tom", before: until(read, noon.Add(time.Hour)), after: until(read, monday), want: "verb on email"},
		"an end later, within one's own":                     {by: "tom", before: until(read, noon.Add(time.Hour)), after: until(read, friday), want: "allowed"},
		"an end sooner takes away: authority over the whole": {by: "tom", before: read, after: until(read, noon.Add(time.Hour)), want: "verb on email"},
		"a start sooner takes authority":                     {by: "eve", before: between(read, friday, monday), after: between(read, noon, monday), want: "verb on email"},
		"another ACL takes both":                             {by: "mary", before: grant("g", "dev", permission.Read, user("bob")), after: read, want: "verb on dev"},
		"another ACL takes both, the other way":              {by: "mary", before: read, after: grant("g", "dev", permission.Read, user("bob")), want: "verb on dev"},
		"another ACL, by a superuser":                        {by: "root", before: read, after: grant("g", "dev", permission.Read, user("bob")), want: "allowed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := ask(tc.by).Grant(tc.before, tc.after, tc.own)
			if got := outcome(d); got != tc.want {
				t.Errorf("%s, want %s: %s", got, tc.want, d)
			}
		})
	}
}

func TestGrant_windowsThatFollowOneAnotherAreNotAddedUp(t *testing.T) {
	t.Parallel()
	r := ask("ann",
		effective.SetGrant(*until(grant("ann-1", "dev", permission.Full, user("ann")), friday)),
		effective.SetGrant(*between(grant("ann-2", "dev", permission.Full, user("ann")), friday, monday)))
	g := grant("g", "dev", permission.Read, user("bob"))
	if d := r.Grant(nil, until(g, friday), false); !d.Allowed() {
		t.Error(d)
	}
	if d := r.Grant(nil, between(g, friday, monday), false); !d.Allowed() {
		t.Error(d)
	}
	if d := r.Grant(nil, until(g, monday), false); d.Allowed() {
		t.Error(d)
	}
}

func TestGrant_authorityByGroup(t *testing.T) {
	t.Parallel()
	g := grant("g", "dev", permission.Read, user("bob"))
	r := ask("ann", effective.SetGrant(*grant("leads", "dev", permission.Full, group("leads"))))
	if d := r.Grant(nil, g, false); d.Allowed() {
		t.Error(d)
	}
	r.Groups = []string{"leads"}
	if d := r.Grant(nil, g, false); !d.Allowed() {
		t.Error(d)
	}
	r = ask("ann", effective.SetGrant(*grant("leads", "dev", permission.Full, group("leads"))),
		effective.SetGroup(effective.Group{Name: "leads", Members: []effective.Subject{user("ann")}}))
	if d := r.Grant(nil, g, false); !d.Allowed() {
		t.Error(d)
	}
}

func TestGroup(t *testing.T) {
	t.Parallel()
	none := &effective.Group{Name: "team"}
	zoe := &effective.Group{Name: "team", Members: []effective.Subject{user("zoe")}}
	both := &effective.Group{Name: "team", Members: []effective.Subject{user("zoe"), user("eve")}}
	devs := &effective.Group{Name: "devs", Members: []effective.Subject{user("eve")}}
	cases := map[string]struct {
		by            string
		with          []effective.Change
		before, after *effective.Group
		want          string
	}{
		"adding takes full on what the group holds":          {by: "mary", before: zoe, after: both, want: "allowed"},
		"holding what the group holds is not enough":         {by: "eve", before: zoe, after: both, want: "verb on email"},
		"a window takes authority for that window":           {by: "tom", before: zoe, after: both, want: "verb on email"},
		"removing takes the same":                            {by: "eve", before: both, after: zoe, want: "verb on email"},
		"deleting takes the same":                            {by: "eve", before: both, want: "verb on email"},
		"deleting by who may":                                {by: "mary", before: both, want: "allowed"},
		"creating a Group of a group that holds something":   {by: "eve", after: devs, want: "verb on dev"},
		"creating one by who may, for as long as it holds":   {by: "root", after: devs, want: "allowed"},
		"a Group without members gives nothing":              {by: "eve", after: &effective.Group{Name: "devs"}, want: "allowed"},
		"a Group that nobody granted anything to":            {by: "eve", after: &effective.Group{Name: "club", Members: []effective.Subject{user("eve")}}, want: "allowed"},
		"no change of members":                               {by: "eve", before: both, after: both, want: "allowed"},
		"deleting an empty one":                              {by: "eve", before: none, want: "allowed"},
		"what has ended is not held":                         {by: "mary", with: []effective.Change{effective.SetGrant(*until(grant("old", "dev", permission.Full, group("team")), noon))}, before: zoe, after: both, want: "allowed"},
		"what opens later is":                                {by: "mary", with: []effective.Change{effective.SetGrant(*between(grant("soon", "dev", permission.Read, group("team")), friday, monday))}, before: zoe, after: both, want: "verb on dev"},
		"a Grant that waits for its ACL takes a superuser":   {by: "mary", with: []effective.Change{effective.SetGrant(*grant("wait", "later", permission.Read, group("team")))}, before: zoe, after: both, want: "verb on later"},
		"adding to what superusers are takes a superuser":    {by: "mary", with: []effective.Change{effective.SetGrant(*grant("roots", "super", permission.Read, group("team")))}, before: zoe, after: both, want: "verb on super"},
		"every ACL that is lacking is named":                 {by: "nobody", with: []effective.Change{effective.SetGrant(*grant("more", "dev", permission.Read, group("team")))}, before: zoe, after: both, want: "verb on dev,email"},
		"two windows on one ACL are both asked for":          {by: "tom", with: []effective.Change{effective.DeleteGrant("team"), effective.SetGrant(*until(grant("a", "email", permission.Read, group("team")), friday)), effective.SetGrant(*between(grant("b", "email", permission.Read, group("team")), friday, monday))}, before: zoe, after: both, want: "verb on email"},
		"two windows on one ACL, both within one's own":      {by: "tom", with: []effective.Change{effective.DeleteGrant("team"), effective.SetGrant(*until(grant("a", "email", permission.Read, group("team")), noon.Add(time.Hour))), effective.SetGrant(*until(grant("b", "email", permission.Read, group("team")), friday))}, before: zoe, after: both, want: "allowed"},
		"the same, where one starts later and ends as early": {by: "tom", with: []effective.Change{effective.DeleteGrant("team"), effective.SetGrant(*between(grant("a", "email", permission.Read, group("team")), noon.Add(time.Hour), friday)), effective.SetGrant(*until(grant("b", "email", permission.Read, group("team")), friday))}, before: zoe, after: both, want: "allowed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := ask(tc.by, tc.with...).Group(tc.before, tc.after)
			if got := outcome(d); got != tc.want {
				t.Errorf("%s, want %s: %s", got, tc.want, d)
			}
		})
	}
}

func TestACL(t *testing.T) {
	t.Parallel()
	waits := effective.SetGrant(*grant("wait", "new", permission.Read, user("bob")))
	cases := map[string]struct {
		decide func(delegation.Request) delegation.Decision
		by     string
		with   []effective.Change
		want   string
	}{
		"create below one's own":                             {by: "mary", decide: create("new", jobs+"marketing.email"), want: "allowed"},
		"create below one's own that has an end":             {by: "tom", decide: create("new", jobs+"marketing.email"), want: "allowed"},
		"create a second one for a resource":                 {by: "mary", decide: create("new", jobs+"marketing"), want: "allowed"},
		"create above one's own":                             {by: "mary", decide: create("new", "dcos:service:metronome:metronome:jobs"), want: "verb on every ACL"},
		"create beside one's own":                            {by: "mary", decide: create("new", jobs+"marketingx"), want: "verb on every ACL"},
		"create for superusers":                              {by: "mary", decide: create("new", "dcos:superuser"), want: "verb on every ACL"},
		"create for superusers, by one":                      {by: "root", decide: create("new", "dcos:superuser"), want: "allowed"},
		"create what a Grant waits for":                      {by: "mary", with: []effective.Change{waits}, decide: create("new", jobs+"marketing.email"), want: "allowed"},
		"create what a Grant waits for that outlasts":        {by: "tom", with: []effective.Change{waits}, decide: create("new", jobs+"marketing.email"), want: "verb on every ACL"},
		"delete what nobody was granted":                     {by: "tom", with: []effective.Change{effective.DeleteGrant("team")}, decide: remove("email", jobs+"marketing.email"), want: "allowed"},
		"delete what others hold for longer":                 {by: "tom", decide: remove("email", jobs+"marketing.email"), want: "verb on email"},
		"delete by who holds it":                             {by: "mary", decide: remove("email", jobs+"marketing.email"), want: "allowed"},
		"delete another's":                                   {by: "mary", decide: remove("dev", jobs+"dev"), want: "verb on dev"},
		"delete the one of the superusers":                   {by: "root", decide: remove("super", "dcos:superuser"), want: "guarded"},
		"change what happens to its Grants, like delete":     {by: "tom", decide: change("email", jobs+"marketing.email"), want: "verb on email"},
		"change what happens to its Grants, by who holds it": {by: "mary", decide: change("email", jobs+"marketing.email"), want: "allowed"},
		"describe":           {by: "tom", decide: describe("email", jobs+"marketing.email"), want: "allowed"},
		"describe another's": {by: "tom", decide: describe("dev", jobs+"dev"), want: "verb on dev"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := tc.decide(ask(tc.by, tc.with...))
			if got := outcome(d); got != tc.want {
				t.Errorf("%s, want %s: %s", got, tc.want, d)
			}
		})
	}
}

func create(name, resource string) func(delegation.Request) delegation.Decision {
	return func(r delegation.Request) delegation.Decision { return r.CreateACL(acl(name, resource)) }
}

func remove(name, resource string) func(delegation.Request) delegation.Decision {
	return func(r delegation.Request) delegation.Decision { return r.DeleteACL(acl(name, resource)) }
}

func change(name, resource string) func(delegation.Request) delegation.Decision {
	return func(r delegation.Request) delegation.Decision { return r.ChangeACL(acl(name, resource)) }
}

func describe(name, resource string) func(delegation.Request) delegation.Decision {
	return func(r delegation.Request) delegation.Decision { return r.DescribeACL(acl(name, resource)) }
}

func TestRequest_withoutPolicyOrTimeOrUserIsRefused(t *testing.T) {
	t.Parallel()
	g := grant("g", "email", permission.Read, user("bob"))
	var zero delegation.Decision
	cases := map[string]delegation.Decision{
		"no decision": zero,
		"no policy":   delegation.Request{Requester: delegation.Requester{User: user("root"), At: noon}}.Grant(nil, g, true),
		"no time":     delegation.Request{Requester: delegation.Requester{User: user("root")}, Policy: office()}.Grant(nil, g, true),
		"no user":     delegation.Request{Requester: delegation.Requester{At: noon}, Policy: office()}.Grant(nil, g, true),
		"no policy for a Group": delegation.Request{Requester: delegation.Requester{User: user("root"), At: noon}}.
			Group(nil, &effective.Group{Name: "g"}),
		"no policy for an ACL": delegation.Request{Requester: delegation.Requester{User: user("root"), At: noon}}.CreateACL(acl("a", "dcos:superuser")),
	}
	for name, d := range cases {
		if d.Allowed() || d.AllowedByVerb() {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestDecision_sentences(t *testing.T) {
	t.Parallel()
	read := grant("g", "email", permission.Read, user("bob"))
	got := []string{
		ask("mary").Grant(nil, read, false).String(),
		ask("eve").Grant(nil, read, false).String(),
		ask("tom").Grant(nil, until(read, monday), false).String(),
		ask("mary").Grant(nil, grant("g", "later", permission.Read, user("bob")), false).String(),
		ask("eve").Group(&effective.Group{Name: "team"}, &effective.Group{Name: "team", Members: []effective.Subject{user("eve")}}).String(),
		ask("eve").CreateACL(acl("new", jobs+"marketing")).String(),
		ask("eve").DeleteACL(acl("email", jobs+"marketing.email")).String(),
		ask("eve").DescribeACL(acl("email", jobs+"marketing.email")).String(),
		ask("root").DeleteACL(acl("super", "dcos:superuser")).String(),
		delegation.Request{Requester: delegation.Requester{User: user("root"), At: noon}}.Grant(read, nil, false).String(),
		ask("ann", effective.SetGrant(*grant("ann", "email", permission.Full, user("ann"))), effective.SetGrant(*between(grant("ann", "email", permission.Full, user("ann")), noon, friday))).
			Grant(nil, between(read, noon, monday), false).String(),
	}
	want := []string{
		`user mary may create Grant "g"`,
		`user eve may not create Grant "g": it takes "full" on what ACL "email" protects without an end; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev "email"`,
		`user tom may not create Grant "g": it takes "full" on what ACL "email" protects until 2026-03-09T09:00:00Z, which is held until 2026-03-06T18:00:00Z only; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev "email"`,
		`user mary may not create Grant "g": there is no ACL "later" yet, and what it will protect is not known; create the ACL first, or ask a superuser or somebody with the RBAC verb "grant" on acls.grantry.dev "later"`,
		`user eve may not change Group "team": it takes "full" on everything that the group holds, for as long as the group holds it, and it is not held for all of that; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev`,
		`user eve may not create ACL "new": it takes "full" on what ACL "new" protects; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev for all ACLs`,
		`user eve may not delete ACL "email": it takes "full" on what ACL "email" protects, for as long as its Grants last; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev "email"`,
		`user eve may not describe ACL "email": it takes "full" on what ACL "email" protects; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev "email"`,
		`user root may not delete ACL "super": nobody would be a superuser for good any more; first grant dcos:superuser, without an end, to somebody else. docs/operations.md has the way out if nobody can`,
		`user root may not delete Grant "g": who may do what is not known yet; try again in a moment`,
		`user ann may not create Grant "g": it takes "full" on what ACL "email" protects until 2026-03-09T09:00:00Z, which is held until 2026-03-06T18:00:00Z only; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev "email"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
