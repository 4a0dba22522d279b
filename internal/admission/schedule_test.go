package admission

import (
	"strings"
	"testing"

	"github.com/grantry/grantry/api/v1alpha1"
)

func cron(crons ...string) func(*v1alpha1.Job) {
	return func(j *v1alpha1.Job) {
		j.Spec.Schedules = nil
		for _, c := range crons {
			j.Spec.Schedules = append(j.Spec.Schedules, v1alpha1.Schedule{ID: "s", Cron: c})
		}
	}
}

func zone(name string) func(*v1alpha1.Job) {
	return func(j *v1alpha1.Job) {
		j.Spec.Schedules = []v1alpha1.Schedule{{ID: "s", Cron: "0 0 * * *", Timezone: name}}
	}
}

func after(ids ...string) func(*v1alpha1.Job) {
	return func(j *v1alpha1.Job) {
		j.Spec.Dependencies = nil
		for _, id := range ids {
			j.Spec.Dependencies = append(j.Spec.Dependencies, v1alpha1.Dependency{ID: id})
		}
	}
}

// named is a Job of another name.
func named(name string, changes ...func(*v1alpha1.Job)) *v1alpha1.Job {
	return storedJob(append(changes, func(j *v1alpha1.Job) { j.Name = name })...)
}

// holding is a Cluster whose cache is up to date.
func holding(all ...*v1alpha1.Job) *jobs {
	byName := map[string]*v1alpha1.Job{}
	for _, job := range all {
		byName[job.Name] = job
	}
	return &jobs{cached: byName, live: byName}
}

// among sets the Cluster of a request.
func among(c *jobs, r *Request) *Request {
	r.Cluster = c
	return r
}

func mayGet(name string) Question {
	return Question{Verb: "get", Group: "grantry.dev", Resource: "jobs", Namespace: "metronome", Name: name}
}

