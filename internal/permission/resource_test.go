package permission

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const metronome = "dcos:service:metronome:metronome:jobs"

func TestParseResource_readsEverySpelling(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		in, want string
		family   Family
	}{
		"superuser":                          {"dcos:superuser", "dcos:superuser", FamilySuperuser},
		"all jobs":                           {metronome, metronome, FamilyJobs},
		"all jobs, trailing colon":           {metronome + ":", metronome, FamilyJobs},
		"all jobs, slash":                    {metronome + ":/", metronome, FamilyJobs},
		"all jobs, dot":                      {metronome + ":.", metronome, FamilyJobs},
		"job path with dots":                 {metronome + ":dev.batch.job1", metronome + ":dev.batch.job1", FamilyJobs},
		"job path with slashes":              {metronome + ":dev/batch/job1", metronome + ":dev.batch.job1", FamilyJobs},
		"job path of both":                   {metronome + ":/dev.batch/job1/", metronome + ":dev.batch.job1", FamilyJobs},
		"job path, leading slash and dots":   {metronome + ":/dev.batch.job1", metronome + ":dev.batch.job1", FamilyJobs},
		"job path, trailing dot":             {metronome + ":dev.batch.", metronome + ":dev.batch", FamilyJobs},
		"job path, escaped":                  {metronome + ":%2fdev%252Fbatch", metronome + ":dev.batch", FamilyJobs},
		"job path with hyphens":              {metronome + ":a-b.c--d.0", metronome + ":a-b.c--d.0", FamilyJobs},
		"another instance":                   {"dcos:service:metronome:team-a:jobs:x", "dcos:service:metronome:team-a:jobs:x", FamilyJobs},
		"all services":                       {"dcos:service:marathon:marathon:services:/", "dcos:service:marathon:marathon:services", FamilyServices},
		"a service group":                    {"dcos:service:marathon:marathon:services:/parent/child", "dcos:service:marathon:marathon:services:/parent/child", FamilyServices},
		"a service without slash":            {"dcos:service:marathon:m-u:services:frontend", "dcos:service:marathon:m-u:services:/frontend", FamilyServices},
		"a dot is a letter in a service":     {"dcos:service:marathon:marathon:services:/a.b", "dcos:service:marathon:marathon:services:/a.b", FamilyServices},
		"app_id of the web steps":            {"dcos:mesos:master:task:app_id:dev/batch/job1", "dcos:mesos:master:task:app_id:/dev/batch/job1", FamilyAppID},
		"app_id of the curl steps":           {"dcos:mesos:master:executor:app_id:%252Fmarketing%252Femail%252Fcampaign1", "dcos:mesos:master:executor:app_id:/marketing/email/campaign1", FamilyAppID},
		"app_id with the trailing slash":     {"dcos:mesos:agent:sandbox:app_id:%252Fmarketing%252Femail%252F", "dcos:mesos:agent:sandbox:app_id:/marketing/email", FamilyAppID},
		"all app_ids":                        {"dcos:mesos:agent:task:app_id", "dcos:mesos:agent:task:app_id", FamilyAppID},
		"the default role":                   {"dcos:mesos:master:framework:role:*", "dcos:mesos:master:framework:role:*", FamilyRole},
		"any role":                           {"dcos:mesos:agent:framework:role", "dcos:mesos:agent:framework:role", FamilyRole},
		"a role with a slash":                {"dcos:mesos:agent:framework:role:a/b", "dcos:mesos:agent:framework:role:a/b", FamilyRole},
		"a user":                             {"dcos:mesos:master:task:user:root", "dcos:mesos:master:task:user:root", FamilyUser},
		"a principal":                        {"dcos:mesos:master:volume:principal:svc", "dcos:mesos:master:volume:principal:svc", FamilyPrincipal},
		"adminrouter":                        {"dcos:adminrouter:service:metronome", "dcos:adminrouter:service:metronome", FamilyAdminRouter},
		"adminrouter, nested and escaped":    {"dcos:adminrouter:service:a%2Fb", "dcos:adminrouter:service:a/b", FamilyAdminRouter},
		"adminrouter alone":                  {"dcos:adminrouter", "dcos:adminrouter", FamilyAdminRouter},
		"endpoint path":                      {"dcos:mesos:master:endpoint:path:/x", "dcos:mesos:master:endpoint:path:/x", FamilyOther},
		"flags":                              {"dcos:mesos:master:flags", "dcos:mesos:master:flags", FamilyOther},
		"secrets":                            {"dcos:secrets:default:/tenant/*", "dcos:secrets:default:/tenant/*", FamilyOther},
		"marathon's admin":                   {"dcos:service:marathon:marathon:admin:leader", "dcos:service:marathon:marathon:admin:leader", FamilyOther},
		"a head cut short":                   {"dcos:service:metronome:metronome", "dcos:service:metronome:metronome", FamilyOther},
		"superuser in capitals is no family": {"dcos:Superuser", "dcos:Superuser", FamilyOther},
		"a name that starts like superuser":  {"dcos:superusers", "dcos:superusers", FamilyOther},
		"a name that starts like router":     {"dcos:adminrouters:a", "dcos:adminrouters:a", FamilyOther},
		"mesos elsewhere":                    {"dcos:mesos:slave:task:app_id:/a", "dcos:mesos:slave:task:app_id:/a", FamilyOther},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := ParseResource(tc.in)
			if err != nil {
				t.Fatal(err)
			}
			if r.Canonical() != tc.want || r.Family() != tc.family || r.String() != tc.in {
				t.Errorf("got %q of %v, written %q; want %q of %v", r.Canonical(), r.Family(), r.String(), tc.want, tc.family)
			}
			if again := MustParseResource(tc.want); !again.Equal(r) {
				t.Errorf("%q does not equal its canonical form", tc.in)
			}
		})
	}
}

