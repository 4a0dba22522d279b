package controllers

import (
	"context"
	"errors"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/grantry/grantry/api/v1alpha1"
)

// TestLaunchGate_confirm holds the cache where it allows, and changes the API server.
func TestLaunchGate_confirm(t *testing.T) {
	t.Parallel()
	group := makeGrant("team", "dev", "", v1alpha1.ActionRun)
	group.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: "devs"}}
	policy := []client.Object{jobsACL("dev", "dev"), group, makeGroup("devs", "alice")}
	live := func() (*v1alpha1.ACL, *v1alpha1.Grant, *v1alpha1.Group) {
		return jobsACL("dev", "dev"), group.DeepCopy(), makeGroup("devs", "alice")
	}
	going := func(obj client.Object) {
		obj.SetFinalizers([]string{"example.com/hold"})
		obj.SetDeletionTimestamp(at(0))
	}
	const lost = "Grant team no longer allows it (read just now, ahead of the cache): " +
		`user alice may not "create" or "run" on jobs dev.batch.job1 in metronome: `
	const nothing = lost + "no grant of the user or of its groups comes near"
	cases := map[string]struct {
		change func(*v1alpha1.ACL, *v1alpha1.Grant, *v1alpha1.Group) []client.Object
		want   string // message of the refusal
	}{
		"the Grant is deleted": {
			change: func(a *v1alpha1.ACL, _ *v1alpha1.Grant, g *v1alpha1.Group) []client.Object {
				return []client.Object{a, g}
			},
			want: nothing,
		},
		"the Grant is being deleted": {
			change: func(a *v1alpha1.ACL, gr *v1alpha1.Grant, g *v1alpha1.Group) []client.Object {
				going(gr)
				return []client.Object{a, gr, g}
			},
			want: nothing,
		},
		"the ACL is deleted": {
			change: func(_ *v1alpha1.ACL, gr *v1alpha1.Grant, g *v1alpha1.Group) []client.Object {
				return []client.Object{gr, g}
			},
			want: lost + "Grant team names ACL dev, which does not exist or can't be read",
		},
		"the ACL is being deleted": {
			change: func(a *v1alpha1.ACL, gr *v1alpha1.Grant, g *v1alpha1.Group) []client.Object {
				going(a)
				return []client.Object{a, gr, g}
			},
			want: lost + "Grant team names ACL dev, which does not exist or can't be read",
		},
		"the ACL was made anew, malformed": {
			change: func(a *v1alpha1.ACL, gr *v1alpha1.Grant, g *v1alpha1.Group) []client.Object {
				a.Spec.Resource = "dcos:superuser:x"
				return []client.Object{a, gr, g}
			},
			want: lost + "Grant team names ACL dev, which does not exist or can't be read",
		},
		"the ACL was made anew, with another resource": {
			change: func(a *v1alpha1.ACL, gr *v1alpha1.Grant, g *v1alpha1.Group) []client.Object {
				a.Spec.Resource = "dcos:service:metronome:metronome:jobs:dev.batchx"
				return []client.Object{a, gr, g}
			},
			want: lost + "closest is Grant team (ACL dev) of group devs, which gives it on jobs dev.batchx in metronome",
		},
		"the Group is deleted": {
			change: func(a *v1alpha1.ACL, gr *v1alpha1.Grant, _ *v1alpha1.Group) []client.Object {
				return []client.Object{a, gr}
			},
			want: nothing,
		},
		"the owner is no member any more": {
			change: func(a *v1alpha1.ACL, gr *v1alpha1.Grant, g *v1alpha1.Group) []client.Object {
				g.Spec.Members[0].Name = "bob"
				return []client.Object{a, gr, g}
			},
			want: nothing,
		},
		"the Grant was narrowed to read": {
			change: func(a *v1alpha1.ACL, gr *v1alpha1.Grant, g *v1alpha1.Group) []client.Object {
				gr.Spec.Actions = []v1alpha1.Action{v1alpha1.ActionRead}
				return []client.Object{a, gr, g}
			},
			want: lost + `Grant team (ACL dev) of group devs gives "read" on jobs dev in metronome; "create", "update", "run" or "full" is missing`,
		},
		"the Grant was cut short": {
			change: func(a *v1alpha1.ACL, gr *v1alpha1.Grant, g *v1alpha1.Group) []client.Object {
				gr.Spec.ExpiresAt = at(-time.Second)
				return []client.Object{a, gr, g}
			},
			want: lost + "Grant team (ACL dev) of group devs gave it, but expired at 2026-03-02T11:59:59Z",
		},
		"the Grant names another ACL now, and only what decided is read": {
			change: func(a *v1alpha1.ACL, gr *v1alpha1.Grant, g *v1alpha1.Group) []client.Object {
				gr.Spec.ACL = "all"
				return []client.Object{a, makeACL("all", "dcos:superuser"), gr, g}
			},
			want: lost + "Grant team names ACL all, which does not exist or can't be read",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate, _ := gateOn(t, ModePermissive, fakePolicyClient(interceptor.Funcs{}, tc.change(live())...), policy...)
			cached := gate.verdict(plannedJob())
			if !cached.Allowed {
				t.Fatalf("the cache does not allow it: %+v", cached)
			}
			got, err := gate.confirm(t.Context(), cached)
			want := verdict{Reason: v1alpha1.ReasonNotGranted, Message: tc.want}
			if diff := diffVerdicts(want, got); err != nil || diff != "" {
				t.Errorf("Confirm(): %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestLaunchGate_confirmJudgesTheWindowByTheTimeOfTheQuestion(t *testing.T) {
	t.Parallel()
	grant := makeGrant("alice-dev", "dev", "alice", v1alpha1.ActionRun)
	grant.Spec.ExpiresAt = at(time.Second)
	policy := []client.Object{jobsACL("dev", "dev"), grant}
	gate, _ := gateOn(t, ModePermissive, fakePolicyClient(interceptor.Funcs{}, policy...), policy...)
	v := gate.verdict(plannedJob())
	gate.Clock.(*clocktesting.FakePassiveClock).SetTime(policyNoon.Add(time.Second))
	if got, err := gate.confirm(t.Context(), v); err != nil || got.Allowed {
		t.Errorf("Confirm() = %+v, %v; want that it has expired", got, err)
	}
}

// In strict mode one Grant may decide both questions; it is read once or twice, and counts once.
func TestLaunchGate_confirmStrictByOneGrant(t *testing.T) {
	t.Parallel()
	policy := []client.Object{makeACL("root", "dcos:superuser"), makeGrant("root", "root", "alice", v1alpha1.ActionFull)}
	gate, _ := gateOn(t, ModeStrict, fakePolicyClient(interceptor.Funcs{}, policy...), policy...)
	v := gate.verdict(plannedJob())
	got, err := gate.confirm(t.Context(), v)
	if err != nil || !got.Allowed || got.Message != "Allowed by Grant root on ACL root and Grant root on ACL root" {
		t.Errorf("Confirm() = %+v, %v", got, err)
	}
}

func TestLaunchGate_confirmStrictAsksForTheTaskToo(t *testing.T) {
	t.Parallel()
	jobs := []client.Object{jobsACL("dev", "dev"), makeGrant("alice-dev", "dev", "alice", "run")}
	tasks := []client.Object{makeACL("tasks", "dcos:mesos:master:task:app_id:/dev"), makeGrant("alice-tasks", "tasks", "alice", "create")}
	gate, _ := gateOn(t, ModeStrict, fakePolicyClient(interceptor.Funcs{}, jobs...), append(tasks, jobs...)...)
	got, err := gate.confirm(t.Context(), gate.verdict(plannedJob()))
	if err != nil || got.Allowed {
		t.Errorf("Confirm() = %+v, %v; want a refusal: the task's Grant is gone", got, err)
	}
}

func TestLaunchGate_whatCanNotBeReadAllowsNothing(t *testing.T) {
	t.Parallel()
	refused := errors.New("etcd is away")
	for _, kind := range []string{"ACL", "Grant", "Group"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			grant := makeGrant("team", "dev", "", v1alpha1.ActionRun)
			grant.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: "devs"}}
			policy := []client.Object{jobsACL("dev", "dev"), grant, makeGroup("devs", "alice")}
			live := fakePolicyClient(interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
					if kindOf(obj) == kind {
						return refused
					}
					return c.Get(ctx, key, obj, opts...)
				},
			}, policy...)
			gate, _ := gateOn(t, ModePermissive, live, policy...)
			got, err := gate.confirm(t.Context(), gate.verdict(plannedJob()))
			if !errors.Is(err, refused) || got.Allowed {
				t.Errorf("Confirm() = %+v, %v; want %v", got, err, refused)
			}
		})
	}
}
