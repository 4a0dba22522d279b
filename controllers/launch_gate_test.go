package controllers

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllertest"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/policystore"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// heldPolicy is a policy store that learns what its test tells it, and nothing else: a cache that is
// behind for as long as the test likes.
type heldPolicy struct {
	*policystore.Store
	informers map[string]*controllertest.FakeInformer
}

// holdPolicy starts one that knows of objs.
func holdPolicy(t *testing.T, clk clock.Clock, objs ...client.Object) *heldPolicy {
	t.Helper()
	informers := &informertest.FakeInformers{Scheme: grantrytesting.Scheme}
	held := &heldPolicy{Store: policystore.New(informers, clk), informers: map[string]*controllertest.FakeInformer{}}
	for _, kind := range []client.Object{&v1alpha1.ACL{}, &v1alpha1.Grant{}, &v1alpha1.Group{}} {
		informer, err := informers.FakeInformerFor(t.Context(), kind)
		if err != nil {
			t.Fatal(err)
		}
		held.informers[kindOf(kind)] = informer
	}
	ended := make(chan error, 1)
	go func() { ended <- held.Start(t.Context()) }()
	t.Cleanup(func() {
		if err := <-ended; err != nil {
			t.Errorf("the policy store ended with: %v", err)
		}
	})
	NewWithT(t).Eventually(held.Synced).WithTimeout(waitFor).WithPolling(time.Millisecond).Should(BeTrue(), "the policy is loaded")
	held.tell(t, objs...)
	return held
}

func kindOf(obj client.Object) string {
	switch obj.(type) {
	case *v1alpha1.ACL:
		return "ACL"
	case *v1alpha1.Grant:
		return "Grant"
	default:
		return "Group"
	}
}

// tell makes objects known, and returns when they count.
func (h *heldPolicy) tell(t *testing.T, objs ...client.Object) {
	t.Helper()
	before := h.Snapshot().Counts()
	want := before.ACLs + before.Grants + before.Groups + len(objs)
	for _, obj := range objs {
		h.informers[kindOf(obj)].Add(obj)
	}
	NewWithT(t).Eventually(func() int {
		now := h.Snapshot().Counts()
		return now.ACLs + now.Grants + now.Groups
	}).WithTimeout(waitFor).WithPolling(time.Millisecond).Should(Equal(want), "the policy knows what it was told")
}

// forget makes objects unknown.
func (h *heldPolicy) forget(t *testing.T, objs ...client.Object) {
	t.Helper()
	before := h.Snapshot()
	for _, obj := range objs {
		h.informers[kindOf(obj)].Delete(obj)
	}
	NewWithT(t).Eventually(h.Snapshot).WithTimeout(waitFor).WithPolling(time.Millisecond).ShouldNot(BeIdenticalTo(before), "the policy has changed")
}

// jobsACL protects the jobs under a path in namespace metronome.
func jobsACL(name, path string) *v1alpha1.ACL {
	return makeACL(name, "dcos:service:metronome:metronome:jobs:"+path)
}

// gateOn is a gate over a held policy; live is what the API server has.
func gateOn(t *testing.T, mode SecurityMode, live client.Reader, objs ...client.Object) (*LaunchGate, *heldPolicy) {
	t.Helper()
	held := holdPolicy(t, clocktesting.NewFakeClock(policyNoon), objs...)
	return &LaunchGate{
		Policy: held.Store, Clock: clocktesting.NewFakePassiveClock(policyNoon), Mode: mode, DefaultInstance: "metronome",
		fresh: newFreshReader(live),
	}, held
}

// said is a verdict without what it was made from.
func said(v verdict) verdict { v.deciders = nil; return v }

func diffVerdicts(want, got verdict) string {
	return cmp.Diff(want, said(got), cmp.AllowUnexported(verdict{}, decider{}))
}

func ownedBy(kind v1alpha1.SubjectKind, namespace, name string) func(*v1alpha1.Job) {
	return func(job *v1alpha1.Job) {
		job.Spec.Owner = &v1alpha1.Subject{Kind: kind, Namespace: namespace, Name: name}
	}
}

func noOwner(job *v1alpha1.Job) { job.Spec.Owner = nil }

