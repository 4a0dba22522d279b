package admission

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/permission"
)

func TestStampJob(t *testing.T) {
	t.Parallel()
	noGroups := func(j *v1alpha1.Job) { j.Spec.OwnerGroups = nil }
	described := func(j *v1alpha1.Job) { j.Spec.Description = "x" }
	cases := map[string]struct {
		r         *Request
		old, job  *v1alpha1.Job
		want      *v1alpha1.Job
		wantWarns string
	}{
		"create: the requester owns it": {
			r: by(t, Create, "bob"), job: newJob(), want: storedJob(groupsOf("idp-bob")),
		},
		"create: forged groups are replaced": {
			r: by(t, Create, "bob"), job: newJob(groupsOf("wheel")), want: storedJob(groupsOf("idp-bob")),
		},
		"create: another's name is replaced, and said": {
			r: by(t, Create, "bob"), job: newJob(owner(user("alice"))), want: storedJob(groupsOf("idp-bob")),
			wantWarns: `spec.owner: set to user bob; user bob may not act as user alice: that takes the RBAC verb "impersonate" on users "alice"`,
		},
		"create: a team may own it, of whom the authenticator reports": {
			r: by(t, Create, "bob"), job: newJob(owner(group("idp-bob"))), want: storedJob(owner(group("idp-bob")), noGroups),
		},
		"create: a team may own it, of whom a Group says so": {
			r: by(t, Create, "alice"), job: newJob(owner(group("team"))), want: storedJob(owner(group("team")), noGroups),
		},
		"create: not a team of others": {
			r: by(t, Create, "bob"), job: newJob(owner(group("team"))), want: storedJob(groupsOf("idp-bob")),
			wantWarns: `spec.owner: set to user bob; user bob may not act as group team: that takes membership or the RBAC verb "impersonate" on groups "team"`,
		},
		"create: with impersonate, for somebody, of whose groups nothing is known": {
			r: by(t, Create, "bob", impersonate("zoe")), job: newJob(owner(user("zoe")), groupsOf("wheel")), want: storedJob(owner(user("zoe")), noGroups),
		},
		"create: a superuser, for anyone": {
			r: by(t, Create, "root"), job: newJob(owner(user("zoe"))), want: storedJob(owner(user("zoe")), noGroups),
		},
		"create: a service account, whose groups are derived": {
			r: by(t, Create, "system:serviceaccount:flux:apply"), job: newJob(),
			want: storedJob(owner(&v1alpha1.Subject{Kind: v1alpha1.ServiceAccountSubject, Namespace: "flux", Name: "apply"}), noGroups),
		},
		"create: by generated name the path is not known": {
			r: by(t, Create, "bob"), job: newJob(func(j *v1alpha1.Job) { j.Name, j.GenerateName = "", "dev." }, label("in.grantry.dev/ops", "")),
			want: storedJob(groupsOf("idp-bob"), func(j *v1alpha1.Job) { j.Name, j.GenerateName, j.Labels = "", "dev.", map[string]string{} }),
		},
		"create: forged labels go, others stay": {
			r: by(t, Create, "bob"), job: newJob(label("in.grantry.dev/ops", ""), label("in.grantry.dev/dev", "x"), label("grantry.dev/job-uid", "1"), label("app", "a")),
			want: storedJob(groupsOf("idp-bob"), label("app", "a")),
		},
		"update: what runs, by the owner": {
			r: by(t, Update, "bob"), old: storedJob(), job: storedJob(cmd("false")), want: storedJob(cmd("false")),
		},
		"update: what runs, by another": {
			r: by(t, Update, "carol"), old: storedJob(), job: storedJob(cmd("false")),
			want:      storedJob(cmd("false"), owner(user("carol")), groupsOf("idp-carol")),
			wantWarns: `spec.owner: set to user carol; user carol may not act as user bob: that takes the RBAC verb "impersonate" on users "bob"`,
		},
		"update: what runs, by one who may act as the owner": {
			r: by(t, Update, "carol", impersonate("bob")), old: storedJob(), job: storedJob(cmd("false")), want: storedJob(cmd("false")),
		},
		"update: the description, by another": {
			r: by(t, Update, "carol"), old: storedJob(), job: storedJob(described), want: storedJob(described),
		},
		"update: an owner that the writer left out stays": {
			r: by(t, Update, "carol"), old: storedJob(), job: newJob(described), want: storedJob(described),
		},
		"update: the owner alone, taken over": {
			r: by(t, Update, "carol"), old: storedJob(), job: storedJob(owner(user("carol"))), want: storedJob(owner(user("carol")), groupsOf("idp-carol")),
		},
		"update: the owner alone, given to another": {
			r: by(t, Update, "carol"), old: storedJob(), job: storedJob(owner(user("alice"))), want: storedJob(),
			wantWarns: `spec.owner: set to user bob; user carol may not act as user alice: that takes the RBAC verb "impersonate" on users "alice"`,
		},
		"update: forged groups are taken back": {
			r: by(t, Update, "carol"), old: storedJob(), job: storedJob(groupsOf("wheel")), want: storedJob(),
		},
		"update: the owner's groups are others": {
			r: by(t, Update, "bob"), old: storedJob(groupsOf("idp-bob", "gone")), job: storedJob(described), want: storedJob(described, groupsOf("idp-bob")),
		},
		"update: the owner's groups were reported long ago": {
			r: at(by(t, Update, "bob"), noon.Add(time.Minute)), old: storedJob(), job: storedJob(),
			want: storedJob(func(j *v1alpha1.Job) { j.Spec.OwnerGroups.ReportedAt = metav1.NewTime(noon.Add(time.Minute)) }),
		},
		"update: of a Job from before there was admission": {
			r: by(t, Update, "carol"), old: storedJob(owner(nil), noGroups), job: storedJob(owner(nil), noGroups, described), want: storedJob(owner(nil), noGroups, described),
		},
		"update: of such a Job, with another's name": {
			r: by(t, Update, "carol"), old: storedJob(owner(nil), noGroups), job: storedJob(owner(user("bob")), noGroups), want: storedJob(owner(nil), noGroups),
			wantWarns: `spec.owner: left unset; user carol may not act as user bob: that takes the RBAC verb "impersonate" on users "bob"`,
		},
		"update: a label that was taken away is back": {
			r: by(t, Update, "carol"), old: storedJob(), job: storedJob(func(j *v1alpha1.Job) { j.Labels = nil }), want: storedJob(),
		},
		"Grantry itself is left alone": {
			r: by(t, Update, operatorName), old: storedJob(), job: newJob(), want: newJob(),
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			warnings, err := StampJob(tc.r, tc.old, tc.job)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, tc.job); diff != "" {
				t.Errorf("StampJob() (-want +got):\n%s", diff)
			}
			if got := strings.Join(warnings, "\n"); got != tc.wantWarns {
				t.Errorf("warnings are %q, want %q", got, tc.wantWarns)
			}
			again := tc.job.DeepCopy()
			if _, err := StampJob(tc.r, tc.old, again); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.job, again); diff != "" {
				t.Errorf("StampJob() twice (-once +twice):\n%s", diff)
			}
		})
	}
}

