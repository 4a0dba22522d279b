package admission

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// aRun is a run of dev.shared as somebody writes it.
func aRun(changes ...func(*v1alpha1.JobRun)) *v1alpha1.JobRun {
	run := &v1alpha1.JobRun{
		ObjectMeta: metav1.ObjectMeta{Namespace: "metronome", Name: "now"},
		Spec:       v1alpha1.JobRunSpec{Job: "dev.shared", Trigger: v1alpha1.TriggerUser},
	}
	for _, change := range changes {
		change(run)
	}
	return run
}

func requestedBy(s *v1alpha1.Subject) func(*v1alpha1.JobRun) {
	return func(r *v1alpha1.JobRun) { r.Spec.RequestedBy = s }
}

func trigger(to v1alpha1.RunTrigger) func(*v1alpha1.JobRun) {
	return func(r *v1alpha1.JobRun) { r.Spec.Trigger = to }
}

func stop(by ...*v1alpha1.Subject) func(*v1alpha1.JobRun) {
	return func(r *v1alpha1.JobRun) {
		r.Spec.Stop = true
		for _, s := range by {
			r.Spec.StoppedBy = s
		}
	}
}

func runLabels(extra ...string) func(*v1alpha1.JobRun) {
	return func(r *v1alpha1.JobRun) {
		r.Labels = maps.Clone(batchjob.AncestorLabels("dev.shared"))
		for _, key := range extra {
			r.Labels[key] = "1"
		}
	}
}

func adopted(r *v1alpha1.JobRun) {
	r.OwnerReferences = []metav1.OwnerReference{{APIVersion: "grantry.dev/v1alpha1", Kind: "Job", Name: "dev.shared", UID: "1"}}
}

func TestStampRun(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		r         *Request
		old, run  *v1alpha1.JobRun
		want      *v1alpha1.JobRun
		wantWarns string
	}{
		"create": {r: by(t, Create, "runner"), run: aRun(), want: aRun(requestedBy(user("runner")), runLabels())},
		"create, with another's name": {
			r: by(t, Create, "runner"), run: aRun(requestedBy(user("bob"))), want: aRun(requestedBy(user("runner")), runLabels()),
			wantWarns: `spec.requestedBy: set to user runner; user runner may not act as user bob: that takes the RBAC verb "impersonate" on users "bob"`,
		},
		"create, for another": {
			r: by(t, Create, "runner", impersonate("bob")), run: aRun(requestedBy(user("bob"))), want: aRun(requestedBy(user("bob")), runLabels()),
		},
		"create, with forged labels": {
			r: by(t, Create, "runner"), run: aRun(runLabels("grantry.dev/job-uid", "in.grantry.dev/ops")), want: aRun(requestedBy(user("runner")), runLabels()),
		},
		"update keeps the label of the Job": {
			r: by(t, Update, "runner"), old: aRun(runLabels("grantry.dev/job-uid")), run: aRun(), want: aRun(runLabels("grantry.dev/job-uid")),
		},
		"a stop": {
			r: by(t, Update, "runner"), old: aRun(runLabels()), run: aRun(runLabels(), stop()), want: aRun(runLabels(), stop(user("runner"))),
		},
		"a stop with another's name": {
			r: by(t, Update, "runner"), old: aRun(runLabels()), run: aRun(runLabels(), stop(user("bob"))), want: aRun(runLabels(), stop(user("runner"))),
			wantWarns: `spec.stoppedBy: set to user runner; user runner may not act as user bob: that takes the RBAC verb "impersonate" on users "bob"`,
		},
		"a stop for another": {
			r: by(t, Update, "runner", impersonate("bob")), old: aRun(runLabels()), run: aRun(runLabels(), stop(user("bob"))), want: aRun(runLabels(), stop(user("bob"))),
		},
		"a stop again stays that of who stopped it": {
			r: by(t, Update, "runner"), old: aRun(runLabels(), stop(user("bob"))), run: aRun(stop(user("bob"))), want: aRun(runLabels(), stop(user("bob"))),
		},
		"create, stopped": {
			r: by(t, Create, "runner"), run: aRun(stop()), want: aRun(requestedBy(user("runner")), runLabels(), stop(user("runner"))),
		},
		"Grantry knows better": {r: by(t, Create, operatorName), run: aRun(trigger("Schedule")), want: aRun(trigger("Schedule"))},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			warnings, err := StampRun(tc.r, tc.old, tc.run)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, tc.run); diff != "" {
				t.Errorf("StampRun() (-want +got):\n%s", diff)
			}
			if got := strings.Join(warnings, "\n"); got != tc.wantWarns {
				t.Errorf("warnings are %q, want %q", got, tc.wantWarns)
			}
		})
	}
	if _, err := StampRun(failing(by(t, Create, "runner")), nil, aRun(requestedBy(user("bob")))); err == nil {
		t.Error("StampRun() without an answer stamps, want a refusal")
	}
	if _, err := StampRun(failing(by(t, Update, "runner")), aRun(), aRun(stop(user("bob")))); err == nil {
		t.Error("StampRun() of a stop without an answer stamps, want a refusal")
	}
	if _, err := StampRun(by(t, Update, "zoe"), aRun(), aRun(stop())); err == nil {
		t.Error("StampRun() of a stop that is not granted stamps, want a refusal")
	}
}

