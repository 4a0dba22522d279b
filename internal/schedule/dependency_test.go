package schedule

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/grantry/grantry/api/v1alpha1"
)

func minute(n int) *metav1.Time { return &metav1.Time{Time: noon.Add(time.Duration(n) * time.Minute)} }

// graph makes Jobs that depend on each other.
func graph(dependencies map[string][]string) Lookup {
	jobs := map[string]*v1alpha1.Job{}
	for name, on := range dependencies {
		jobs[name] = dependent(name, on...)
	}
	return func(id string) *v1alpha1.Job { return jobs[id] }
}

func dependent(name string, on ...string) *v1alpha1.Job {
	job := &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "metronome", Name: name, UID: types.UID(name + "-uid")}}
	for _, id := range on {
		job.Spec.Dependencies = append(job.Spec.Dependencies, v1alpha1.Dependency{ID: id})
	}
	return job
}

func ran(run, state string, finished *metav1.Time) *v1alpha1.RunSummary {
	return &v1alpha1.RunSummary{Name: run, UID: types.UID(run), State: state, FinishedAt: finished}
}

// Metronome's documented example: Z runs after A and B.
func TestAfterParents_metronomesExample(t *testing.T) {
	t.Parallel()
	ok := v1alpha1.StateSuccess
	type world struct {
		A, B *v1alpha1.RunSummary
		own  OwnRuns
	}
	cases := map[string]struct {
		world
		known *v1alpha1.DependencyStatus
		hold  bool
		want  bool
	}{
		"none has run":                                 {},
		"A has succeeded, B has not run":               {world: world{A: ran("a1", ok, minute(1))}},
		"both have succeeded":                          {world: world{A: ran("a1", ok, minute(1)), B: ran("b1", ok, minute(2))}, want: true},
		"B runs again":                                 {world: world{A: ran("a1", ok, minute(1)), B: ran("b2", v1alpha1.StateActive, nil)}},
		"B's latest run has failed":                    {world: world{A: ran("a1", ok, minute(1)), B: ran("b2", v1alpha1.StateFailed, minute(3))}},
		"both since Z's last success":                  {world: world{A: ran("a2", ok, minute(5)), B: ran("b2", ok, minute(6)), own: OwnRuns{LastSuccess: minute(4)}}, want: true},
		"only one since Z's last success":              {world: world{A: ran("a2", ok, minute(5)), B: ran("b1", ok, minute(2)), own: OwnRuns{LastSuccess: minute(4)}}},
		"in the very second of Z's last success":       {world: world{A: ran("a2", ok, minute(4)), B: ran("b2", ok, minute(4)), own: OwnRuns{LastSuccess: minute(4)}}, want: true},
		"Z is at work":                                 {world: world{A: ran("a1", ok, minute(1)), B: ran("b1", ok, minute(2)), own: OwnRuns{Unfinished: 1}}},
		"Z is suspended":                               {world: world{A: ran("a1", ok, minute(1)), B: ran("b1", ok, minute(2))}, hold: true},
		"Z was run for these runs, and has failed":     {world: world{A: ran("a1", ok, minute(1)), B: ran("b1", ok, minute(2))}, known: &v1alpha1.DependencyStatus{Runs: "same"}},
		"Z has failed, and A has succeeded again":      {world: world{A: ran("a2", ok, minute(7)), B: ran("b1", ok, minute(2))}, known: &v1alpha1.DependencyStatus{Runs: "other", SucceededAt: *minute(2)}, want: true},
		"Z was run for later runs, which were deleted": {world: world{A: ran("a1", ok, minute(1)), B: ran("b1", ok, minute(2))}, known: &v1alpha1.DependencyStatus{Runs: "other", SucceededAt: *minute(3)}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			jobs := graph(map[string][]string{"a": nil, "b": nil})
			jobs("a").Status.LastRun, jobs("b").Status.LastRun = tc.A, tc.B
			z := dependent("z", "a", "b")
			z.Spec.Suspend = tc.hold
			if tc.known != nil {
				z.Status.Dependencies = tc.known
				if tc.known.Runs == "same" {
					z.Status.Dependencies = AfterParents(dependent("z", "a", "b"), OwnRuns{}, jobs)
				}
			}
			got := AfterParents(z, tc.own, jobs)
			if (got != nil) != tc.want {
				t.Fatalf("AfterParents() = %+v", got)
			}
			if got == nil {
				return
			}
			latest := tc.A.FinishedAt
			if latest.Before(tc.B.FinishedAt) {
				latest = tc.B.FinishedAt
			}
			if !got.SucceededAt.Equal(latest) {
				t.Errorf("the last succeeded at %s, want %s", got.SucceededAt, latest)
			}
			turned := dependent("z", "b", "a")
			turned.Status = z.Status
			if diff := cmp.Diff(got, AfterParents(turned, tc.own, jobs)); diff != "" {
				t.Errorf("the order of the dependencies matters (-want +got):\n%s", diff)
			}
			z.Status.Dependencies = got
			if again := AfterParents(z, tc.own, jobs); again != nil {
				t.Errorf("the same runs run it again: %+v", again)
			}
		})
	}
}