func TestParseResource_saysWhatIsWrongAndWhere(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		in     string
		reason Reason
		offset int
	}{
		"empty":                        {"", ReasonEmpty, 0},
		"too long":                     {"dcos:" + strings.Repeat("a", MaxLength), ReasonTooLong, MaxLength},
		"no prefix":                    {"service:metronome", ReasonNoPrefix, 0},
		"prefix in capitals":           {"DCOS:superuser", ReasonNoPrefix, 0},
		"prefix alone":                 {"dcos:", ReasonEmptySegment, 5},
		"dcos alone":                   {"dcos", ReasonNoPrefix, 0},
		"superuser with a tail":        {"dcos:superuser:x", ReasonTrailingText, 14},
		"superuser with a colon":       {"dcos:superuser:", ReasonTrailingText, 14},
		"empty segment":                {"dcos:service::metronome:jobs", ReasonEmptySegment, 13},
		"empty instance":               {"dcos:service:metronome::jobs", ReasonEmptySegment, 23},
		"other with a trailing colon":  {"dcos:mesos:", ReasonEmptySegment, 11},
		"adminrouter, trailing colon":  {"dcos:adminrouter:", ReasonEmptySegment, 17},
		"space":                        {metronome + ":dev batch", ReasonBadCharacter, 41},
		"trailing newline":             {"dcos:superuser\n", ReasonBadCharacter, 14},
		"delete character":             {"dcos:a\x7f", ReasonBadCharacter, 6},
		"cyrillic look-alike":          {metronome + ":dеv", ReasonBadCharacter, 39},
		"invalid UTF-8":                {"dcos:\xff", ReasonBadCharacter, 5},
		"other escape":                 {metronome + ":dev%2E", ReasonBadEscape, 41},
		"thrice escaped":               {metronome + ":%25252F", ReasonBadEscape, 38},
		"escape cut off":               {metronome + ":%2", ReasonBadEscape, 38},
		"capital in a job":             {metronome + ":dev.Batch", ReasonBadSegment, 42},
		"underscore in a job":          {metronome + ":dev.a_b", ReasonBadSegment, 42},
		"hyphen at the end":            {metronome + ":dev-", ReasonBadSegment, 38},
		"wildcard job":                 {metronome + ":dev.*", ReasonBadSegment, 42},
		"empty job segment":            {metronome + ":dev..job", ReasonEmptySegment, 42},
		"two separators":               {metronome + "://", ReasonEmptySegment, 39},
		"colon in a job":               {metronome + ":dev:batch", ReasonTrailingText, 41},
		"offset behind escapes":        {metronome + ":%252Fdev%252F%252Fx", ReasonEmptySegment, 51},
		"instance in capitals":         {"dcos:service:metronome:Metro:jobs", ReasonBadSegment, 23},
		"instance too long":            {"dcos:service:metronome:" + strings.Repeat("a", 64) + ":jobs", ReasonBadSegment, 23},
		"marathon instance with slash": {"dcos:service:marathon:a/b:services", ReasonBadSegment, 22},
		"job path too long":            {metronome + ":" + strings.Repeat("a.", 127), ReasonTooManySegments, 102},
		"job name too long":            {metronome + ":" + strings.Repeat("a", 254), ReasonTooLong, 291},
		"too many colons":              {"dcos" + strings.Repeat(":a", MaxSegments+1), ReasonTooManySegments, 70},
		"app_id, double slash":         {"dcos:mesos:master:task:app_id:/a//b", ReasonEmptySegment, 33},
		"app_id, parent":               {"dcos:mesos:master:task:app_id:/a/../b", ReasonBadSegment, 33},
		"app_id, wildcard":             {"dcos:mesos:master:task:app_id:/a/*", ReasonBadSegment, 33},
		"role with a second colon":     {"dcos:mesos:master:framework:role:a:b", ReasonTrailingText, 34},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := ParseResource(tc.in)
			var got *ParseError
			if !errors.As(err, &got) {
				t.Fatalf("got %v, %v", r, err)
			}
			if got.Reason != tc.reason || got.Offset != tc.offset || got.Input != tc.in || got.Fix == "" || !r.IsZero() {
				t.Errorf("got %s at %d, want %s at %d (%v)", got.Reason, got.Offset, tc.reason, tc.offset, err)
			}
		})
	}
}