func TestCheckRun(t *testing.T) {
	t.Parallel()
	good := func(changes ...func(*v1alpha1.JobRun)) *v1alpha1.JobRun {
		return aRun(append([]func(*v1alpha1.JobRun){requestedBy(user("runner")), runLabels()}, changes...)...)
	}
	annotated := func(r *v1alpha1.JobRun) { r.Annotations = map[string]string{"a": "b"} }
	cases := map[string]struct {
		r        *Request
		old, run *v1alpha1.JobRun
		want     Cause
		wantText string
	}{
		"create, granted": {r: by(t, Create, "runner"), run: good()},
		"create, of a Job that is not there, granted": {
			r: by(t, Create, "alice"), run: aRun(requestedBy(user("alice")), func(r *v1alpha1.JobRun) { r.Spec.Job = "dev.none" }),
		},
		"create, of a Job that is not there, not granted: in the same words": {
			r: by(t, Create, "runner"), run: aRun(requestedBy(user("runner")), func(r *v1alpha1.JobRun) { r.Spec.Job = "dev.none" }), want: Forbidden,
			wantText: `user runner may not "run" on jobs dev.none in metronome: ask for a Grant of update or run or full on an ACL`,
		},
		"create, by RBAC's override": {r: by(t, Create, "zoe", override("jobruns", "now")), run: aRun(requestedBy(user("zoe")), runLabels())},
		"create, by schedule": {
			r: by(t, Create, "runner"), run: good(trigger("Schedule")), want: Invalid, wantText: "spec.trigger: only Grantry creates runs with trigger Schedule",
		},
		"create, for a time": {
			r: by(t, Create, "runner"), run: good(func(r *v1alpha1.JobRun) { r.Spec.ScheduledAt = &metav1.Time{Time: noon} }), want: Invalid, wantText: "spec.scheduledAt",
		},
		"create, as the run of a Job of one's choice": {r: by(t, Create, "runner"), run: good(adopted), want: Invalid, wantText: "metadata.ownerReferences"},
		"create, as if stamping were away":            {r: by(t, Create, "runner"), run: aRun(), want: Invalid, wantText: "spec.requestedBy"},
		"create, with another's name":                 {r: by(t, Create, "runner"), run: good(requestedBy(user("bob"))), want: Forbidden, wantText: "spec.requestedBy: user runner may not act as user bob"},
		"create, when the API server can't be asked":  {r: failing(by(t, Create, "runner")), run: good(requestedBy(user("bob"))), want: Unavailable},
		"create, with forged labels":                  {r: by(t, Create, "runner"), run: good(runLabels("grantry.dev/run-uid")), want: Invalid, wantText: "grantry.dev/run-uid"},
		"update of an annotation":                     {r: by(t, Update, "runner"), old: good(), run: good(annotated)},
		"update of an annotation, not granted":        {r: by(t, Update, "zoe"), old: good(), run: good(annotated), want: Forbidden, wantText: `may not "run"`},
		"update that changes nothing":                 {r: by(t, Update, "zoe"), old: good(), run: good()},
		"update that gives it to another Job":         {r: by(t, Update, "runner"), old: good(), run: good(adopted), want: Invalid, wantText: "metadata.ownerReferences"},
		"update that takes the Job's label away":      {r: by(t, Update, "runner"), old: good(runLabels("grantry.dev/job-uid")), run: good(), want: Invalid, wantText: "grantry.dev/job-uid (missing)"},
		"stop, granted":                               {r: by(t, Update, "runner"), old: good(), run: good(stop(user("runner")))},
		"stop, not granted":                           {r: by(t, Update, "zoe"), old: good(), run: good(stop(user("zoe"))), want: Forbidden, wantText: `may not "run"`},
		"stop, as if stamping were away":              {r: by(t, Update, "runner"), old: good(), run: good(stop()), want: Invalid, wantText: "spec.stoppedBy: it must say who stops a run; set it to user runner"},
		"stop, with another's name":                   {r: by(t, Update, "runner"), old: good(), run: good(stop(user("bob"))), want: Forbidden, wantText: "spec.stoppedBy: user runner may not act as user bob"},
		"stop, when the API server can't be asked":    {r: failing(by(t, Update, "runner")), old: good(), run: good(stop(user("bob"))), want: Unavailable},
		"a run that another has stopped is annotated": {r: by(t, Update, "runner"), old: good(stop(user("bob"))), run: good(stop(user("bob")), annotated)},
		"Grantry stops runs":                          {r: by(t, Update, operatorName), old: good(), run: good(stop())},
		"delete":                                      {r: by(t, Delete, "runner"), old: good()},
		"delete, not granted":                         {r: by(t, Delete, "zoe"), old: good(), want: Forbidden, wantText: `may not "run"`},
		"Grantry creates runs":                        {r: by(t, Create, operatorName), run: good(trigger("Schedule"), adopted)},
		"Grantry adopts runs":                         {r: by(t, Update, operatorName), old: good(), run: good(adopted)},
		"Grantry deletes runs":                        {r: by(t, Delete, operatorName), old: good()},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, text := refusal(t, CheckRun(tc.r, tc.old, tc.run))
			if got != tc.want || !strings.Contains(text, tc.wantText) {
				t.Errorf("CheckRun() = %d %q, want %d …%q…", got, text, tc.want, tc.wantText)
			}
		})
	}
}

func TestSubjectOf(t *testing.T) {
	t.Parallel()
	cases := map[string]v1alpha1.Subject{
		"alice":                        {Kind: v1alpha1.UserSubject, Name: "alice"},
		"system:serviceaccount:ci:bot": {Kind: v1alpha1.ServiceAccountSubject, Namespace: "ci", Name: "bot"},
		"system:serviceaccount:ci":     {Kind: v1alpha1.UserSubject, Name: "system:serviceaccount:ci"},
		"system:serviceaccount::bot":   {Kind: v1alpha1.UserSubject, Name: "system:serviceaccount::bot"},
		"system:serviceaccount:a:b:c":  {Kind: v1alpha1.UserSubject, Name: "system:serviceaccount:a:b:c"},
	}
	for name, want := range cases {
		if got := SubjectOf(name); got != want {
			t.Errorf("SubjectOf(%q) = %+v, want %+v", name, got, want)
		}
		if s := SubjectOf(name); userName(s) != name {
			t.Errorf("userName(SubjectOf(%q)) = %q", name, userName(s))
		}
	}
}