func at(r *Request, when time.Time) *Request {
	r.At = when
	return r
}

// in sets the security mode.
func in(mode permission.SecurityMode, r *Request) *Request {
	r.Mode = mode
	return r
}

func masters(r *Request) *Request {
	r.By.Groups = append(r.By.Groups, "system:masters")
	return r
}

func TestCheckJob(t *testing.T) {
	t.Parallel()
	stamped := func(who string) *v1alpha1.Job { return storedJob(owner(user(who)), groupsOf("idp-"+who)) }
	cases := map[string]struct {
		r        *Request
		old, job *v1alpha1.Job
		want     Cause
		wantText string // part of it
	}{
		"create, granted": {r: by(t, Create, "alice"), job: stamped("alice")},
		"create, with another action": {
			r: by(t, Create, "carol"), job: stamped("carol"), want: Forbidden,
			wantText: `user carol may not "create" on jobs dev.shared in metronome: ask for a Grant of create or full on an ACL that covers dcos:service:metronome:metronome:jobs:dev.shared`,
		},
		"create, on a name that only begins like the granted one": {
			r: by(t, Create, "alice"), job: storedJob(func(j *v1alpha1.Job) { j.Name, j.Labels = "devx", nil }), want: Forbidden, wantText: `may not "create" on jobs devx`,
		},
		"create, in another namespace": {
			r: by(t, Create, "alice"), job: storedJob(func(j *v1alpha1.Job) { j.Namespace = "ops" }), want: Forbidden, wantText: `jobs dev.shared in ops`,
		},
		"create, by RBAC's override": {r: by(t, Create, "zoe", override("jobs", "dev.shared")), job: stamped("zoe")},
		"create, by RBAC's override of another name": {
			r: by(t, Create, "zoe", override("jobs", "dev.other")), job: stamped("zoe"), want: Forbidden,
		},
		"create, strict: RBAC does not count": {
			r: in(permission.ModeStrict, by(t, Create, "zoe", override("jobs", "dev.shared"))), job: stamped("zoe"), want: Forbidden,
		},
		"create, strict: the way back in": {
			r: masters(in(permission.ModeStrict, by(t, Create, "zoe"))), job: storedJob(owner(user("zoe")), groupsOf("idp-zoe", "system:masters")),
		},
		"create, disabled: nothing is asked": {r: in(permission.ModeDisabled, by(t, Create, "zoe")), job: stamped("zoe")},
		"create, disabled: the owner is asked about all the same": {
			r: in(permission.ModeDisabled, by(t, Create, "zoe")), job: storedJob(), want: Forbidden, wantText: "spec.owner: user zoe may not act as user bob",
		},
		"create, before the policy is read": {
			r: withoutPolicy(by(t, Create, "alice")), job: stamped("alice"), want: Unavailable, wantText: "has not read every ACL",
		},
		"create, when the API server can't be asked": {
			r: failing(by(t, Create, "zoe")), job: stamped("zoe"), want: Unavailable, wantText: "away",
		},
		"create, without an owner, as if stamping were away": {
			r: by(t, Create, "alice"), job: newJob(), want: Invalid, wantText: "spec.owner: a Job needs an owner; set it to user alice",
		},
		"create, with another's name, as if stamping were away": {
			r: by(t, Create, "alice"), job: newJob(owner(user("root"))), want: Forbidden, wantText: "spec.owner: user alice may not act as user root",
		},
		"create, with groups that were not reported": {
			r: by(t, Create, "alice"), job: storedJob(owner(user("alice")), groupsOf("wheel")), want: Invalid, wantText: "spec.ownerGroups",
		},
		"create, with groups from tomorrow": {
			r: at(by(t, Create, "alice"), noon.Add(-time.Hour)), job: stamped("alice"), want: Invalid, wantText: "spec.ownerGroups",
		},
		"create, with groups for another": {
			r: by(t, Create, "root"), job: storedJob(owner(user("zoe")), groupsOf("idp-root")), want: Invalid, wantText: "spec.ownerGroups",
		},
		"create, with forged labels": {
			r: by(t, Create, "alice"), job: storedJob(owner(user("alice")), groupsOf("idp-alice"), label("in.grantry.dev/ops", "")), want: Invalid,
			wantText: "metadata.labels: only Grantry writes in.grantry.dev/ops=",
		},
		"create, by generated name, without labels": {
			r: by(t, Create, "alice"), job: storedJob(owner(user("alice")), groupsOf("idp-alice"), func(j *v1alpha1.Job) { j.Labels = nil }),
		},
		"update, granted":     {r: by(t, Update, "bob"), old: storedJob(), job: storedJob(cmd("false"))},
		"update, not granted": {r: by(t, Update, "runner"), old: storedJob(), job: storedJob(cmd("false")), want: Forbidden, wantText: `may not "update"`},
		"update of what runs, as the old owner": {
			r: by(t, Update, "carol"), old: storedJob(), job: storedJob(cmd("false")), want: Forbidden, wantText: "may not act as user bob",
		},
		"update of what runs, as the new owner": {
			r: by(t, Update, "carol"), old: storedJob(), job: storedJob(cmd("false"), owner(user("carol")), groupsOf("idp-carol")),
		},
		"update of the schedule counts":     {r: by(t, Update, "carol"), old: storedJob(), job: storedJob(scheduled), want: Forbidden, wantText: "may not act as user bob"},
		"update of the start policy counts": {r: by(t, Update, "carol"), old: storedJob(), job: storedJob(func(j *v1alpha1.Job) { j.Spec.StartPolicy = "OnCreate" }), want: Forbidden},
		"update of suspend doesn't":         {r: by(t, Update, "carol"), old: storedJob(), job: storedJob(func(j *v1alpha1.Job) { j.Spec.Suspend = true })},
		"update that forges groups":         {r: by(t, Update, "carol"), old: storedJob(), job: storedJob(groupsOf("wheel")), want: Invalid, wantText: "spec.ownerGroups"},
		"update that drops groups":          {r: by(t, Update, "carol"), old: storedJob(), job: storedJob(func(j *v1alpha1.Job) { j.Spec.OwnerGroups = nil })},
		"update that drops the owner":       {r: by(t, Update, "carol"), old: storedJob(), job: storedJob(owner(nil)), want: Invalid, wantText: "spec.owner"},
		"update that changes nothing":       {r: by(t, Update, "migrator"), old: storedJob(), job: storedJob()},
		"update of an annotation": {
			r: by(t, Update, "zoe"), old: storedJob(), job: storedJob(func(j *v1alpha1.Job) { j.Annotations = map[string]string{"a": "b"} }), want: Forbidden, wantText: `may not "update"`,
		},
		"update that takes a label away": {
			r: by(t, Update, "carol"), old: storedJob(), job: storedJob(func(j *v1alpha1.Job) { j.Labels = map[string]string{"in.grantry.dev/dev": ""} }), want: Invalid,
			wantText: "in.grantry.dev/dev.shared (missing)",
		},
		"update of what it is deleted with, without delete": {r: by(t, Update, "carol"), old: storedJob(), job: storedJob(orphaned), want: Forbidden, wantText: `may not "delete"`},
		"update of what it is deleted with, with delete":    {r: by(t, Update, "bob"), old: storedJob(), job: storedJob(orphaned)},
		"update of a finalizer while it goes": {
			r: by(t, Update, "zoe"), old: storedJob(going, finalized), job: storedJob(going),
		},
		"update of what runs while it goes": {r: by(t, Update, "zoe"), old: storedJob(going), job: storedJob(going, cmd("false")), want: Forbidden},
		"delete, granted":                   {r: by(t, Delete, "bob"), old: storedJob()},
		"delete, not granted":               {r: by(t, Delete, "carol"), old: storedJob(), want: Forbidden, wantText: `may not "delete" on jobs dev.shared`},
		"Grantry writes labels":             {r: by(t, Update, operatorName), old: storedJob(), job: storedJob(label("in.grantry.dev/x", ""))},
		"Grantry writes no specs":           {r: by(t, Update, operatorName), old: storedJob(), job: storedJob(cmd("false")), want: Forbidden},
		"Grantry creates no Jobs":           {r: by(t, Create, operatorName), job: storedJob(), want: Forbidden},
		"Grantry deletes no Jobs":           {r: by(t, Delete, operatorName), old: storedJob(), want: Forbidden},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, text := refusal(t, CheckJob(tc.r, tc.old, tc.job))
			if got != tc.want || !strings.Contains(text, tc.wantText) {
				t.Errorf("CheckJob() = %d %q, want %d …%q…", got, text, tc.want, tc.wantText)
			}
		})
	}
}