func TestCheckJob_schedulesAndDependencies(t *testing.T) {
	t.Parallel()
	// The Jobs that are there: dev.a, then dev.b, then dev.shared; ops.x is nobody's to see.
	there := holding(named("dev.a"), named("dev.b", after("dev.a")), named("dev.late", after("dev.shared")), named("ops.x"), named("dev.going", going))
	const never = `spec.schedules[0].cron: Invalid value: "0 0 30 2 *": it never comes: no month of "2" has a day "30"`
	none := func(name string) string {
		return `spec.dependencies[0].id: Invalid value: "` + name + `": there is no such Job in namespace metronome: create it first`
	}
	// hidden is the answer about a Job that is not to be seen, whether it is there or not.
	hidden := func(name string) string {
		return none(name) + `; a Job that user bob may not read counts as none: ask for a Grant of read on an ACL that covers ` +
			`dcos:service:metronome:metronome:jobs:` + name
	}
	bob := func(changes ...func(*v1alpha1.Job)) *v1alpha1.Job {
		return storedJob(append([]func(*v1alpha1.Job){groupsOf("idp-bob")}, changes...)...)
	}
	alice := func(changes ...func(*v1alpha1.Job)) *v1alpha1.Job {
		return storedJob(append([]func(*v1alpha1.Job){owner(user("alice")), groupsOf("idp-alice")}, changes...)...)
	}
	cases := map[string]struct {
		r        *Request
		old, job *v1alpha1.Job
		want     string // the whole of it
	}{
		"a schedule that comes":      {r: by(t, Create, "alice"), job: alice(cron("0 0 29 2 *"))},
		"a schedule that never does": {r: by(t, Create, "alice"), job: alice(cron("0 0 30 2 *")), want: never},
		"a zone that nobody knows": {
			r: by(t, Create, "alice"), job: alice(zone("Mars/Olympus")),
			want: `spec.schedules[0].timezone: Invalid value: "Mars/Olympus": "Mars/Olympus" is not an IANA time zone, such as Europe/Berlin`,
		},
		"everything that is wrong is said": {
			r: by(t, Create, "alice"), job: alice(cron("0 0 30 2 *", "61 * * * *")),
			want: never + `; spec.schedules[1].cron: Invalid value: "61 * * * *": minute "61": 61 is not within 0 to 59`,
		},
		"nothing is said of it to who may not create the Job": {
			r: by(t, Create, "carol"), job: storedJob(owner(user("carol")), groupsOf("idp-carol"), cron("0 0 30 2 *")),
			want: `user carol may not "create" on jobs dev.shared in metronome: ask for a Grant of create or full on an ACL that covers dcos:service:metronome:metronome:jobs:dev.shared`,
		},
		"an update to a schedule that never comes":           {r: by(t, Update, "bob"), old: bob(), job: bob(cron("0 0 30 2 *")), want: never},
		"an update of something else, of what is wrong":      {r: by(t, Update, "bob"), old: bob(cron("0 0 30 2 *"), after("gone")), job: bob(cron("0 0 30 2 *"), after("gone"), cmd("false"))},
		"an update of metadata, of what is wrong":            {r: by(t, Update, "bob"), old: bob(cron("0 0 30 2 *")), job: bob(cron("0 0 30 2 *"), label("app", "a"))},
		"an update that mends":                               {r: by(t, Update, "bob"), old: bob(cron("0 0 30 2 *")), job: bob(cron("0 0 28 2 *"))},
		"an update of what is on its way out":                {r: by(t, Update, "bob"), old: bob(going), job: bob(going, cron("0 0 30 2 *"))},
		"a dependency that is there":                         {r: among(there, by(t, Create, "alice")), job: alice(after("dev.a", "dev.b"))},
		"a dependency that is not":                           {r: among(there, by(t, Create, "alice")), job: alice(after("dev.none")), want: none("dev.none")},
		"a dependency on its way out":                        {r: among(there, by(t, Create, "alice")), job: alice(after("dev.going")), want: none("dev.going")},
		"a dependency that the cache has not seen":           {r: among(&jobs{live: there.live}, by(t, Create, "alice")), job: alice(after("dev.a"))},
		"a dependency on itself":                             {r: among(there, by(t, Create, "alice")), job: alice(after("dev.shared")), want: `spec.dependencies[0].id: Invalid value: "dev.shared": a Job can't depend on itself`},
		"a circle":                                           {r: among(there, by(t, Update, "alice")), old: alice(), job: alice(after("dev.late")), want: `spec.dependencies[0].id: Invalid value: "dev.late": it depends on this Job in turn, so that neither would ever run`},
		"a dependency that may not be read":                  {r: among(there, by(t, Update, "bob")), old: bob(), job: bob(after("ops.x")), want: hidden("ops.x")},
		"the same of one that is not there":                  {r: among(there, by(t, Update, "bob")), old: bob(), job: bob(after("ops.y")), want: hidden("ops.y")},
		"one that RBAC lets the requester read":              {r: among(there, by(t, Update, "bob", mayGet("ops.x"))), old: bob(), job: bob(after("ops.x"))},
		"all of which RBAC lets the requester read":          {r: among(there, by(t, Update, "bob", mayGet(""))), old: bob(), job: bob(after("ops.x"))},
		"one that another has put there":                     {r: among(there, by(t, Update, "bob", mayGet("dev.a"))), old: bob(after("ops.x")), job: bob(after("dev.a", "ops.x"))},
		"a member of system:masters may read":                {r: among(there, masters(by(t, Update, "bob"))), old: bob(), job: bob(after("ops.x"))},
		"a dependency, when the Jobs can't be looked up":     {r: among(&jobs{err: errAway}, by(t, Create, "alice")), job: alice(after("dev.a")), want: "spec.dependencies: the Jobs can't be looked up now: read dependency dev.a: away"},
		"a dependency, when who may read can't be looked up": {r: failing(by(t, Update, "bob")), old: bob(), job: bob(after("ops.x")), want: `the API server can't be asked now whether user bob may "get" jobs: away`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cause, got := refusal(t, CheckJob(tc.r, tc.old, tc.job))
			if got != tc.want {
				t.Errorf("CheckJob():\n%s\nwant:\n%s", got, tc.want)
			}
			if want := causeOf(tc.want); cause != want {
				t.Errorf("the cause is %d, want %d", cause, want)
			}
		})
	}
}

// causeOf is the cause that goes with a text.
func causeOf(text string) Cause {
	switch {
	case text == "":
		return 0
	case strings.Contains(text, "away"):
		return Unavailable
	case strings.HasPrefix(text, "user "):
		return Forbidden
	}
	return Invalid
}

