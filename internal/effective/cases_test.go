package effective

import (
	"slices"
	"testing"
	"time"

	"github.com/grantry/grantry/internal/permission"
)

// The organization of all cases: alice has her own grants, bob is in the Group object "devs", carol
// is in "ops" as far as the authenticator says, dora has grants that don't count, root is a superuser.
const jobsOf = "dcos:service:metronome:metronome:jobs"

var organization = Input{
	ACLs: []ACL{
		acl1("all-jobs", jobsOf),
		acl1("dev", jobsOf+":dev"),
		acl1("dev-batch", jobsOf+":dev.batch"),
		acl1("job1", jobsOf+":/dev/batch/job1/"),
		acl1("campaign1", jobsOf+":marketing.email.campaign1"),
		acl1("superuser", "dcos:superuser"),
		acl1("metronome", "dcos:adminrouter:service:metronome"),
		acl1("nested", "dcos:adminrouter:service:a"),
		acl1("services", "dcos:service:marathon:marathon:services:/"),
		acl1("child", "dcos:service:marathon:marathon:services:/parent/child"),
		acl1("example", "dcos:service:marathon:marathon:services:/example"),
		acl1("sandbox", "dcos:mesos:agent:sandbox:app_id:%252Fmarketing%252Femail%252F"),
		acl1("task", "dcos:mesos:master:task:app_id:dev/batch/job1"),
		acl1("role-star", "dcos:mesos:agent:framework:role:*"),
		acl1("role-any", "dcos:mesos:master:framework:role"),
	},
	Grants: []Grant{
		grant1("alice-dev-batch", "dev-batch", permission.Read, UserSubject("alice")),
		grant1("alice-job1", "job1", permission.Update, UserSubject("alice")),
		grant1("alice-campaign1", "campaign1", permission.Full, UserSubject("alice")),
		grant1("alice-router", "metronome", permission.Full, UserSubject("alice")),
		grant1("alice-nested", "nested", permission.Full|permission.Read, UserSubject("alice")),
		grant1("alice-sandbox", "sandbox", permission.Read, UserSubject("alice")),
		grant1("alice-task", "task", permission.Read, UserSubject("alice")),
		grant1("alice-star", "role-star", permission.Read, UserSubject("alice")),
		grant1("alice-role", "role-any", permission.Read, UserSubject("alice")),
		grant1("devs-dev", "dev", permission.Create|permission.Read, GroupSubject("devs")),
		grant1("devs-example", "example", permission.Read, GroupSubject("devs")),
		grant1("ops-all", "all-jobs", permission.Run, GroupSubject("ops")),
		grant1("ops-services", "services", permission.Read, GroupSubject("ops")),
		grant1("ops-child", "child", permission.Delete, GroupSubject("ops")),
		grant1("ops-router-read", "metronome", permission.Read|permission.Update, GroupSubject("ops")),
		grant1("root-super", "superuser", permission.Read, UserSubject("root")),
		grant1("robot", "dev", permission.Full, ServiceAccount("ci", "robot")),
		{Name: "dora-later", ACL: "job1", Subjects: []Subject{UserSubject("dora")}, Actions: permission.Read, NotBefore: noon.Add(time.Hour)},
		{Name: "dora-before", ACL: "campaign1", Subjects: []Subject{UserSubject("dora")}, Actions: permission.Read, ExpiresAt: noon},
		{Name: "dora-now", ACL: "dev", Subjects: []Subject{UserSubject("dora")}, Actions: permission.Delete, NotBefore: noon, ExpiresAt: noon.Add(1)},
		grant1("erin-missing", "no-such-acl", permission.Run, UserSubject("erin")),
		{Name: "dora-super", ACL: "superuser", Subjects: []Subject{UserSubject("dora")}, Actions: permission.Full, ExpiresAt: noon.Add(-time.Hour)},
	},
	Groups: []Group{
		{Name: "devs", Members: []Subject{UserSubject("bob"), ServiceAccount("ci", "runner")}},
		{Name: "empty"},
	},
}

func acl1(name, id string) ACL { return ACL{name, permission.MustParseResource(id)} }

func grant1(name, acl string, actions permission.Actions, subjects ...Subject) Grant {
	return Grant{Name: name, ACL: acl, Subjects: subjects, Actions: actions}
}

type decisionCase struct {
	user   Subject
	groups []string
	id     string
	anyOf  permission.Actions
	at     time.Time // noon if zero

	grant      string // that allows it; refused if empty
	membership string
	why        string // of a refusal, or a whole sentence of an allowed one
}

var (
	alice, bob, carol, dora, root = UserSubject("alice"), UserSubject("bob"), UserSubject("carol"), UserSubject("dora"), UserSubject("root")
	ops                           = []string{"staff", "ops"}
)

