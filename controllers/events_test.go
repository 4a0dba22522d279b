package controllers

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/grantry/grantry/api/v1alpha1"
)

// TestEvents_nameNoGrant: who reads events may not read Grants, whose names the conditions have.
func TestEvents_nameNoGrant(t *testing.T) {
	t.Parallel()
	others := plannedJob(func(j *v1alpha1.Job) { j.Name = "ops.job" })
	s := setStage(t, interceptor.Funcs{}, interceptor.Funcs{}, others, plannedRun(func(r *v1alpha1.JobRun) { r.Spec.Job = others.Name }))
	if _, err := s.reconcile(t); err != nil {
		t.Fatal(err)
	}
	if c := succeeded(s.run(t)); c == nil || !strings.Contains(c.Message, "alice-dev") {
		t.Fatalf("the run does not name the grant that comes closest: %+v", c)
	}
	if event := receive(t, s.events, "event"); event != "Warning NotGranted Not launched yet: "+noteMissing {
		t.Errorf("the event: %s", event)
	}
	if _, err := s.reconcile(t); err != nil {
		t.Fatal(err)
	}
	if len(s.events) != 0 {
		t.Errorf("it is told twice: %s", <-s.events)
	}
}

func TestNote(t *testing.T) {
	t.Parallel()
	refused, live := verdict{Message: "closest is Grant a"}, verdict{Message: "closest is Grant b"}
	in := runInput{Verdict: refused, Live: &liveFacts{Verdict: live}}
	for message, want := range map[string]string{
		"Suspended: closest is Grant a": "Suspended: " + noteMissing,
		"Suspended: closest is Grant b": "Suspended: " + noteMissing,
		"The pod failed":                "The pod failed",
	} {
		if got := note(message, in); got != want {
			t.Errorf("%q: %q, want %q", message, got, want)
		}
	}
	if got := note("Because", runInput{Verdict: verdict{Allowed: true, Message: "Because"}}); got != "Because" {
		t.Errorf("what was allowed is cut: %q", got)
	}
	if got := note(strings.Repeat("é", 2000), in); len(got) > noteLimit || !strings.HasPrefix(got, "éé") {
		t.Errorf("it has %d bytes: %.60s", len(got), got)
	}
}

var eventRow = regexp.MustCompile("(?m)^\\| (Grant|JobRun) \\| `(\\w+)` \\| (Normal|Warning) \\|")

// TestEvents_areDescribed: the page has each kind of event, with its type, and no other.
func TestEvents_areDescribed(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/operations/events.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for kind, events := range map[string][]map[string]string{"JobRun": {launchEvents, runEvents}, "Grant": {grantEvents}} {
		for _, reasons := range events {
			for reason, is := range reasons {
				want[kind+" "+reason+" "+is] = true
			}
		}
	}
	got := map[string]bool{}
	for _, row := range eventRow.FindAllStringSubmatch(string(page), -1) {
		got[strings.Join(row[1:], " ")] = true
	}
	if !maps.Equal(got, want) {
		t.Errorf("the page has %q, the code %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}
