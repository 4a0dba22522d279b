package permission

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestActions_satisfy(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		held, anyOf Actions
		want        bool
	}{
		"the same":                          {Read, Read, true},
		"M7 read does not delete":           {Read, Delete, false},
		"M10 full does everything":          {Full, Delete, true},
		"full does run":                     {Full, Run, true},
		"update does run":                   {Update, Run, true},
		"run does not update":               {Run, Update, false},
		"one of several":                    {Read, Read | Update, true},
		"everything but full is not full":   {AllActions &^ Full, Full, false},
		"nothing asked":                     {Full, 0, false},
		"nothing held":                      {0, AllActions, false},
		"bits that are no actions held":     {1 << 7, AllActions, false},
		"bits that are no actions asked":    {Full, 1 << 7, false},
		"create and delete are not related": {Create, Delete, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.held.Satisfies(tc.anyOf); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestActions_namesRoundTrip(t *testing.T) {
	t.Parallel()
	for set := range AllActions + 1 {
		back, err := ParseActions(set.Names()...)
		if err != nil || back != set {
			t.Errorf("%v became %v (%v)", set, back, err)
		}
	}
	if got := (Full | Read | Run).String() + " " + Actions(0).String(); got != "read,run,full none" {
		t.Errorf("got %q", got)
	}
	for _, bad := range []string{"", "Read", "execute", "read "} {
		if a, err := ParseActions("read", bad); err == nil || a != 0 {
			t.Errorf("%q is %v", bad, a)
		}
	}
	if got := Run.SatisfiedBy(); got != Run|Update|Full {
		t.Errorf("run is satisfied by %v", got)
	}
}

func TestRule_allows(t *testing.T) {
	t.Parallel()
	jobs, router := MustParseResource(metronome+":dev"), MustParseResource("dcos:adminrouter:acs")
	job := JobResource("metronome", "dev.a")
	cases := map[string]struct {
		rule     Rule
		resource Resource
		anyOf    Actions
		want     bool
	}{
		"a job":                                 {Rule{jobs, Read}, job, Read, true},
		"another action":                        {Rule{jobs, Read}, job, Update, false},
		"M9 any action on superuser":            {Rule{Superuser(), Read}, job, Full, true},
		"no action on superuser":                {Rule{Superuser(), 0}, job, Read, false},
		"adminrouter full":                      {Rule{router, Full}, router, Read, true},
		"M10 adminrouter ignores other actions": {Rule{router, Read | Update}, router, Read, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.rule.Allows(tc.resource, tc.anyOf); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if got := router.Ignored(Full | Read); got != 0 {
		t.Errorf("with full, %v is ignored", got)
	}
	if got := router.Ignored(Create | Read); got != Create|Read {
		t.Errorf("only %v is ignored", got)
	}
}

func TestCovers_namesWhatIsMissing(t *testing.T) {
	t.Parallel()
	dev, batch, router := MustParseResource(metronome+":dev"), MustParseResource(metronome+":dev.batch"), AdminRouter("acs")
	cases := map[string]struct {
		held, asked, want []Rule
	}{
		"nothing asked":                   {nil, nil, nil},
		"no action asked":                 {nil, []Rule{{dev, 0}}, nil},
		"nothing held":                    {nil, []Rule{{dev, Read}}, []Rule{{dev, Read}}},
		"a broader one held":              {[]Rule{{dev, Read}}, []Rule{{batch, Read}}, nil},
		"a narrower one held":             {[]Rule{{batch, Read}}, []Rule{{dev, Read}}, []Rule{{dev, Read}}},
		"two held add up":                 {[]Rule{{dev, Read}, {batch, Update}}, []Rule{{batch, Read | Run}}, nil},
		"the rest is missing":             {[]Rule{{dev, Read}}, []Rule{{batch, Read | Update | Full}}, []Rule{{batch, Update | Full}}},
		"superuser holds all":             {[]Rule{{Superuser(), Read}}, []Rule{{dev, Full}, {Superuser(), Full}}, nil},
		"only a superuser makes one":      {[]Rule{{dev, Full}}, []Rule{{Superuser(), Read}}, []Rule{{Superuser(), Read}}},
		"worthless actions are asked for": {[]Rule{{router, Read}}, []Rule{{router, Read}}, []Rule{{router, Read}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Covers(tc.held, tc.asked)
			if diff := cmp.Diff(tc.want, got, cmp.Comparer(func(a, b Resource) bool { return a.Equal(b) })); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