func TestParseError_isOneSentence(t *testing.T) {
	t.Parallel()
	_, err := ParseResource(metronome + ":dev.Batch")
	want := `resource id "dcos:service:metronome:metronome:jobs:dev.Batch": "Batch" can't be a segment of a job's id at offset 42: ` +
		`use lower-case letters, digits and inner hyphens, separated by dots`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	_, err = ParseResource(strings.Repeat("x", 100))
	if err == nil || !strings.Contains(err.Error(), strings.Repeat("x", 80)+`"...`) || strings.Contains(err.Error(), strings.Repeat("x", 81)) {
		t.Errorf("the id is not cut: %v", err)
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		held, asked string
		want        bool
	}{
		"M1 no tail covers every group":                   {metronome, metronome + ":any.job", true},
		"M2 a group covers its jobs":                      {metronome + ":parent.child", metronome + ":parent.child.job", true},
		"M2 and the groups inside":                        {metronome + ":parent.child", metronome + ":parent.child.a.b", true},
		"M2 not its parent":                               {metronome + ":parent.child", metronome + ":parent", false},
		"M3 one job":                                      {metronome + ":dev.batch.job1", metronome + ":dev.batch.job1", true},
		"M3 not its neighbour":                            {metronome + ":dev.batch.job1", metronome + ":dev.batch.job2", false},
		"M3 without the last segment both":                {metronome + ":dev.batch", metronome + ":dev.batch.job2", true},
		"M4 all services":                                 {"dcos:service:marathon:marathon:services:/", "dcos:service:marathon:marathon:services:/a/b", true},
		"M5 a service group":                              {"dcos:service:marathon:marathon:services:/parent/child", "dcos:service:marathon:marathon:services:/parent/child/x", true},
		"M5 not its parent":                               {"dcos:service:marathon:marathon:services:/parent/child", "dcos:service:marathon:marathon:services:/parent", false},
		"M6 a segment, not a string":                      {"dcos:service:marathon:marathon:services:/example", "dcos:service:marathon:marathon:services:/example-secure", false},
		"M6 for jobs":                                     {metronome + ":dev.batch", metronome + ":dev.batchx", false},
		"M8 adminrouter matches exactly":                  {"dcos:adminrouter:service:a", "dcos:adminrouter:service:a", true},
		"M8 adminrouter, not nested":                      {"dcos:adminrouter:service:a", "dcos:adminrouter:service:a/b", false},
		"M8 adminrouter, not longer":                      {"dcos:adminrouter:ops", "dcos:adminrouter:ops:mesos", false},
		"adminrouter alone covers nothing":                {"dcos:adminrouter", "dcos:adminrouter:acs", false},
		"M9 superuser covers all":                         {"dcos:superuser", "dcos:mesos:master:flags", true},
		"M9 nothing covers superuser":                     {"dcos:superusers", "dcos:superuser", false},
		"superuser covers itself":                         {"dcos:superuser", "dcos:superuser", true},
		"M11 a group and a thing of one name":             {"dcos:service:marathon:marathon:services:/a/b", "dcos:service:marathon:marathon:services:/a/b", true},
		"slashes cover dots":                              {metronome + ":/dev/batch/", metronome + ":dev.batch.job1", true},
		"mixed covers mixed":                              {metronome + ":dev.batch/a", metronome + ":dev/batch.a.b", true},
		"mixed does not cover another":                    {metronome + ":dev.batch/a", metronome + ":dev/batch.b.b", false},
		"the seed's trailing slash covers its grant":      {"dcos:mesos:agent:sandbox:app_id:%252Fmarketing%252Femail%252F", "dcos:mesos:agent:sandbox:app_id:%252Fmarketing%252Femail%252Fcampaign1", true},
		"with and without leading slash":                  {"dcos:mesos:master:task:app_id:dev/batch/job1", "dcos:mesos:master:task:app_id:/dev/batch/job1", true},
		"a dot is a letter in app_ids":                    {"dcos:mesos:master:task:app_id:/dev", "dcos:mesos:master:task:app_id:/dev.batch", false},
		"other kinds of app_id":                           {"dcos:mesos:master:task:app_id", "dcos:mesos:agent:task:app_id", false},
		"any role covers one":                             {"dcos:mesos:agent:framework:role", "dcos:mesos:agent:framework:role:slave_public", true},
		"the star is a role":                              {"dcos:mesos:agent:framework:role:*", "dcos:mesos:agent:framework:role:slave_public", false},
		"one role does not cover any":                     {"dcos:mesos:agent:framework:role:*", "dcos:mesos:agent:framework:role", false},
		"a role is one segment":                           {"dcos:mesos:agent:framework:role:a", "dcos:mesos:agent:framework:role:a/b", false},
		"other instances":                                 {"dcos:service:metronome:a:jobs", "dcos:service:metronome:b:jobs:x", false},
		"other ids by colons":                             {"dcos:secrets:default", "dcos:secrets:default:/a", true},
		"other ids not by slashes":                        {"dcos:secrets:default:/a", "dcos:secrets:default:/a/b", false},
		"a head cut short stays in its family":            {"dcos:service:metronome:metronome", metronome + ":dev", false},
		"a head cut short covers others":                  {"dcos:service:marathon", "dcos:service:marathon:marathon:admin:config", true},
		"ids are case-sensitive":                          {"dcos:secrets:A", "dcos:secrets:a", false},
		"a role's family is not covered by the app_ids'":  {"dcos:mesos:agent:container:app_id", "dcos:mesos:agent:container:role", false},
		"a longer segment at the end of a shorter string": {"dcos:service:marathon:marathon:services:/ab", "dcos:service:marathon:marathon:services:/a", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := MustParseResource(tc.held).Covers(MustParseResource(tc.asked)); got != tc.want {
				t.Errorf("%s covers %s: %v, want %v", tc.held, tc.asked, got, tc.want)
			}
		})
	}
}