func TestAfterParents_unknownAndNone(t *testing.T) {
	t.Parallel()
	jobs := graph(map[string][]string{"a": nil})
	jobs("a").Status.LastRun = ran("a1", v1alpha1.StateSuccess, minute(1))
	if got := AfterParents(dependent("z", "a", "gone"), OwnRuns{}, jobs); got != nil {
		t.Errorf("a parent that does not exist: %+v", got)
	}
	if got := AfterParents(dependent("z"), OwnRuns{}, jobs); got != nil {
		t.Errorf("no parents: %+v", got)
	}
}

func TestValidateDependencies(t *testing.T) {
	t.Parallel()
	jobs := graph(map[string][]string{
		"a": nil, "b": {"a"}, "c": {"b", "a"},
		"loop1": {"loop2", "a"}, "loop2": {"loop3"}, "loop3": {"loop1"}, "below": {"loop1"},
		"self": {"self"}, "dangling": {"a", "nowhere"}, "further": {"dangling"},
	})
	for name, want := range map[string][]string{
		"a": nil, "b": nil, "c": nil, "below": nil, "further": nil,
		"loop1":    {`spec.dependencies[0].id: Invalid value: "loop2": it depends on this Job in turn, so that neither would ever run`},
		"loop2":    {`spec.dependencies[0].id: Invalid value: "loop3": it depends on this Job in turn, so that neither would ever run`},
		"self":     {`spec.dependencies[0].id: Invalid value: "self": a Job can't depend on itself`},
		"dangling": {`spec.dependencies[1].id: Invalid value: "nowhere": there is no such Job in namespace metronome: create it first`},
	} {
		var got []string
		for _, err := range ValidateDependencies(jobs(name), jobs) {
			got = append(got, err.Error())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A long chain is looked at once, and a wide one each Job once.
func TestValidateDependencies_looksAtEachJobOnce(t *testing.T) {
	t.Parallel()
	const layers, width = 200, 8
	wide := map[string][]string{}
	for layer := range layers {
		for i := range width {
			name := fmt.Sprintf("j%d-%d", layer, i)
			wide[name] = nil
			for k := range width {
				if layer > 0 {
					wide[name] = append(wide[name], fmt.Sprintf("j%d-%d", layer-1, k))
				}
			}
		}
	}
	jobs := graph(wide)
	looked := 0
	counting := func(id string) *v1alpha1.Job { looked++; return jobs(id) }
	if errs := ValidateDependencies(dependent("top", fmt.Sprintf("j%d-0", layers-1)), counting); len(errs) != 0 {
		t.Error(errs)
	}
	if limit := layers*width + 2; looked > limit {
		t.Errorf("%d looks at %d Jobs", looked, layers*width)
	}
}

// What is gathered is what the rules look at: each Job once, none that is going, and nothing if a read fails.
func TestGather(t *testing.T) {
	t.Parallel()
	going := dependent("going", "a")
	going.DeletionTimestamp = minute(0)
	there := map[string]*v1alpha1.Job{
		"a": dependent("a"), "b": dependent("b", "a", "loop"), "loop": dependent("loop", "b"), "going": going, "apart": dependent("apart"),
	}
	var read []string
	got, err := Gather(dependent("z", "b", "going", "none"), func(id string) (*v1alpha1.Job, error) {
		read = append(read, id)
		return there[id], nil
	})
	want := map[string]*v1alpha1.Job{"a": there["a"], "b": there["b"], "loop": there["loop"], "going": nil, "none": nil}
	if diff := cmp.Diff(want, got); diff != "" || err != nil || len(read) != len(want) {
		t.Errorf("Gather() read %v, and failed with %v (-want +got):\n%s", read, err, diff)
	}
	away := errors.New("away")
	if _, err := Gather(dependent("z", "b"), func(string) (*v1alpha1.Job, error) { return nil, away }); !errors.Is(err, away) {
		t.Errorf("a failed read: %v", err)
	}
}

func TestValidateDeletion(t *testing.T) {
	t.Parallel()
	going := *dependent("going", "a")
	going.DeletionTimestamp = minute(0)
	b, c := *dependent("b", "a"), *dependent("c", "x", "a")
	for want, others := range map[string][]v1alpha1.Job{
		"": {*dependent("a"), *dependent("x"), going, *dependent("a", "a")},
		"1 Job depends on a: take it out of that Job's spec.dependencies, or delete that Job first": {b, going},
		"2 Jobs depend on a: take it out of their spec.dependencies, or delete them first":          {b, c},
	} {
		got := ""
		if err := ValidateDeletion(dependent("a"), others); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("ValidateDeletion() = %q, want %q", got, want)
		}
	}
}