func withoutPolicy(r *Request) *Request {
	r.Snapshot, r.Unavailable = nil, errors.New("it has not read every ACL yet")
	return r
}

func failing(r *Request) *Request {
	r.Ask = func(Question) (bool, error) { return false, errAway }
	return r
}

func scheduled(j *v1alpha1.Job) {
	j.Spec.Schedules = []v1alpha1.Schedule{{ID: "nightly", Cron: "0 0 * * *"}}
}

func orphaned(j *v1alpha1.Job) {
	j.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "gone", UID: "1"}}
}

func going(j *v1alpha1.Job) { j.DeletionTimestamp = &metav1.Time{Time: noon} }

func finalized(j *v1alpha1.Job) { j.Finalizers = []string{"example.com/x"} }

// TestStamp_refusesWhatItWouldUndo: an update by somebody without a right to it must not be corrected into
// nothing, and succeed.
func TestStamp_refusesWhatItWouldUndo(t *testing.T) {
	t.Parallel()
	_, err := StampJob(by(t, Update, "zoe"), storedJob(), storedJob(owner(user("zoe"))))
	if cause, _ := refusal(t, err); cause != Forbidden {
		t.Errorf("StampJob() = %v, want it forbidden", err)
	}
	_, err = StampRun(by(t, Update, "zoe"), aRun(runLabels()), aRun())
	if cause, _ := refusal(t, err); cause != Forbidden {
		t.Errorf("StampRun() = %v, want it forbidden", err)
	}
}

