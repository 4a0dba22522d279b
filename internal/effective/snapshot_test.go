package effective

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/grantry/grantry/internal/permission"
)

func TestBuild_reportsProblemsAndServesTheRest(t *testing.T) {
	t.Parallel()
	dev := permission.MustParseResource(jobsOf + ":dev")
	s, problems := Build(Input{
		ACLs: []ACL{{"dev", dev}, {"twice", dev}, {"twice", dev}, {"blank", permission.Resource{}}, {"", dev}},
		Grants: []Grant{
			grant1("good", "dev", read, alice, alice, Subject{}, Subject{Kind: 7, Name: "x"}),
			grant1("lost", "twice", read, alice),
			grant1("void", "blank", read, alice),
			grant1("double", "dev", full, bob),
			grant1("double", "dev", full, bob),
			grant1("double", "dev", full, bob),
			grant1("", "dev", full, carol),
			grant1("idle", "dev", 0, carol),
			grant1("alone", "dev", read),
			{Name: "never", ACL: "dev", Subjects: []Subject{carol}, Actions: full, NotBefore: noon, ExpiresAt: noon},
		},
		Groups: []Group{{"g", []Subject{bob, GroupSubject("h"), {}}}, {"h", nil}, {"h", nil}},
	})
	var got []string
	for _, p := range problems {
		got = append(got, string(p.Reason)+": "+p.String())
	}
	want := []string{
		`MissingName: ACL "": it has no name`,
		`NoResource: ACL "blank": it has no resource`,
		`DuplicateName: ACL "twice": 2 objects have this name: none of them counts`,
		`MissingName: Grant "": it has no name`,
		`NoSubjects: Grant "alone": it has no subject`,
		`DuplicateName: Grant "double": 3 objects have this name: none of them counts`,
		`InvalidSubject: Grant "good": subject "nobody " is neither a user nor a group with a name`,
		`InvalidSubject: Grant "good": subject "nobody x" is neither a user nor a group with a name`,
		`NoActions: Grant "idle": it has no action`,
		`ACLNotFound: Grant "lost": its ACL "twice" does not exist`,
		`EmptyWindow: Grant "never": its window ends before it opens`,
		`ACLNotFound: Grant "void": its ACL "blank" does not exist`,
		`InvalidSubject: Group "g": member "group h" is not a user with a name`,
		`InvalidSubject: Group "g": member "nobody " is not a user with a name`,
		`DuplicateName: Group "h": 2 objects have this name: none of them counts`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := s.WhoCan(dev, permission.AllActions, noon); len(got) != 1 || got[0].Subject != alice {
		t.Errorf("served: %v", got)
	}
	if diff := cmp.Diff([]Subject{bob}, s.MembersOf("g")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := s.Counts(); got != (Counts{ACLs: 1, Grants: 6, Groups: 1, Subjects: 3, MissingACLs: 2}) {
		t.Errorf("counts: %+v", got)
	}
}

func TestApply_ignoresWhatHasNoName(t *testing.T) {
	t.Parallel()
	s := New().Apply(Change{}, SetACL(ACL{}), SetGrant(Grant{ACL: "a", Subjects: []Subject{alice}}), SetGroup(Group{Members: []Subject{alice}}),
		DeleteACL("x"), DeleteGrant("x"), DeleteGroup("x"))
	if got := s.Counts(); got != (Counts{}) {
		t.Errorf("counts: %+v", got)
	}
	if s.GrantsOf("x") != nil || s.MembersOf("x") != nil || s.HasACL("x") || s.ACLsOf(permission.Superuser()) != nil {
		t.Error("the empty snapshot has something")
	}
}

func TestApply_anACLThatComesBackBringsItsGrants(t *testing.T) {
	t.Parallel()
	s, _ := Build(organization)
	q := decisionCases["M3 both jobs of the group"].query()
	gone := s.Apply(DeleteACL("dev-batch"))
	if e := gone.Explain(q); e.Verdict.Allowed || e.Miss.Kind != MissACL {
		t.Errorf("without its ACL: %v", e)
	}
	if st := gone.ACLStats("dev-batch"); st.Exists || st.Grants != 1 || st.Subjects != 1 {
		t.Errorf("stats: %+v", st)
	}
	if back := gone.Apply(SetACL(acl1("dev-batch", jobsOf+":dev.batch"))); !back.Decide(q).Allowed {
		t.Error("it did not come back")
	}
	moved := gone.Apply(SetACL(acl1("dev-batch", jobsOf+":prod")))
	if moved.Decide(q).Allowed {
		t.Error("it came back elsewhere and counts here")
	}
	q.Resource = permission.JobResource("metronome", "prod.x")
	if !moved.Decide(q).Allowed {
		t.Error("it does not count where it came back")
	}
}

func TestACLStats_countsDistinctSubjects(t *testing.T) {
	t.Parallel()
	s, _ := Build(Input{ACLs: []ACL{acl1("a", jobsOf)}, Grants: []Grant{grant1("1", "a", read, alice, bob), grant1("2", "a", run, alice), grant1("3", "a", run)}})
	want := ACLStats{Exists: true, Resource: permission.JobResource("metronome", ""), Grants: 3, Subjects: 2}
	equal := cmp.Comparer(func(a, b permission.Resource) bool { return a.Equal(b) })
	if diff := cmp.Diff(want, s.ACLStats("a"), equal); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want.Grants, want.Subjects = 2, 1
	if diff := cmp.Diff(want, s.Apply(DeleteGrant("1")).ACLStats("a"), equal); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := s.GrantsOf("a"); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("grants with holders: %v", got)
	}
}

func TestNextEdge(t *testing.T) {
	t.Parallel()
	s, _ := Build(organization)
	var edges []string
	for at, ok := s.NextEdge(time.Time{}); ok; at, ok = s.NextEdge(at) {
		edges = append(edges, fmt.Sprint(at.Sub(noon), s.EdgesBetween(at.Add(-1), at)))
	}
	want := []string{"-1h0m0s [dora-super]", "0s [dora-before dora-now]", "1ns [dora-now]", "1h0m0s [dora-later]"}
	if diff := cmp.Diff(want, edges); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestWindows_outsideTheRangeOfNanoseconds(t *testing.T) {
	t.Parallel()
	longAgo, farOff := time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(3000, 1, 1, 0, 0, 0, 0, time.UTC)
	s, _ := Build(Input{ACLs: []ACL{acl1("a", jobsOf)}, Grants: []Grant{
		{Name: "always", ACL: "a", Subjects: []Subject{alice}, Actions: read, NotBefore: longAgo, ExpiresAt: farOff},
		{Name: "ended", ACL: "a", Subjects: []Subject{bob}, Actions: read, ExpiresAt: longAgo},
		{Name: "far", ACL: "a", Subjects: []Subject{carol}, Actions: read, NotBefore: farOff},
		{Name: "unbounded", ACL: "a", Subjects: []Subject{dora}, Actions: read},
	}})
	for who, want := range map[Subject]bool{alice: true, bob: false, carol: false, dora: true} {
		q := Query{User: who, Resource: permission.JobResource("metronome", "x"), AnyOf: read, At: noon}
		if got := s.Decide(q); got.Allowed != want {
			t.Errorf("%v: %+v", who, got)
		}
		q.At = time.Time{}
		if got := s.Decide(q); got.Allowed != (who == dora) {
			t.Errorf("%v without a time: %+v", who, got)
		}
		if list := s.PermissionsOf(who, nil, time.Time{}); (list[0].State == InForce) != (who == dora) {
			t.Errorf("%v without a time: %+v", who, list)
		}
	}
	if g, _ := s.GrantNamed("unbounded"); !g.NotBefore.IsZero() || !g.ExpiresAt.IsZero() {
		t.Errorf("unbounded became %+v", g)
	}
}

func TestDecide_namesTheGrantThatLasts(t *testing.T) {
	t.Parallel()
	in := Input{ACLs: []ACL{acl1("a", jobsOf+":x"), acl1("b", jobsOf+":/x"), acl1("all", jobsOf)}}
	q := Query{User: alice, Resource: permission.JobResource("metronome", "x"), AnyOf: read, At: noon}
	for i, tc := range []struct {
		add  Grant
		want string
	}{
		{Grant{Name: "m", ACL: "a", ExpiresAt: noon.Add(time.Hour)}, "m"},
		{Grant{Name: "z", ACL: "b", ExpiresAt: noon.Add(2 * time.Hour)}, "z"},
		{Grant{Name: "a", ACL: "b", ExpiresAt: noon.Add(time.Hour)}, "z"},
		{Grant{Name: "d", ACL: "b"}, "d"},
		{Grant{Name: "c", ACL: "a"}, "c"},
		{Grant{Name: "y", ACL: "all"}, "y"}, // broader
	} {
		tc.add.Subjects, tc.add.Actions = []Subject{alice}, read
		in.Grants = append(in.Grants, tc.add)
		s, _ := Build(in)
		if v := s.Decide(q); v.Grant != tc.want || !v.ExpiresAt.Equal(in.Grants[slices.IndexFunc(in.Grants, func(g Grant) bool { return g.Name == tc.want })].ExpiresAt) {
			t.Errorf("%d: %+v, want %s", i, v, tc.want)
		}
	}
	s, _ := Build(in)
	if got := s.ACLsOf(permission.JobResource("metronome", "x")); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("ACLs: %v", got)
	}
}

func TestDecide_deeperThanAnyACL(t *testing.T) {
	t.Parallel()
	s, _ := Build(organization)
	deep := ""
	for range 100 {
		deep += "x."
	}
	q := Query{User: carol, Groups: ops, Resource: permission.JobResource("metronome", deep+"x"), AnyOf: run, At: noon}
	if v := s.Decide(q); v.Grant != "ops-all" {
		t.Errorf("%+v", v)
	}
}

func TestDecideBeneath(t *testing.T) {
	t.Parallel()
	s, _ := Build(organization)
	all := permission.JobResource("metronome", "")
	for name, tc := range map[string]struct {
		q    Query
		want string
	}{
		"something below":     {Query{User: bob, Resource: all, AnyOf: create, At: noon}, "devs-dev"},
		"everything":          {Query{User: root, Resource: all, AnyOf: create, At: noon}, "root-super"},
		"another action":      {Query{User: bob, Resource: all, AnyOf: del, At: noon}, ""},
		"another instance":    {Query{User: bob, Resource: permission.JobResource("prod", ""), AnyOf: create, At: noon}, ""},
		"not in its window":   {Query{User: dora, Resource: all, AnyOf: del, At: noon.Add(time.Hour)}, ""},
		"in its window":       {Query{User: dora, Resource: all, AnyOf: del, At: noon}, "dora-now"},
		"nothing is asked":    {Query{User: bob, Resource: all}, ""},
		"beside, not beneath": {Query{User: bob, Resource: permission.JobResource("metronome", "prod"), AnyOf: create, At: noon}, ""},
	} {
		if v := s.DecideBeneath(tc.q); v.Grant != tc.want {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestCovers_inWindows(t *testing.T) {
	t.Parallel()
	s, _ := Build(Input{
		ACLs: []ACL{acl1("dev", jobsOf+":dev"), acl1("super", "dcos:superuser")},
		Grants: []Grant{
			{Name: "short", ACL: "dev", Subjects: []Subject{alice}, Actions: update, ExpiresAt: noon.Add(time.Hour)},
			{Name: "later", ACL: "dev", Subjects: []Subject{alice}, Actions: full, NotBefore: noon.Add(time.Hour)},
			grant1("long", "dev", read, GroupSubject("devs")),
			grant1("super", "super", run, root),
		},
	})
	dev := permission.JobResource("metronome", "dev.x")
	for name, tc := range map[string]struct {
		user   Subject
		groups []string
		claim  Claim
		want   permission.Actions
	}{
		"as long as it is held":            {alice, nil, Claim{permission.Rule{Resource: dev, Actions: run}, time.Time{}, noon.Add(time.Hour)}, 0},
		"longer than it is held":           {alice, nil, Claim{permission.Rule{Resource: dev, Actions: run}, time.Time{}, noon.Add(2 * time.Hour)}, run},
		"for ever":                         {alice, nil, Claim{permission.Rule{Resource: dev, Actions: run | update}, time.Time{}, time.Time{}}, run | update},
		"later for ever":                   {alice, nil, Claim{permission.Rule{Resource: dev, Actions: full}, noon.Add(time.Hour), time.Time{}}, 0},
		"the past does not matter":         {alice, nil, Claim{permission.Rule{Resource: dev, Actions: run}, noon.Add(-time.Hour), noon.Add(time.Hour)}, 0},
		"through a group":                  {alice, []string{"devs"}, Claim{permission.Rule{Resource: dev, Actions: run | read}, time.Time{}, noon.Add(time.Hour)}, 0},
		"some is missing":                  {bob, []string{"devs"}, Claim{permission.Rule{Resource: dev, Actions: run | read}, time.Time{}, time.Time{}}, run},
		"a superuser gives everything":     {root, nil, Claim{permission.Rule{Resource: permission.Superuser(), Actions: full}, time.Time{}, time.Time{}}, 0},
		"nobody but a superuser makes one": {alice, nil, Claim{permission.Rule{Resource: permission.Superuser(), Actions: read}, noon.Add(time.Hour), time.Time{}}, read},
		"no resource":                      {root, nil, Claim{permission.Rule{Actions: read}, time.Time{}, time.Time{}}, read},
		"no action":                        {bob, nil, Claim{permission.Rule{Resource: dev}, time.Time{}, time.Time{}}, 0},
	} {
		var got permission.Actions
		for _, m := range s.Covers(tc.user, tc.groups, noon, []Claim{tc.claim}) {
			got |= m.Actions
		}
		if got != tc.want {
			t.Errorf("%s: %v is missing, want %v", name, got, tc.want)
		}
	}
}

// What covers a claim is one grant that is open for all of its window, and gives all of its actions.
func TestCoveredBy(t *testing.T) {
	t.Parallel()
	s, _ := Build(Input{
		ACLs: []ACL{acl1("dev", jobsOf+":dev"), acl1("dev-x", jobsOf+":dev.x"), acl1("super", "dcos:superuser")},
		Grants: []Grant{
			{Name: "short", ACL: "dev", Subjects: []Subject{alice}, Actions: full, ExpiresAt: noon.Add(time.Hour)},
			{Name: "long", ACL: "dev-x", Subjects: []Subject{alice}, Actions: full, ExpiresAt: noon.Add(2 * time.Hour)},
			grant1("by-group", "dev-x", read, GroupSubject("devs")),
			grant1("root", "super", run, root),
		},
	})
	dev := permission.JobResource("metronome", "dev.x")
	for name, tc := range map[string]struct {
		user    Subject
		groups  []string
		actions permission.Actions
		until   time.Time
		want    string
	}{
		"the broader one while it lasts":   {alice, nil, full, noon.Add(time.Hour), "short"},
		"the one that lasts":               {alice, nil, full, noon.Add(2 * time.Hour), "long"},
		"none lasts for ever":              {alice, nil, full, time.Time{}, ""},
		"a group's":                        {alice, []string{"devs"}, read, time.Time{}, "by-group"},
		"two that would have to add up":    {bob, []string{"devs"}, read | run, time.Time{}, ""},
		"a superuser's gives every action": {root, nil, full | read, time.Time{}, "root"},
		"nothing asked":                    {root, nil, 0, time.Time{}, ""},
	} {
		claim := Claim{Rule: permission.Rule{Resource: dev, Actions: tc.actions}, ExpiresAt: tc.until}
		if by := s.CoveredBy(tc.user, tc.groups, noon, claim); by.Grant != tc.want || by.Allowed != (tc.want != "") {
			t.Errorf("%s: %+v, want %q", name, by, tc.want)
		}
	}
}

func TestPermissionsOf_directFirstWithStates(t *testing.T) {
	t.Parallel()
	s, _ := Build(organization)
	list := func(holdings []Holding) (lines []string) {
		for _, h := range holdings {
			lines = append(lines, fmt.Sprint(h.Subject, " via ", h.Via, " by ", h.Membership, ": ", h.Grant, " ", h.State))
		}
		return lines
	}
	want := []string{
		"user dora via user dora by : dora-before expired",
		"user dora via user dora by : dora-now in force",
		"user dora via user dora by : dora-later not yet open",
		"user dora via user dora by : dora-super expired",
		"user dora via group devs by : devs-dev in force",
		"user dora via group devs by : devs-example in force",
	}
	if diff := cmp.Diff(want, list(s.PermissionsOf(dora, []string{"devs"}, noon))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	erin := UserSubject("erin")
	if diff := cmp.Diff([]string{"user erin via user erin by : erin-missing ACL missing"}, list(s.PermissionsOf(erin, nil, noon))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want = []string{
		"user alice via user alice by : alice-dev-batch in force",
		"user bob via group devs by devs: devs-dev in force",
		"user root via user root by : root-super in force",
		"user system:serviceaccount:ci:robot via user system:serviceaccount:ci:robot by : robot in force",
		"user system:serviceaccount:ci:runner via group devs by devs: devs-dev in force",
		"group devs via group devs by : devs-dev in force",
	}
	if diff := cmp.Diff(want, list(s.WhoCan(permission.JobResource("metronome", "dev.batch.job2"), read, noon))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestExplain_picksTheNearest(t *testing.T) {
	t.Parallel()
	q := Query{User: alice, Groups: []string{"devs"}, Resource: permission.JobResource("metronome", "dev.batch.x"), AnyOf: run, At: noon}
	in := Input{ACLs: []ACL{acl1("dev", jobsOf+":dev"), acl1("batch", jobsOf+":dev.batch"), acl1("b", jobsOf+":dev.b"), acl1("below", jobsOf+":dev.batch.x.y")}}
	for i, tc := range []struct {
		add  Grant
		want string // the grant then nearest
	}{ // each comes nearer than those before it
		{grant1("x1", "b", run, GroupSubject("devs")), "x1"},
		{grant1("x2", "b", run, alice), "x2"},
		{grant1("x0", "b", run, alice), "x0"},
		{grant1("below", "below", run, alice), "below"},
		{grant1("missing", "none", run, alice), "missing"},
		{grant1("reads", "dev", read, alice), "reads"},
		{grant1("reads-nearer", "batch", read, GroupSubject("devs")), "reads-nearer"},
		{Grant{Name: "long-ago", ACL: "dev", Subjects: []Subject{alice}, Actions: run, ExpiresAt: noon.Add(-2 * time.Hour)}, "long-ago"},
		{Grant{Name: "just-now", ACL: "dev", Subjects: []Subject{alice}, Actions: run, ExpiresAt: noon.Add(-time.Hour)}, "just-now"},
		{Grant{Name: "next-week", ACL: "dev", Subjects: []Subject{alice}, Actions: run, NotBefore: noon.Add(200 * time.Hour)}, "next-week"},
		{Grant{Name: "soon", ACL: "dev", Subjects: []Subject{alice}, Actions: run, NotBefore: noon.Add(time.Hour)}, "soon"},
	} {
		in.Grants = append(in.Grants, tc.add)
		s, _ := Build(in)
		if e := s.Explain(q); e.Miss.Holding.Grant != tc.want {
			t.Errorf("%d: %v, want %s", i, e, tc.want)
		}
	}
	if got := (Verdict{}).String() + "; " + (Miss{}).String(); got != "not allowed; nothing is missing" {
		t.Errorf("zero values say %q", got)
	}
	if got := (Explanation{User: alice, Resource: q.Resource}).Brief(); got != "user alice may not nothing on jobs dev.batch.x in metronome" {
		t.Errorf("got %q", got)
	}
}

// A subject with very many grants is not searched for what lies beside the question.
func TestExplain_isBounded(t *testing.T) {
	t.Parallel()
	in := Input{ACLs: []ACL{acl1("a", jobsOf+":a"), acl1("b", jobsOf+":b")}}
	for i := range explainLimit + 10 {
		in.Grants = append(in.Grants, grant1(fmt.Sprintf("g%05d", i), "a", read, alice))
	}
	s, _ := Build(in)
	q := Query{User: alice, Resource: permission.JobResource("metronome", "a.x"), AnyOf: run, At: noon}
	if e := s.Explain(q); e.Miss.Kind != MissAction || e.Miss.Holding.Grant != "g00000" {
		t.Errorf("got %v", e)
	}
	q.Resource = permission.JobResource("metronome", "b.x")
	if e := s.Explain(q); e.Miss.Kind != MissNoGrant {
		t.Errorf("got %v", e)
	}
}

func TestSnapshot_IsMember(t *testing.T) {
	t.Parallel()
	s, _ := Build(Input{Groups: []Group{{Name: "ops", Members: []Subject{UserSubject("alice"), ServiceAccount("ci", "bot")}}}})
	for who, want := range map[Subject]bool{
		UserSubject("alice"): true, ServiceAccount("ci", "bot"): true, UserSubject("bob"): false, GroupSubject("alice"): false, {}: false,
	} {
		if got := s.IsMember(who, "ops"); got != want {
			t.Errorf("IsMember(%v, ops) = %v, want %v", who, got, want)
		}
	}
	if s.IsMember(UserSubject("alice"), "dev") {
		t.Error("alice is in dev, of which there is no Group")
	}
}