func TestLaunchGate_verdict(t *testing.T) {
	t.Parallel()
	const actions = `"create", "update", "run" or "full"`
	window := func(from, to *metav1.Time) *v1alpha1.Grant {
		grant := makeGrant("alice-dev", "dev", "alice", v1alpha1.ActionRun)
		grant.Spec.NotBefore, grant.Spec.ExpiresAt = from, to
		return grant
	}
	toGroup := func(group string) *v1alpha1.Grant {
		grant := makeGrant("team", "dev", "", v1alpha1.ActionRun)
		grant.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: group}}
		return grant
	}
	allowed := func(grant, acl string) verdict {
		return verdict{
			Allowed: true, Reason: v1alpha1.ReasonGranted, Message: "Allowed by Grant " + grant + " on ACL " + acl, Grant: grant, ACL: acl,
		}
	}
	refused := func(message string) verdict {
		return verdict{Reason: v1alpha1.ReasonNotGranted, Message: message}
	}
	const asked = `user alice may not "create" or "run" on jobs dev.batch.job1 in metronome: `
	cases := map[string]struct {
		mode   SecurityMode // permissive unless set
		policy []client.Object
		job    func(*v1alpha1.Job)
		want   verdict
	}{
		"run will do":    {policy: []client.Object{jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", "run")}, want: allowed("alice-dev", "dev")},
		"create will do": {policy: []client.Object{jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", "create")}, want: allowed("alice-dev", "dev")},
		"update will do": {policy: []client.Object{jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", "update")}, want: allowed("alice-dev", "dev")},
		"full will do":   {policy: []client.Object{jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", "full")}, want: allowed("alice-dev", "dev")},
		"read and delete will not": {
			policy: []client.Object{jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", "read", "delete")},
			want:   refused(asked + `Grant alice-dev (ACL dev) gives "read" and "delete" on jobs dev in metronome; ` + actions + ` is missing`),
		},
		"nothing comes near": {want: refused(asked + "no grant of the user or of its groups comes near")},
		"a segment is not a prefix of letters": {
			policy: []client.Object{jobsACL("b", "dev.batch"), makeGrant("alice-b", "b", "alice", "run")},
			job:    func(j *v1alpha1.Job) { j.Name = "dev.batchx" },
			want: refused(`user alice may not "create" or "run" on jobs dev.batchx in metronome: ` +
				`closest is Grant alice-b (ACL b), which gives it on jobs dev.batch in metronome`),
		},
		"another namespace is another instance": {
			policy: []client.Object{jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", "run")},
			job:    func(j *v1alpha1.Job) { j.Namespace = "other" },
			want:   refused(`user alice may not "create" or "run" on jobs dev.batch.job1 in other: no grant of the user or of its groups comes near`),
		},
		"the ACL is missing": {
			policy: []client.Object{makeGrant("alice-dev", "dev", "alice", "run")},
			want:   refused(asked + "Grant alice-dev names ACL dev, which does not exist or can't be read"),
		},
		"not open yet": {
			policy: []client.Object{jobsACL("dev", "dev"), window(at(time.Hour), nil)},
			want:   refused(asked + "Grant alice-dev (ACL dev) gives it, but its window opens at 2026-03-02T13:00:00Z"),
		},
		"expired, this very moment": {
			policy: []client.Object{jobsACL("dev", "dev"), window(nil, at(0))},
			want:   refused(asked + "Grant alice-dev (ACL dev) gave it, but expired at 2026-03-02T12:00:00Z"),
		},
		"open from this moment on": {policy: []client.Object{jobsACL("dev", "dev"), window(at(0), at(time.Second))}, want: allowed("alice-dev", "dev")},
		"a superuser": {
			policy: []client.Object{makeACL("root", "dcos:superuser"), makeGrant("alice-root", "root", "alice", "read")},
			want:   allowed("alice-root", "root"),
		},
		"a member by a Group object": {
			policy: []client.Object{jobsACL("dev", "dev"), toGroup("devs"), makeGroup("devs", "alice")}, want: allowed("team", "dev"),
		},
		"a group that owns": {
			policy: []client.Object{jobsACL("dev", "dev"), toGroup("devs")}, job: ownedBy(v1alpha1.GroupSubject, "", "devs"),
			want: allowed("team", "dev"),
		},
		"a service account by its namespace's group": {
			policy: []client.Object{jobsACL("dev", "dev"), toGroup("system:serviceaccounts:ci")},
			job:    ownedBy(v1alpha1.ServiceAccountSubject, "ci", "deployer"), want: allowed("team", "dev"),
		},
		"a service account by the group of all": {
			policy: []client.Object{jobsACL("dev", "dev"), toGroup("system:serviceaccounts")},
			job:    ownedBy(v1alpha1.ServiceAccountSubject, "ci", "deployer"), want: allowed("team", "dev"),
		},
		"a service account of another namespace": {
			policy: []client.Object{jobsACL("dev", "dev"), toGroup("system:serviceaccounts:ci")},
			job:    ownedBy(v1alpha1.ServiceAccountSubject, "cd", "deployer"),
			want: refused(`user system:serviceaccount:cd:deployer may not "create" or "run" on jobs dev.batch.job1 in metronome: ` +
				"no grant of the user or of its groups comes near"),
		},
		"no owner": {job: noOwner, want: verdict{
			Reason: v1alpha1.ReasonOwnerMissing, Message: "The Job has no owner whose grants could allow a launch: set spec.owner",
		}},
		"disabled": {mode: ModeDisabled, job: noOwner, want: verdict{
			Allowed: true, Reason: v1alpha1.ReasonGatingDisabled, Message: "Launches are not gated in security mode disabled",
		}},
		"strict: the task, too": {
			mode: ModeStrict,
			policy: []client.Object{
				jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", "run"),
				makeACL("tasks", "dcos:mesos:master:task:app_id:/dev/batch"), makeGrant("alice-tasks", "tasks", "alice", "create"),
			},
			want: verdict{
				Allowed: true, Reason: v1alpha1.ReasonGranted, Grant: "alice-dev", ACL: "dev",
				Message: "Allowed by Grant alice-dev on ACL dev and Grant alice-tasks on ACL tasks",
			},
		},
		"strict: the task is missing": {
			mode:   ModeStrict,
			policy: []client.Object{jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", "run")},
			want: refused(`user alice may not "create" on dcos:mesos:master:task:app_id:/dev/batch/job1: ` +
				`no grant of the user or of its groups comes near`),
		},
		"strict: run is not enough for the task": {
			mode: ModeStrict,
			policy: []client.Object{
				jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", "run"),
				makeACL("tasks", "dcos:mesos:master:task:app_id"), makeGrant("alice-tasks", "tasks", "alice", "run", "update"),
			},
			want: refused(`user alice may not "create" on dcos:mesos:master:task:app_id:/dev/batch/job1: ` +
				`Grant alice-tasks (ACL tasks) gives "update" and "run" on dcos:mesos:master:task:app_id; "create" or "full" is missing`),
		},
		"strict: another namespace is in the task's path": {
			mode: ModeStrict,
			policy: []client.Object{
				makeACL("jobs", "dcos:service:metronome:other:jobs:dev"), makeGrant("alice-jobs", "jobs", "alice", "run"),
				makeACL("tasks", "dcos:mesos:master:task:app_id:/other/dev"), makeGrant("alice-tasks", "tasks", "alice", "create"),
			},
			job: func(j *v1alpha1.Job) { j.Namespace = "other" },
			want: verdict{
				Allowed: true, Reason: v1alpha1.ReasonGranted, Grant: "alice-jobs", ACL: "jobs",
				Message: "Allowed by Grant alice-jobs on ACL jobs and Grant alice-tasks on ACL tasks",
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.mode == "" {
				tc.mode = ModePermissive
			}
			live := fakePolicyClient(interceptor.Funcs{}, tc.policy...)
			gate, _ := gateOn(t, tc.mode, live, tc.policy...)
			job := plannedJob()
			if tc.job != nil {
				tc.job(job)
			}
			got := gate.verdict(job)
			if diff := diffVerdicts(tc.want, got); diff != "" {
				t.Errorf("Verdict() (-want +got):\n%s", diff)
			}
			// The API server holds the same as the cache, so it says the same.
			confirmed, err := gate.confirm(t.Context(), got)
			if diff := diffVerdicts(tc.want, confirmed); err != nil || diff != "" {
				t.Errorf("Confirm(): %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestLaunchGate_notSynced(t *testing.T) {
	t.Parallel()
	gate := &LaunchGate{Policy: policystore.New(nil, clock.RealClock{}), Clock: clock.RealClock{}, Mode: ModePermissive}
	got := gate.verdict(plannedJob())
	if got.Allowed || got.Reason != v1alpha1.ReasonPolicyNotSynced || authorizedReport(got).Status != metav1.ConditionUnknown {
		t.Errorf("Verdict() = %+v, want that it is not known", got)
	}
	if got, err := gate.confirm(t.Context(), got); err != nil || got.Allowed {
		t.Errorf("Confirm() = %+v, %v", got, err)
	}
	if got := gate.verdict(plannedJob(noOwner)); got.Reason != v1alpha1.ReasonOwnerMissing {
		t.Errorf("without an owner: %+v", got)
	}
	if (verdict{}).Allowed {
		t.Error("the zero verdict allows")
	}
}

// TestLaunchGate_countsChecks does not run at once with others, which count, too.
func TestLaunchGate_countsChecks(t *testing.T) {
	policy := []client.Object{jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", v1alpha1.ActionRun)}
	down := interceptor.Funcs{Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
		return errors.New("etcd is away")
	}}
	for reason, live := range map[string]client.Client{
		v1alpha1.ReasonGranted: fakePolicyClient(interceptor.Funcs{}, policy...), v1alpha1.ReasonNotGranted: fakePolicyClient(interceptor.Funcs{}),
		"Error": fakePolicyClient(down, policy...),
	} {
		t.Run(reason, func(t *testing.T) {
			gate, _ := gateOn(t, ModePermissive, live, policy...)
			before := testutil.ToFloat64(metrics.LaunchChecks.WithLabelValues(reason))
			_, _ = gate.confirm(t.Context(), gate.verdict(plannedJob()))
			if got := testutil.ToFloat64(metrics.LaunchChecks.WithLabelValues(reason)) - before; got != 1 {
				t.Errorf("it was counted %v times", got)
			}
		})
	}
}

func TestLaunchGate_groupsOf(t *testing.T) {
	t.Parallel()
	const maxAge = time.Hour
	user := v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "alice"}
	reported := func(ago time.Duration) *v1alpha1.ReportedGroups {
		return &v1alpha1.ReportedGroups{Names: []string{"dev", "ops"}, ReportedAt: metav1.NewTime(policyNoon.Add(-ago))}
	}
	cases := map[string]struct {
		owner  v1alpha1.Subject
		groups *v1alpha1.ReportedGroups
		want   []string
	}{
		"a user's, of whom nothing was reported": {owner: user, want: []string{"system:authenticated"}},
		"a user's, just reported":                {owner: user, groups: reported(0), want: []string{"system:authenticated", "dev", "ops"}},
		"a user's, almost too old":               {owner: user, groups: reported(maxAge - 1), want: []string{"system:authenticated", "dev", "ops"}},
		"a user's, too old":                      {owner: user, groups: reported(maxAge), want: []string{"system:authenticated"}},
		"a group is in none, whatever is stored": {owner: v1alpha1.Subject{Kind: v1alpha1.GroupSubject, Name: "devs"}, groups: reported(0)},
		"a service account's are derived, whatever is stored": {
			owner: v1alpha1.Subject{Kind: v1alpha1.ServiceAccountSubject, Namespace: "ci", Name: "bot"}, groups: reported(0),
			want: []string{"system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate := &LaunchGate{GroupsMaxAge: maxAge}
			got := gate.groupsOf(&v1alpha1.JobSpec{Owner: &tc.owner, OwnerGroups: tc.groups}, policyNoon)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("groupsOf() (-want +got):\n%s", diff)
			}
		})
	}
	if got := (&LaunchGate{}).groupsOf(&v1alpha1.JobSpec{Owner: &user, OwnerGroups: reported(0)}, policyNoon); len(got) != 1 {
		t.Errorf("without a maximum age %v count, want none that were stored", got)
	}
}

// TestLaunchGate_reportedGroups: a Grant to a group of the identity provider launches, by the snapshot and
// live, until the report is too old.
func TestLaunchGate_reportedGroups(t *testing.T) {
	t.Parallel()
	grant := makeGrant("dev-run", "dev", "unused", v1alpha1.ActionRun)
	grant.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: "idp-dev"}}
	policy := []client.Object{jobsACL("dev", "dev"), grant}
	gate, _ := gateOn(t, ModePermissive, fakePolicyClient(interceptor.Funcs{}, policy...), policy...)
	gate.GroupsMaxAge = time.Hour
	job := plannedJob()
	job.Spec.OwnerGroups = &v1alpha1.ReportedGroups{Names: []string{"idp-dev"}, ReportedAt: metav1.NewTime(policyNoon)}
	if got, err := gate.confirm(t.Context(), gate.verdict(job)); err != nil || !got.Allowed || got.Grant != "dev-run" {
		t.Errorf("Confirm() = %+v, %v; want it allowed by dev-run", got, err)
	}
	job.Spec.OwnerGroups.ReportedAt = metav1.NewTime(policyNoon.Add(-time.Hour))
	if got := gate.verdict(job); got.Allowed {
		t.Errorf("Verdict() = %+v with an old report, want a refusal", got)
	}
}

func TestParseSecurityMode(t *testing.T) {
	t.Parallel()
	for _, mode := range []SecurityMode{ModeDisabled, ModePermissive, ModeStrict} {
		if got, err := ParseSecurityMode(string(mode)); got != mode || err != nil {
			t.Errorf("ParseSecurityMode(%q) = %q, %v", mode, got, err)
		}
	}
	for _, bad := range []string{"", "Strict", "off"} {
		if got, err := ParseSecurityMode(bad); err == nil {
			t.Errorf("ParseSecurityMode(%q) = %q, want an error", bad, got)
		}
	}
}