func TestResource_madeFromPartsMeansTheSame(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		made Resource
		id   string
	}{
		"superuser":                  {Superuser(), "dcos:superuser"},
		"adminrouter":                {AdminRouter("ops:mesos"), "dcos:adminrouter:ops:mesos"},
		"a job":                      {JobResource("metronome", "dev.batch.job1"), metronome + ":dev.batch.job1"},
		"all jobs":                   {JobResource("metronome", ""), metronome},
		"app_id, default instance":   {AppIDResource(MasterTask, "", "dev.batch"), "dcos:mesos:master:task:app_id:/dev/batch"},
		"app_id, other instance":     {AppIDResource(AgentSandbox, "team", "dev.batch"), "dcos:mesos:agent:sandbox:app_id:/team/dev/batch"},
		"master executor":            {AppIDResource(MasterExecutor, "", ""), "dcos:mesos:master:executor:app_id"},
		"agent executor":             {AppIDResource(AgentExecutor, "", ""), "dcos:mesos:agent:executor:app_id"},
		"agent task":                 {AppIDResource(AgentTask, "", ""), "dcos:mesos:agent:task:app_id"},
		"agent container":            {AppIDResource(AgentContainer, "", ""), "dcos:mesos:agent:container:app_id"},
		"nested container session":   {AppIDResource(AgentNestedContainerSession, "", "a"), "dcos:mesos:agent:nested_container_session:app_id:/a"},
		"app_id of a whole instance": {AppIDResource(MasterTask, "team", ""), "dcos:mesos:master:task:app_id:/team"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parsed := MustParseResource(tc.id)
			if !parsed.Equal(tc.made) || tc.made.String() != parsed.Canonical() {
				t.Errorf("%s is not %s", tc.made, tc.id)
			}
		})
	}
	if !AppIDResource(99, "", "a").IsZero() {
		t.Error("an unknown kind makes an id")
	}
	if AppIDResource(MasterTask, "dev", "batch").Covers(AppIDResource(MasterTask, "dev", "batchx")) {
		t.Error("a lead hides the end of a segment")
	}
}