const (
	read, update, create, del, full, run = permission.Read, permission.Update, permission.Create, permission.Delete, permission.Full, permission.Run

	nothingNear = "no grant of the user or of its groups comes near"
)

var decisionCases = map[string]decisionCase{
	"M1 no tail covers every job":                {user: carol, groups: ops, id: jobsOf + ":any.where", anyOf: run, grant: "ops-all"},
	"M2 a group covers groups inside":            {user: alice, id: jobsOf + ":dev.batch.a.b", anyOf: read, grant: "alice-dev-batch"},
	"M2 not the parent":                          {user: alice, id: jobsOf + ":dev", anyOf: read, why: "Grant alice-dev-batch (ACL dev-batch) gives it on jobs dev.batch in metronome only"},
	"M3 one job":                                 {user: alice, id: jobsOf + ":marketing.email.campaign1", anyOf: del, grant: "alice-campaign1"},
	"M3 not its neighbour":                       {user: alice, id: jobsOf + ":marketing.email.campaign2", anyOf: del, why: "closest is Grant alice-campaign1 (ACL campaign1), which gives it on jobs marketing.email.campaign1 in metronome"},
	"M3 both jobs of the group":                  {user: alice, id: jobsOf + ":dev.batch.job2", anyOf: read, grant: "alice-dev-batch"},
	"M4 all services":                            {user: carol, groups: ops, id: "dcos:service:marathon:marathon:services:/x", anyOf: read, grant: "ops-services"},
	"M5 a service group":                         {user: carol, groups: ops, id: "dcos:service:marathon:marathon:services:/parent/child/x", anyOf: del, grant: "ops-child"},
	"M5 not the parent":                          {user: carol, groups: ops, id: "dcos:service:marathon:marathon:services:/parent", anyOf: del, why: `Grant ops-services (ACL services) of group ops gives "read" on dcos:service:marathon:marathon:services:/; "delete" or "full" is missing`},
	"M6 a segment and not a string":              {user: bob, id: "dcos:service:marathon:marathon:services:/example-secure", anyOf: read, why: "closest is Grant devs-example (ACL example) of group devs, which gives it on dcos:service:marathon:marathon:services:/example"},
	"M6 for jobs":                                {user: alice, id: jobsOf + ":dev.batchx", anyOf: read, why: "closest is Grant alice-dev-batch (ACL dev-batch), which gives it on jobs dev.batch in metronome"},
	"M7 read does not delete":                    {user: bob, id: "dcos:service:marathon:marathon:services:/example", anyOf: del, why: `Grant devs-example (ACL example) of group devs gives "read" on dcos:service:marathon:marathon:services:/example; "delete" or "full" is missing`},
	"M8 adminrouter matches exactly":             {user: alice, id: "dcos:adminrouter:service:a", anyOf: full, grant: "alice-nested"},
	"M8 adminrouter does not inherit":            {user: alice, id: "dcos:adminrouter:service:a/b", anyOf: full, why: "closest is Grant alice-nested (ACL nested), which gives it on dcos:adminrouter:service:a"},
	"M9 any action on superuser":                 {user: root, id: jobsOf + ":x", anyOf: del, grant: "root-super", why: `user root may "delete" on jobs x in metronome: Grant root-super (ACL superuser) gives "read" to user root, which makes a superuser`},
	"M9 superuser itself":                        {user: root, id: "dcos:superuser", anyOf: full, grant: "root-super"},
	"M9 superuser in adminrouter":                {user: root, id: "dcos:adminrouter:acs", anyOf: full, grant: "root-super"},
	"M10 full does everything":                   {user: alice, id: jobsOf + ":marketing.email.campaign1", anyOf: run, grant: "alice-campaign1"},
	"M10 adminrouter full":                       {user: alice, id: "dcos:adminrouter:service:metronome", anyOf: full, grant: "alice-router"},
	"M10 adminrouter ignores the rest":           {user: carol, groups: ops, id: "dcos:adminrouter:service:metronome", anyOf: read, why: `Grant ops-router-read (ACL metronome) of group ops gives "read" and "update" on dcos:adminrouter:service:metronome; "full" is missing`},
	"M11 a job and a group of one name":          {user: alice, id: jobsOf + ":dev.batch", anyOf: read, grant: "alice-dev-batch"},
	"the seed's trailing slash":                  {user: alice, id: "dcos:mesos:agent:sandbox:app_id:%252Fmarketing%252Femail%252Fcampaign1", anyOf: read, grant: "alice-sandbox"},
	"an app_id without leading slash":            {user: alice, id: "dcos:mesos:master:task:app_id:/dev/batch/job1", anyOf: read, grant: "alice-task"},
	"a star is a role":                           {user: alice, id: "dcos:mesos:agent:framework:role:*", anyOf: read, grant: "alice-star"},
	"a star is not every role":                   {user: alice, id: "dcos:mesos:agent:framework:role:slave_public", anyOf: read, why: "closest is Grant alice-star (ACL role-star), which gives it on dcos:mesos:agent:framework:role:*"},
	"no role is every role":                      {user: alice, id: "dcos:mesos:master:framework:role:slave_public", anyOf: read, grant: "alice-role"},
	"update runs":                                {user: alice, id: jobsOf + ":dev.batch.job1", anyOf: run, grant: "alice-job1"},
	"run does not update":                        {user: carol, groups: ops, id: jobsOf + ":dev", anyOf: update, why: `Grant ops-all (ACL all-jobs) of group ops gives "run" on all jobs in metronome; "update" or "full" is missing`},
	"one of several actions":                     {user: alice, id: jobsOf + ":dev.batch.job2", anyOf: run | read, grant: "alice-dev-batch"},
	"the narrowest miss is named":                {user: alice, id: jobsOf + ":dev.batch.job1.x", anyOf: del, why: `Grant alice-job1 (ACL job1) gives "update" on jobs dev.batch.job1 in metronome; "delete" or "full" is missing`},
	"another instance":                           {user: alice, id: "dcos:service:metronome:prod:jobs:dev.batch", anyOf: read, why: nothingNear},
	"a member by a Group object":                 {user: bob, id: jobsOf + ":dev.x", anyOf: create, grant: "devs-dev", membership: "devs", why: `user bob may "create" on jobs dev.x in metronome: Grant devs-dev (ACL dev) gives "create" and "read" to group devs, of which Group devs makes it a member`},
	"a member as reported":                       {user: carol, groups: []string{"devs"}, id: jobsOf + ":dev.x", anyOf: create, grant: "devs-dev"},
	"reported and by a Group object":             {user: bob, groups: []string{"devs"}, id: jobsOf + ":dev.x", anyOf: create, grant: "devs-dev"},
	"no member":                                  {user: carol, id: jobsOf + ":dev.x", anyOf: create, why: nothingNear},
	"the own grant before the group's":           {user: alice, groups: []string{"devs"}, id: jobsOf + ":dev.batch.x", anyOf: read, grant: "alice-dev-batch"},
	"a service account is its user":              {user: UserSubject("system:serviceaccount:ci:robot"), id: jobsOf + ":dev.x", anyOf: full, grant: "robot"},
	"a service account as member":                {user: ServiceAccount("ci", "runner"), id: jobsOf + ":dev.x", anyOf: read, grant: "devs-dev", membership: "devs"},
	"a group as such":                            {user: GroupSubject("devs"), id: jobsOf + ":dev.x", anyOf: read, grant: "devs-dev"},
	"a user of a group's name":                   {user: UserSubject("devs"), id: jobsOf + ":dev.x", anyOf: read, why: nothingNear},
	"a window that opens later":                  {user: dora, id: jobsOf + ":dev.batch.job1", anyOf: read, why: "Grant dora-later (ACL job1) gives it, but its window opens at 2026-03-01T13:00:00Z"},
	"a window has opened":                        {user: dora, id: jobsOf + ":dev.batch.job1", anyOf: read, at: noon.Add(time.Hour), grant: "dora-later"},
	"a window has just closed":                   {user: dora, id: jobsOf + ":marketing.email.campaign1", anyOf: read, why: "Grant dora-before (ACL campaign1) gave it, but expired at 2026-03-01T12:00:00Z"},
	"a window is about to close":                 {user: dora, id: jobsOf + ":marketing.email.campaign1", anyOf: read, at: noon.Add(-1), grant: "dora-before", why: `user dora may "read" on jobs marketing.email.campaign1 in metronome: Grant dora-before (ACL campaign1) gives "read" to user dora, until 2026-03-01T12:00:00Z`},
	"a window just opens":                        {user: dora, id: jobsOf + ":dev", anyOf: del, grant: "dora-now"},
	"a superuser no more":                        {user: dora, id: "dcos:superuser", anyOf: read, why: "Grant dora-super (ACL superuser) gave it, but expired at 2026-03-01T11:00:00Z"},
	"an ACL is missing":                          {user: UserSubject("erin"), id: jobsOf + ":dev", anyOf: run, why: "Grant erin-missing names ACL no-such-acl, which does not exist or can't be read"},
	"an ACL is missing, another action":          {user: UserSubject("erin"), id: jobsOf + ":dev", anyOf: read, why: nothingNear},
	"nobody":                                     {id: jobsOf + ":dev", anyOf: read, why: nothingNear},
	"nobody in a group":                          {groups: []string{"devs"}, id: jobsOf + ":dev", anyOf: read, grant: "devs-dev"},
	"an unknown user":                            {user: UserSubject("mallory"), groups: []string{"", "nobody"}, id: jobsOf + ":dev", anyOf: read, why: nothingNear},
	"a user of a kind that there isn't":          {user: Subject{Kind: 9, Name: "alice"}, id: jobsOf + ":dev.batch", anyOf: read, why: nothingNear},
	"no action asked":                            {user: root, id: jobsOf, why: "no valid resource or action was asked for"},
	"an unknown action asked":                    {user: root, id: jobsOf, anyOf: 1 << 7, why: "no valid resource or action was asked for"},
	"no resource asked":                          {user: root, anyOf: read, why: "no valid resource or action was asked for"},
	"other ids":                                  {user: alice, id: "dcos:mesos:master:flags", anyOf: read, why: nothingNear},
	"a grant that misses by its action":          {user: bob, id: jobsOf + ":dev", anyOf: run, why: `Grant devs-dev (ACL dev) of group devs gives "create" and "read" on jobs dev in metronome; "update", "run" or "full" is missing`},
	"elsewhere with the wrong action is no miss": {user: bob, id: "dcos:service:marathon:marathon:services:/other", anyOf: del, why: nothingNear},
}