func TestCheckJob_deletionOfWhatOthersDependOn(t *testing.T) {
	t.Parallel()
	child := func(name string, changes ...func(*v1alpha1.Job)) *v1alpha1.Job {
		return named(name, append([]func(*v1alpha1.Job){after("dev.shared")}, changes...)...)
	}
	one, two := child("dev.one"), child("ops.two")
	lagging := holding(one, two)
	lagging.live = holding(two).live
	changed := holding(one)
	changed.live = holding(named("dev.one")).live
	const oneDepends = "1 Job depends on dev.shared: take it out of that Job's spec.dependencies, or delete that Job first"
	cases := map[string]struct {
		r    *Request
		old  *v1alpha1.Job
		want string
	}{
		"nothing depends on it":                {r: among(holding(named("dev.a")), by(t, Delete, "bob"))},
		"a Job does":                           {r: among(holding(one), by(t, Delete, "bob")), want: oneDepends},
		"two do, one of which may not be seen": {r: among(holding(one, two), by(t, Delete, "bob")), want: "2 Jobs depend on dev.shared: take it out of their spec.dependencies, or delete them first"},
		"one is gone, and the cache behind":    {r: among(lagging, by(t, Delete, "bob")), want: oneDepends},
		"the only one has let it go":           {r: among(changed, by(t, Delete, "bob"))},
		"the only one is on its way out":       {r: among(holding(child("dev.one", going)), by(t, Delete, "bob"))},
		"itself alone":                         {r: among(holding(storedJob(after("dev.shared"))), by(t, Delete, "bob")), old: storedJob(after("dev.shared"))},
		"it is on its way out already":         {r: among(holding(one), by(t, Delete, "bob")), old: storedJob(going)},
		"who may not delete is told nothing":   {r: among(holding(one), by(t, Delete, "carol")), want: `user carol may not "delete" on jobs dev.shared in metronome: ask for a Grant of delete or full on an ACL that covers dcos:service:metronome:metronome:jobs:dev.shared`},
		"whoever asks":                         {r: among(holding(one), masters(by(t, Delete, "root"))), want: oneDepends},
		"Grantry is not held up":               {r: among(holding(one), by(t, Delete, operatorName, override("jobs", "dev.shared")))},
		"they can't be looked up":              {r: among(&jobs{err: errAway}, by(t, Delete, "bob")), want: "the Jobs that depend on dev.shared can't be looked up now: away"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.old == nil {
				tc.old = storedJob()
			}
			cause, got := refusal(t, CheckJob(tc.r, tc.old, nil))
			if got != tc.want || cause != causeOf(tc.want) {
				t.Errorf("CheckJob() = %d, %q; want %d, %q", cause, got, causeOf(tc.want), tc.want)
			}
		})
	}
}

// A dependency is looked up live only if the cache does not have it, and a deletion rests on one live read.
func TestCheckJob_readsLiveWhatItMust(t *testing.T) {
	t.Parallel()
	there := holding(named("dev.a"), named("dev.b", after("dev.a", "dev.none")), named("dev.c", after("dev.shared")), named("dev.d", after("dev.shared")))
	for name, tc := range map[string]struct {
		r        *Request
		old, job *v1alpha1.Job
		want     int
	}{
		"all are cached":            {r: by(t, Create, "alice"), job: storedJob(owner(user("alice")), groupsOf("idp-alice"), after("dev.b")), want: 0},
		"one is not":                {r: by(t, Create, "alice"), job: storedJob(owner(user("alice")), groupsOf("idp-alice"), after("dev.b", "dev.z")), want: 1},
		"none is there":             {r: by(t, Create, "alice"), job: storedJob(owner(user("alice")), groupsOf("idp-alice")), want: 0},
		"a deletion with two to go": {r: by(t, Delete, "bob"), old: storedJob(), want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			counting := &jobs{cached: there.cached, live: there.live}
			_, _ = refusal(t, CheckJob(among(counting, tc.r), tc.old, tc.job))
			if counting.reads != tc.want {
				t.Errorf("%d live reads, want %d", counting.reads, tc.want)
			}
		})
	}
}
