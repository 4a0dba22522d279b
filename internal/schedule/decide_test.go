package schedule

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// noon of a Monday.
var noon = time.Date(2026, time.March, 2, 12, 0, 0, 0, time.UTC)

func clockTime(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse("15:04:05", text)
	if err != nil {
		t.Fatal(err)
	}
	return noon.Truncate(24 * time.Hour).Add(at.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)))
}

// plannedJob has one schedule, every ten minutes, which was dealt with until 11:50.
func plannedJob(edits ...func(*v1alpha1.Job)) *v1alpha1.Job {
	job := &v1alpha1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "metronome", Name: "dev.batch", UID: "job-uid", Generation: 1,
			CreationTimestamp: metav1.Time{Time: noon.Add(-100 * time.Hour)},
		},
		Spec: v1alpha1.JobSpec{Schedules: []v1alpha1.Schedule{{ID: "s", Cron: "*/10 * * * *"}}},
		Status: v1alpha1.JobStatus{ObservedGeneration: 1, Schedules: []v1alpha1.ScheduleStatus{{
			ID: "s", Cron: "*/10 * * * *", HandledUntil: &metav1.Time{Time: noon.Add(-10 * time.Minute)},
		}}},
	}
	for _, edit := range edits {
		edit(job)
	}
	return job
}

// run is a run of a schedule, or of a user if that is empty.
func run(schedule string, at time.Time, edits ...func(*v1alpha1.JobRun)) *v1alpha1.JobRun {
	r := &v1alpha1.JobRun{ObjectMeta: metav1.ObjectMeta{Name: "by-hand"}, Spec: v1alpha1.JobRunSpec{Trigger: v1alpha1.TriggerUser}}
	if schedule != "" {
		r.Name = batchjob.ScheduledRunName(plannedJob(), schedule, at)
		r.Spec = v1alpha1.JobRunSpec{Trigger: v1alpha1.TriggerSchedule, Schedule: schedule, ScheduledAt: &metav1.Time{Time: at}}
	}
	for _, edit := range edits {
		edit(r)
	}
	return r
}

func launched(r *v1alpha1.JobRun) { r.Status.Child = &v1alpha1.ChildReference{Name: "c"} }

func edited(edit func(*v1alpha1.Schedule)) func(*v1alpha1.Job) {
	return func(job *v1alpha1.Job) { edit(&job.Spec.Schedules[0]) }
}

func policy(p v1alpha1.ConcurrencyPolicy) func(*v1alpha1.Job) {
	return edited(func(s *v1alpha1.Schedule) { s.ConcurrencyPolicy = p })
}

func within(seconds int64) func(*v1alpha1.Job) {
	return edited(func(s *v1alpha1.Schedule) { s.StartingDeadlineSeconds = &seconds })
}

func suspended(job *v1alpha1.Job) { job.Spec.Suspend = true }

