package batchjob_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

func run(name string, uid types.UID) *v1alpha1.JobRun {
	return &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid}}
}

func job(name string, uid types.UID) *v1alpha1.Job {
	return &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, UID: uid}}
}

func TestChildName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a":              "a-kuwoehv6ec",
		"dev.batch.job1": "dev-batch-job1-kuwoehv6ec",
		// Cut after 41 characters, and what would make two dashes is cut, too.
		long("a", 40) + ".b": long("a", 40) + "-kuwoehv6ec",
	} {
		if got := batchjob.ChildName(run(name, "uid")); got != want {
			t.Errorf("ChildName(%q) = %q, want %q", name, got, want)
		}
	}
	if a, b := batchjob.ChildName(run("a", "1")), batchjob.ChildName(run("a", "2")); a == b {
		t.Errorf("two runs of one name have one child: %s", a)
	}
	// Whatever is cut off, the hash tells them apart.
	if a, b := batchjob.ChildName(run(long("a", 253), "1")), batchjob.ChildName(run(long("a", 252), "2")); a == b {
		t.Errorf("two runs of one beginning have one child: %s", a)
	}
	// The Job controller appends an index to the host names of an Indexed Job's pods.
	if got := batchjob.ChildName(run(long("a", 253), "1")) + "-1234567890"; len(got) != validation.DNS1123LabelMaxLength {
		t.Errorf("%s has %d characters", got, len(got))
	}
}

func TestCreationRunName(t *testing.T) {
	t.Parallel()
	first, again := batchjob.CreationRunName(job("dev.batch", "1")), batchjob.CreationRunName(job("dev.batch", "1"))
	if first != again {
		t.Errorf("one creation has two runs: %s and %s", first, again)
	}
	if !strings.HasPrefix(first, "dev.batch-") {
		t.Errorf("%s does not tell its Job", first)
	}
	if other := batchjob.CreationRunName(job("dev.batch", "2")); first == other {
		t.Errorf("a Job that was made again has the run of the one before: %s", first)
	}
}

func TestScheduledRunName(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.March, 1, 3, 30, 0, 0, time.FixedZone("", 3600))
	name := batchjob.ScheduledRunName(job("dev.batch", "1"), "nightly", at)
	if want := "dev.batch-202603010230-"; !strings.HasPrefix(name, want) {
		t.Errorf("%s does not begin with %s: the Job and the time in UTC", name, want)
	}
	if same := batchjob.ScheduledRunName(job("dev.batch", "1"), "nightly", at.UTC()); same != name {
		t.Errorf("one time of one schedule has two runs: %s and %s", name, same)
	}
	for what, other := range map[string]string{
		"another Job of that name": batchjob.ScheduledRunName(job("dev.batch", "2"), "nightly", at),
		"another schedule":         batchjob.ScheduledRunName(job("dev.batch", "1"), "daily", at),
		"another time":             batchjob.ScheduledRunName(job("dev.batch", "1"), "nightly", at.Add(time.Minute)),
	} {
		if other == name {
			t.Errorf("%s has the same run: %s", what, name)
		}
	}
}

func TestDependencyRunName(t *testing.T) {
	t.Parallel()
	name := batchjob.DependencyRunName(job("dev.batch", "1"), "a1,b1")
	if !strings.HasPrefix(name, "dev.batch-") {
		t.Errorf("%s does not tell its Job", name)
	}
	if same := batchjob.DependencyRunName(job("dev.batch", "1"), "a1,b1"); same != name {
		t.Errorf("the same runs of the parents have two runs: %s and %s", name, same)
	}
	if other := batchjob.DependencyRunName(job("dev.batch", "1"), "a2,b1"); other == name {
		t.Errorf("other runs of the parents have the same run: %s", name)
	}
}

func TestNames_areValid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name, uid := jobName().Draw(t, "name"), types.UID(rapid.String().Draw(t, "uid"))
		if problems := validation.IsDNS1123Label(batchjob.ChildName(run(name, uid))); len(problems) > 0 {
			t.Errorf("ChildName = %q: %v", batchjob.ChildName(run(name, uid)), problems)
		}
		if problems := validation.IsDNS1123Subdomain(batchjob.CreationRunName(job(name, uid))); len(problems) > 0 {
			t.Errorf("CreationRunName = %q: %v", batchjob.CreationRunName(job(name, uid)), problems)
		}
		at := time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "at"), 0)
		if problems := validation.IsDNS1123Subdomain(batchjob.ScheduledRunName(job(name, uid), "s", at)); len(problems) > 0 {
			t.Errorf("ScheduledRunName = %q: %v", batchjob.ScheduledRunName(job(name, uid), "s", at), problems)
		}
		labels := batchjob.AncestorLabels(name)
		if len(labels) != strings.Count(name, ".")+1 {
			t.Errorf("%d labels for %q", len(labels), name)
		}
		for key := range labels {
			if problems := validation.IsQualifiedName(key); len(problems) > 0 {
				t.Errorf("label %q: %v", key, problems)
			}
		}
	})
}

func TestAncestorLabels(t *testing.T) {
	t.Parallel()
	deep := "dev." + long("a", 59) // 63 characters
	for name, tc := range map[string]struct {
		path string
		want map[string]string
	}{
		"a path of one segment": {"dev", map[string]string{"in.grantry.dev/dev": ""}},
		"one label per ancestor, and for itself": {"dev.batch.job1", map[string]string{
			"in.grantry.dev/dev": "", "in.grantry.dev/dev.batch": "", "in.grantry.dev/dev.batch.job1": "",
		}},
		"what just fits is kept": {deep, map[string]string{"in.grantry.dev/dev": "", "in.grantry.dev/" + deep: ""}},
		"what is too long is hashed": {deep + ".x", map[string]string{
			"in.grantry.dev/dev": "", "in.grantry.dev/" + deep: "",
			"in.grantry.dev/dev." + long("a", 38) + "_p7ebbw2cvwxcu4h23qoj": "",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, batchjob.AncestorLabels(tc.path)); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAncestorLabelKey_isUnique(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := jobName().Draw(t, "a"), jobName().Draw(t, "b")
		if (a == b) != (batchjob.AncestorLabelKey(a) == batchjob.AncestorLabelKey(b)) {
			t.Errorf("%q and %q: %s and %s", a, b, batchjob.AncestorLabelKey(a), batchjob.AncestorLabelKey(b))
		}
	})
}

func TestRunLabels(t *testing.T) {
	t.Parallel()
	want := map[string]string{"in.grantry.dev/dev": "", "in.grantry.dev/dev.a": "", "grantry.dev/job-uid": "uid"}
	if diff := cmp.Diff(want, batchjob.RunLabels(job("dev.a", "uid"))); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

func long(s string, n int) string { return strings.Repeat(s, n) }

// jobName draws job ids of every length, some with long common beginnings.
func jobName() *rapid.Generator[string] {
	segment := rapid.StringMatching(`[a-z0-9]{1,3}(-{1,2}[a-z0-9]{1,2}){0,2}`)
	return rapid.Custom(func(t *rapid.T) string {
		segments := rapid.SliceOfN(segment, 1, 6).Draw(t, "segments")
		if rapid.Bool().Draw(t, "long") {
			segments = append(segments, long("a", rapid.IntRange(30, 200).Draw(t, "length")), "x")
		}
		name := strings.Join(segments, ".")
		return strings.TrimRight(name[:min(len(name), validation.DNS1123SubdomainMaxLength)], "-.")
	})
}