func (tc decisionCase) query() Query {
	q := Query{User: tc.user, Groups: tc.groups, AnyOf: tc.anyOf, At: tc.at}
	if tc.id != "" {
		q.Resource = permission.MustParseResource(tc.id)
	}
	if q.At.IsZero() {
		q.At = noon
	}
	return q
}

// TestCases runs the one table through all forms in which the question can be put.
func TestCases(t *testing.T) {
	t.Parallel()
	s, problems := Build(organization)
	if len(problems) != 1 || problems[0].String() != `Grant "erin-missing": its ACL "no-such-acl" does not exist` {
		t.Fatalf("problems: %v", problems)
	}
	for name, tc := range decisionCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := tc.query()
			v := s.Decide(q)
			if v.Allowed != (tc.grant != "") || v.Grant != tc.grant || v.Membership != tc.membership {
				t.Errorf("Decide: %+v, want grant %q by membership %q", v, tc.grant, tc.membership)
			}
			checkExplain(t, s, q, v, tc.why)
			checkReverse(t, s, q, v)
		})
	}
}

func checkExplain(t *testing.T, s *Snapshot, q Query, v Verdict, why string) {
	t.Helper()
	e := s.Explain(q)
	if e.Verdict != v || (e.Miss.Kind == NotMissed) != v.Allowed {
		t.Errorf("Explain: %+v, Decide: %+v", e, v)
	}
	if got := e.String(); why != "" && got != why && got != e.Brief()+": "+why {
		t.Errorf("Explain:\n got %s\nwant %s", got, why)
	}
}