func unseen(job *v1alpha1.Job) {
	job.Status = v1alpha1.JobStatus{ObservedGeneration: -1}
	job.CreationTimestamp = metav1.Time{Time: noon.Add(-5 * time.Minute)}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	no := false
	cases := map[string]struct {
		job  []func(*v1alpha1.Job)
		runs []*v1alpha1.JobRun // not ended
		held bool
		now  string
		// what is wanted, as hours and minutes
		start, skipped string
		reason         v1alpha1.SkipReason
		handled, next  string
		stops          int
	}{
		"before its time":                  {now: "11:59:59", handled: "11:50:00", next: "12:00:00"},
		"at its time":                      {now: "12:00:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"a little later":                   {now: "12:00:07", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"within its deadline":              {job: []func(*v1alpha1.Job){within(300)}, now: "12:05:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"after its deadline":               {job: []func(*v1alpha1.Job){within(300)}, now: "12:05:01", skipped: "12:00:00", reason: v1alpha1.SkipDeadlineExceeded, handled: "12:00:00", next: "12:10:00"},
		"many were missed: one run":        {now: "17:04:00", start: "17:00:00", skipped: "16:50:00", reason: v1alpha1.SkipMissed, handled: "17:00:00", next: "17:10:00"},
		"all were missed":                  {job: []func(*v1alpha1.Job){within(60)}, now: "17:04:00", skipped: "17:00:00", reason: v1alpha1.SkipDeadlineExceeded, handled: "17:00:00", next: "17:10:00"},
		"suspended":                        {job: []func(*v1alpha1.Job){suspended}, now: "12:00:00", handled: "11:50:00"},
		"disabled":                         {job: []func(*v1alpha1.Job){edited(func(s *v1alpha1.Schedule) { s.Enabled = &no })}, now: "12:00:00"},
		"changed: times count from now":    {job: []func(*v1alpha1.Job){edited(func(s *v1alpha1.Schedule) { s.Cron = "*/5 * * * *" })}, now: "12:03:00", handled: "12:03:00", next: "12:05:00"},
		"moved: times count from now":      {job: []func(*v1alpha1.Job){edited(func(s *v1alpha1.Schedule) { s.Timezone = "Asia/Kathmandu" })}, now: "12:03:00", handled: "12:03:00", next: "12:05:00"},
		"added: times count from now":      {job: []func(*v1alpha1.Job){func(j *v1alpha1.Job) { j.Status.Schedules = nil }}, now: "12:03:00", handled: "12:03:00", next: "12:10:00"},
		"a new Job's count from creation":  {job: []func(*v1alpha1.Job){unseen}, now: "12:03:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"a new Job that was edited":        {job: []func(*v1alpha1.Job){unseen, func(j *v1alpha1.Job) { j.Generation = 2 }}, now: "12:03:00", handled: "12:03:00", next: "12:10:00"},
		"created ahead of our clock":       {job: []func(*v1alpha1.Job){unseen}, now: "11:54:00", handled: "11:54:00", next: "12:00:00"},
		"the clock was set back a bit":     {now: "11:30:00", handled: "11:50:00", next: "12:00:00"},
		"the clock was set back far":       {now: "10:30:00", handled: "10:30:00", next: "10:40:00"},
		"Allow, one is active":             {runs: []*v1alpha1.JobRun{run("", noon)}, now: "12:00:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"ALLOW, one is active":             {job: []func(*v1alpha1.Job){policy("ALLOW")}, runs: []*v1alpha1.JobRun{run("", noon)}, now: "12:00:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"Forbid, none is active":           {job: []func(*v1alpha1.Job){policy("Forbid")}, now: "12:00:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"Forbid, a user's is active":       {job: []func(*v1alpha1.Job){policy("Forbid")}, runs: []*v1alpha1.JobRun{run("", noon, launched)}, now: "12:00:00", skipped: "12:00:00", reason: v1alpha1.SkipRunActive, handled: "12:00:00", next: "12:10:00"},
		"FORBID, one of its own is active": {job: []func(*v1alpha1.Job){policy("FORBID")}, runs: []*v1alpha1.JobRun{run("s", noon.Add(-10*time.Minute), launched)}, now: "12:00:00", skipped: "12:00:00", reason: v1alpha1.SkipRunActive, handled: "12:00:00", next: "12:10:00"},
		"Forbid, it was created already":   {job: []func(*v1alpha1.Job){policy("Forbid")}, runs: []*v1alpha1.JobRun{run("s", noon)}, now: "12:00:02", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"Replace, two are active":          {job: []func(*v1alpha1.Job){policy("Replace")}, runs: []*v1alpha1.JobRun{run("", noon), run("s", noon.Add(-10*time.Minute))}, now: "12:00:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00", stops: 2},
		"Replace, but held":                {job: []func(*v1alpha1.Job){policy("Replace")}, held: true, runs: []*v1alpha1.JobRun{run("", noon, launched)}, now: "12:00:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"REPLACE, it was created already":  {job: []func(*v1alpha1.Job){policy("REPLACE")}, runs: []*v1alpha1.JobRun{run("s", noon)}, now: "12:00:02", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"held, none waits":                 {held: true, now: "12:00:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"held, one waits":                  {held: true, runs: []*v1alpha1.JobRun{run("s", noon.Add(-10*time.Minute))}, now: "12:00:00", skipped: "12:00:00", reason: v1alpha1.SkipRunWaiting, handled: "12:00:00", next: "12:10:00"},
		"held, another schedule's waits":   {held: true, runs: []*v1alpha1.JobRun{run("other", noon)}, now: "12:00:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"held, one was launched before":    {held: true, runs: []*v1alpha1.JobRun{run("s", noon.Add(-10*time.Minute), launched)}, now: "12:00:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"not held, one is being launched":  {runs: []*v1alpha1.JobRun{run("s", noon.Add(-10*time.Minute))}, now: "12:00:00", start: "12:00:00", handled: "12:00:00", next: "12:10:00"},
		"a mistake starts nothing":         {job: []func(*v1alpha1.Job){edited(func(s *v1alpha1.Schedule) { s.Cron = "0 0 31 2 *" })}, now: "12:00:00"},
		"a year that is over starts nothing": {job: []func(*v1alpha1.Job){func(j *v1alpha1.Job) {
			j.Spec.Schedules[0].Cron, j.Status.Schedules[0].Cron = "* * * * * 2020", "* * * * * 2020"
		}}, now: "12:00:00", handled: "11:50:00"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := plannedJob(tc.job...)
			before := job.DeepCopy()
			plan := Decide(Input{Job: job, Runs: tc.runs, Unfinished: tc.runs, Held: tc.held, Now: clockTime(t, tc.now)})
			if diff := cmp.Diff(before, job); diff != "" {
				t.Errorf("the Job was changed (-before +after):\n%s", diff)
			}
			got := plan.Status[0]
			text := func(at *metav1.Time) string {
				if at == nil {
					return ""
				}
				return at.UTC().Format(time.TimeOnly)
			}
			start := ""
			if len(plan.Start) > 0 {
				start = plan.Start[0].At.Format(time.TimeOnly)
			}
			skipped, reason := "", v1alpha1.SkipReason("")
			if got.LastSkipped != nil {
				skipped, reason = text(&got.LastSkipped.At), got.LastSkipped.Reason
			}
			next := ""
			if !plan.Next.IsZero() {
				next = plan.Next.Format(time.TimeOnly)
			}
			type result struct {
				Start, Scheduled, Skipped string
				Reason                    v1alpha1.SkipReason
				Handled, Next, NextRunAt  string
				Stops                     int
			}
			want := result{tc.start, tc.start, tc.skipped, tc.reason, tc.handled, tc.next, tc.next, tc.stops}
			is := result{start, text(got.LastScheduledAt), skipped, reason, text(got.HandledUntil), next, text(got.NextRunAt), len(plan.Stop)}
			if diff := cmp.Diff(want, is); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			// Once that is written down, the same moment asks for nothing more.
			job.Status.Schedules, job.Status.ObservedGeneration = plan.Status, job.Generation
			if again := Decide(Input{Job: job, Held: tc.held, Now: clockTime(t, tc.now)}); len(again.Start)+len(again.Stop) > 0 {
				t.Errorf("it is dealt with, and starts again: %+v", again.Start)
			}
		})
	}
}

func TestDecide_severalSchedules(t *testing.T) {
	t.Parallel()
	job := plannedJob(func(job *v1alpha1.Job) {
		job.Spec.Schedules = []v1alpha1.Schedule{
			{ID: "allow", Cron: "0 * * * *"},
			{ID: "forbid", Cron: "0 12 * * *", ConcurrencyPolicy: v1alpha1.ConcurrencyForbid},
			{ID: "replace", Cron: "*/30 * * * *", ConcurrencyPolicy: v1alpha1.ConcurrencyReplace},
			{ID: "wrong", Cron: "61 * * * *"},
			{ID: "later", Cron: "5 12 * * *"},
		}
		job.Status.Schedules = nil
		for _, s := range job.Spec.Schedules {
			job.Status.Schedules = append(job.Status.Schedules, v1alpha1.ScheduleStatus{
				ID: s.ID, Cron: s.Cron, HandledUntil: &metav1.Time{Time: noon.Add(-time.Minute)},
			})
		}
		job.Status.Schedules = append(job.Status.Schedules, v1alpha1.ScheduleStatus{ID: "removed", Cron: "* * * * *"})
	})
	active := run("", noon)
	plan := Decide(Input{Job: job, Runs: []*v1alpha1.JobRun{active}, Unfinished: []*v1alpha1.JobRun{active}, Now: noon})
	var started []string
	for _, s := range plan.Start {
		started = append(started, s.Schedule.ID)
	}
	if diff := cmp.Diff([]string{"allow", "replace"}, started); diff != "" {
		t.Errorf("it starts (-want +got):\n%s", diff)
	}
	if len(plan.Stop) != 1 || plan.Stop[0] != active {
		t.Errorf("it stops %v", plan.Stop)
	}
	if want := noon.Add(5 * time.Minute); !plan.Next.Equal(want) {
		t.Errorf("it looks again at %s, want %s", plan.Next, want)
	}
	var ids []string
	for _, s := range plan.Status {
		ids = append(ids, s.ID)
	}
	if diff := cmp.Diff([]string{"allow", "forbid", "replace", "wrong", "later"}, ids); diff != "" {
		t.Errorf("it remembers (-want +got):\n%s", diff)
	}
}

// A schedule that was disabled for a while has missed nothing.
func TestDecide_enabledAgain(t *testing.T) {
	t.Parallel()
	no := false
	job := plannedJob(edited(func(s *v1alpha1.Schedule) { s.Enabled = &no }), within(31536000))
	job.Status.Schedules = Decide(Input{Job: job, Now: noon}).Status
	job.Spec.Schedules[0].Enabled = nil
	plan := Decide(Input{Job: job, Now: noon.Add(5 * time.Hour)})
	if len(plan.Start) != 0 || !plan.Next.Equal(noon.Add(5*time.Hour+10*time.Minute)) {
		t.Errorf("it starts %v, and next at %s", plan.Start, plan.Next)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	no := false
	job := plannedJob(func(job *v1alpha1.Job) {
		job.Spec.Schedules = []v1alpha1.Schedule{
			{ID: "a", Cron: "0 9 1-7 * MON", Timezone: "Europe/Berlin"},
			{ID: "b", Cron: "0 0 31 2 *"},
			{ID: "c", Cron: "0 0 1 * *", Timezone: "Mars/Olympus", Enabled: &no},
			{ID: "d", Cron: "nightly", Timezone: "Local"},
		}
	})
	want := []string{
		`spec.schedules[1].cron: Invalid value: "0 0 31 2 *": it never comes: no month of "2" has a day "31"`,
		`spec.schedules[2].timezone: Invalid value: "Mars/Olympus": "Mars/Olympus" is not an IANA time zone, such as Europe/Berlin`,
		`spec.schedules[3].cron: Invalid value: "nightly": it has 1 fields, and needs minute, hour, day, month, weekday and at most a year`,
		`spec.schedules[3].timezone: Invalid value: "Local": "Local" is not an IANA time zone`,
	}
	var got []string
	for _, err := range Validate(job) {
		got = append(got, err.Error())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Validate() (-want +got):\n%s", diff)
	}
}