func TestResource_zeroCoversNothing(t *testing.T) {
	t.Parallel()
	var zero Resource
	for _, r := range []Resource{zero, Superuser(), JobResource("metronome", "a")} {
		if zero.Covers(r) || r.Covers(zero) {
			t.Errorf("the zero id and %q cover each other", r)
		}
	}
	if zero.Effective(AllActions) != 0 || zero.String() != "" || zero.Family().String() != "invalid" || Family(99).String() != "invalid" {
		t.Error("the zero id is worth something")
	}
}

func TestParseJobResource(t *testing.T) {
	t.Parallel()
	r, err := ParseJobResource("metronome", "dev.batch")
	if err != nil || !r.Equal(JobResource("metronome", "dev.batch")) {
		t.Errorf("got %v, %v", r, err)
	}
	if r, err := ParseJobResource("metronome", ""); err != nil || r.Canonical() != metronome {
		t.Errorf("got %v, %v", r, err)
	}
	for _, bad := range [][2]string{{"a:jobs:b", "c"}, {"", "c"}, {"a", "C"}, {"a:jobs", ""}, {"a:b", "c"}, {"A", "c"}, {"a", "b:c"}} {
		if r, err := ParseJobResource(bad[0], bad[1]); err == nil {
			t.Errorf("%q gives %v", bad, r)
		}
	}
}

func TestMustParseResource_panics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	MustParseResource("x")
}

func TestResource_describe(t *testing.T) {
	t.Parallel()
	got := []string{
		JobResource("metronome", "").Describe(), JobResource("metronome", "dev.batch").Describe(),
		MustParseResource("dcos:mesos:agent:task:app_id:%2Fdev").Describe(), FamilyAppID.String(),
	}
	want := []string{"all jobs in metronome", "jobs dev.batch in metronome", "dcos:mesos:agent:task:app_id:%2Fdev", "app_id"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestResource_queriesDoNotAllocate(t *testing.T) {
	held := MustParseResource(metronome + ":dev")
	task := MustParseResource("dcos:mesos:master:task:app_id:/team/dev")
	instance, job := "metronome", "dev.batch.job1"
	if n := testing.AllocsPerRun(100, func() {
		if !held.Covers(JobResource(instance, job)) || !task.Covers(AppIDResource(MasterTask, "team", job)) || Superuser().Covers(Resource{}) {
			t.Error("wrong answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