// TestStamp_refusesWhatIsTooLong: stamping comes before the schemas, and what is too long is not repeated.
func TestStamp_refusesWhatIsTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("dev.", 2000)
	of := func(r *v1alpha1.JobRun) { r.Spec.Job = long }
	for name, tc := range map[string]struct {
		stamp func() ([]string, error)
		want  string
	}{
		"a Job": {
			stamp: func() ([]string, error) {
				return StampJob(by(t, Create, "alice"), nil, storedJob(func(j *v1alpha1.Job) { j.Name = long }))
			},
			want: "metadata.name: it has 8000 characters, and may have 253",
		},
		"a Job's owner": {
			stamp: func() ([]string, error) {
				return StampJob(by(t, Create, "alice"), nil, storedJob(owner(user(long))))
			},
			want: "the name of a subject: it has 8000 characters, and may have 256",
		},
		"a run of a Job": {
			stamp: func() ([]string, error) { return StampRun(by(t, Create, "runner"), nil, aRun(of)) },
			want:  "spec.job: it has 8000 characters, and may have 253",
		},
		"a run that is given another Job": {
			stamp: func() ([]string, error) { return StampRun(by(t, Update, "runner"), aRun(), aRun(of)) },
			want:  "spec.job: it has 8000 characters, and may have 253",
		},
		"who asks for a run": {
			stamp: func() ([]string, error) {
				return StampRun(by(t, Create, "runner"), nil, aRun(requestedBy(&v1alpha1.Subject{Kind: v1alpha1.ServiceAccountSubject, Namespace: long, Name: "a"})))
			},
			want: "the namespace of a subject: it has 8000 characters, and may have 63",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			warnings, err := tc.stamp()
			if cause, text := refusal(t, err); cause != Invalid || text != tc.want || len(warnings) > 0 {
				t.Errorf("refused with %d %.200q, and %d warnings; want %q", cause, text, len(warnings), tc.want)
			}
		})
	}
}

// TestStampJob_thenCheckJob: what stamping leaves is never refused for what it says, whoever writes.
func TestStampJob_thenCheckJob(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"alice", "root", "system:serviceaccount:flux:apply"} {
		for name, job := range map[string]*v1alpha1.Job{
			"plain": newJob(), "forged": newJob(owner(user("zoe")), groupsOf("wheel"), label("in.grantry.dev/ops", "")),
			"long": newJob(func(j *v1alpha1.Job) { j.Name = "dev." + strings.Repeat("a", 100) }),
		} {
			r := by(t, Create, who)
			if _, err := StampJob(r, nil, job); err != nil {
				t.Fatal(err)
			}
			if err := CheckJob(r, nil, job); err != nil {
				t.Errorf("%s, by %s: %v", name, who, err)
			}
			if diff := cmp.Diff(batchjob.AncestorLabels(job.Name), job.Labels); diff != "" {
				t.Errorf("%s, by %s: labels (-want +got):\n%s", name, who, diff)
			}
		}
	}
}