// checkReverse checks that the list forms agree with a verdict.
func checkReverse(t interface {
	Helper()
	Errorf(string, ...any)
}, s *Snapshot, q Query, v Verdict,
) {
	t.Helper()
	listed := slices.ContainsFunc(s.WhoCan(q.Resource, q.AnyOf, q.At), func(h Holding) bool {
		return h.Subject == q.User || (h.Subject.Kind == KindGroup && slices.Contains(q.Groups, h.Subject.Name))
	})
	if listed != v.Allowed {
		t.Errorf("WhoCan lists the asker: %v, Decide: %+v", listed, v)
	}
	held := slices.ContainsFunc(s.PermissionsOf(q.User, q.Groups, q.At), func(h Holding) bool {
		return h.State == InForce && permission.Rule{Resource: h.Resource, Actions: h.Actions}.Allows(q.Resource, q.AnyOf) && !q.Resource.IsZero()
	})
	if held != v.Allowed {
		t.Errorf("PermissionsOf lists it: %v, Decide: %+v", held, v)
	}
	covered := false // in the next nanosecond, one of the actions
	for _, name := range q.AnyOf.Names() {
		action, _ := permission.ParseAction(name)
		claim := Claim{permission.Rule{Resource: q.Resource, Actions: action}, q.At, q.At.Add(1)}
		isCovered := len(s.Covers(q.User, q.Groups, q.At, []Claim{claim})) == 0
		if by := s.CoveredBy(q.User, q.Groups, q.At, claim); by.Allowed != isCovered || isCovered != (by.Grant != "" && by.ACL != "") {
			t.Errorf("CoveredBy: %+v, Covers: %v", by, isCovered)
		}
		covered = covered || isCovered
	}
	if covered != v.Allowed {
		t.Errorf("Covers: %v, Decide: %+v", covered, v)
	}
	impact := ImpactOf(New(), s, q.At, q)
	if (len(impact.Flips) == 1) != v.Allowed || len(impact.Lost) != 0 {
		t.Errorf("ImpactOf: %v, Decide: %+v", impact.Flips, v)
	}
	if v.Allowed && !s.DecideBeneath(q).Allowed {
		t.Errorf("DecideBeneath refuses, Decide: %+v", v)
	}
}
