package controllers

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/internal/testing/health"
)

// What kstatus computes.
const (
	inProgress = "InProgress"
	current    = "Current"
	failing    = "Failed"
)

// argoCDSays is what Argo CD's script answers where kstatus computes something.
var argoCDSays = map[string]string{inProgress: "Progressing", current: "Healthy", failing: "Degraded"}

// healthCase is an object as somebody writes it, and what its controller says of it.
type healthCase struct {
	obj client.Object
	// say sets the status as the controller does; nil is a controller that has not come to it.
	say func(client.Object)
	// change is a later write of the spec, and sayAgain what the controller says then.
	change, sayAgain func(client.Object)
	want             string // of kstatus
	// planned is for what kstatus takes to be in progress for ever: Argo CD's script and the example's expressions for
	// Flux know better.
	planned bool
	// message is a part of what Argo CD shows.
	message string
}

// TestHealth: each thing that a controller may say, on an object as a real API server gives it, is understood by GitOps
// tools, and in the same way by each of them.
func TestHealth(t *testing.T) {
	w := newWorld(t)
	tools := health.Load(t)
	seen := map[string]sets.Set[string]{}
	cases := policyHealth()
	maps.Copy(cases, jobHealth(w))
	maps.Copy(cases, runHealth(w))
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		tc := cases[name]
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			obj := tc.obj
			obj.SetName(w.Name(strings.ToLower(strings.NewReplacer(":", "", ",", "", " ", "-", "'", "").Replace(name))))
			w.create(t, obj)
			w.said(t, obj, tc.say)
			if tc.change != nil {
				tc.change(obj)
				g.Expect(w.Update(t.Context(), obj)).To(Succeed())
				w.said(t, obj, tc.sayAgain)
			}
			stored := w.asStored(t, obj)
			kind := stored.GetKind()
			if seen[kind] == nil {
				seen[kind] = sets.New[string]()
			}
			seen[kind].Insert(readyReasonOf(stored))

			want := tc.want
			g.Expect(health.KStatus(t, stored)).To(Equal(want), "kstatus")
			if tc.planned {
				want = current
			}
			g.Expect(tools.Flux(t, stored)).To(Equal(want), "Flux, with the expressions of the example")
			answer, message := tools.ArgoCD(t, stored)
			g.Expect(answer).To(Equal(argoCDSays[want]), "Argo CD")
			g.Expect(message).NotTo(BeEmpty(), "Argo CD's message")
			g.Expect(message).To(ContainSubstring(tc.message))
		})
	}
	for _, obj := range []client.Object{&v1alpha1.ACL{}, &v1alpha1.Grant{}, &v1alpha1.Group{}, &v1alpha1.Job{}, &v1alpha1.JobRun{}} {
		kind := kindIn(t, obj).Kind
		if missing := grantrytesting.ReadyReasons(t, obj).Difference(seen[kind]); missing.Len() > 0 {
			t.Errorf("no case has a %s with the reasons %v", kind, sets.List(missing))
		}
	}
}

// TestHealth_deletion: what is held by a finalizer is on its way out, whatever it said before. Argo CD looks at that before it
// asks a script.
func TestHealth_deletion(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]healthCase{
		"acl":   {obj: makeACL("", "dcos:superuser"), say: aclSays("")},
		"grant": {obj: makeGrant("", "dev", "alice", v1alpha1.ActionRead), say: grantSays(makeACL("dev", "dcos:superuser"), standing{})},
		"group": {obj: makeGroup("", "alice"), say: groupSays("")},
		"job":   {obj: makeJob(w.Namespace, ""), say: jobSays(granted, nil)},
		"run":   {obj: ownedRun(w), say: runSays(func(*runInput) {})},
	} {
		tc.obj.SetName(w.Name("going-" + name))
		tc.obj.SetFinalizers([]string{"example.com/hold"})
		w.Expect(w.Create(t.Context(), tc.obj)).To(Succeed())
		w.said(t, tc.obj, tc.say)
		w.Expect(w.Delete(t.Context(), tc.obj)).To(Succeed())
		w.Expect(health.KStatus(t, w.asStored(t, tc.obj))).To(Equal("Terminating"), name)
		w.change(t, tc.obj, func() { tc.obj.SetFinalizers(nil) })
	}
}

// said stores what a controller says of an object.
func (w *world) said(t *testing.T, obj client.Object, say func(client.Object)) {
	t.Helper()
	if say != nil {
		say(obj)
		w.Expect(w.Status().Update(t.Context(), obj)).To(Succeed())
	}
}

// asStored reads an object as a GitOps tool does, which knows nothing of its type.
func (w *world) asStored(t *testing.T, obj client.Object) *unstructured.Unstructured {
	t.Helper()
	stored := &unstructured.Unstructured{}
	stored.SetGroupVersionKind(kindIn(t, obj))
	w.Expect(w.Get(t.Context(), client.ObjectKeyFromObject(obj), stored)).To(Succeed())
	return stored
}

func kindIn(t *testing.T, obj client.Object) schema.GroupVersionKind {
	t.Helper()
	gvk, err := apiutil.GVKForObject(obj, grantrytesting.Scheme)
	if err != nil {
		t.Fatal(err)
	}
	return gvk
}

func readyReasonOf(obj *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(obj.Object, "status", "conditions")
	for _, c := range list {
		if c := c.(map[string]any); c["type"] == v1alpha1.ConditionReady {
			return c["reason"].(string)
		}
	}
	return ""
}

func aclSays(invalid string) func(client.Object) {
	return func(obj client.Object) { setACLStatus(obj.(*v1alpha1.ACL), nil, invalid, policyNoon) }
}

func grantSays(acl *v1alpha1.ACL, by standing) func(client.Object) {
	return func(obj client.Object) { setGrantStatus(obj.(*v1alpha1.Grant), acl, by, policyNoon) }
}

func groupSays(invalid string) func(client.Object) {
	return func(obj client.Object) { setGroupStatus(obj.(*v1alpha1.Group), invalid, policyNoon) }
}

func jobSays(v verdict, invalid field.ErrorList, runs ...v1alpha1.JobRun) func(client.Object) {
	return func(obj client.Object) {
		in := jobInput{Job: obj.(*v1alpha1.Job), Runs: runs, Verdict: v, Invalid: invalid, Now: policyNoon}
		setJobStatus(in.Job, in, planJob(in))
	}
}

// runSays is said of a run whose Job may be launched, an hour after its creation, unless it is edited.
func runSays(edit func(*runInput)) func(client.Object) {
	return func(obj client.Object) {
		run := obj.(*v1alpha1.JobRun)
		in := runInput{Run: run, Job: plannedJob(), Verdict: granted, Now: run.CreationTimestamp.Add(time.Hour)}
		edit(&in)
		setRunStatus(run, planRun(in), in.Now)
	}
}

// withChild says that the child of a run is as the edits make it.
func withChild(edits ...func(*batchv1.Job)) func(*runInput) {
	return func(in *runInput) { in.Child = plannedChild(edits...) }
}

func ownedRun(w *world, edits ...func(*v1alpha1.JobRun)) *v1alpha1.JobRun {
	run := makeRun(w.Namespace, "", "dev.batch.job1", edits...)
	run.OwnerReferences = plannedRun().OwnerReferences
	return run
}

func policyHealth() map[string]healthCase {
	grant := func(edits ...func(*v1alpha1.Grant)) *v1alpha1.Grant {
		g := makeGrant("", "dev", "alice", v1alpha1.ActionRead)
		for _, edit := range edits {
			edit(g)
		}
		return g
	}
	byBob := func(g *v1alpha1.Grant) { g.Spec.GrantedBy = &v1alpha1.Identity{Username: "bob"} }
	dev, revoking := makeACL("dev", "dcos:service:metronome:metronome:jobs:dev"), makeACL("dev", "dcos:superuser")
	revoking.Spec.OnGranterLost = v1alpha1.GranterLostRevoke
	going := dev.DeepCopy()
	going.DeletionTimestamp = at(0)
	return map[string]healthCase{
		"ACL: new":           {obj: makeACL("", "dcos:superuser"), want: inProgress},
		"ACL: in force":      {obj: makeACL("", "dcos:superuser"), say: aclSays(""), want: current, message: "Protects dcos:superuser."},
		"ACL: malformed":     {obj: makeACL("", "dcos:superuser:x"), say: aclSays(""), want: failing, message: "write dcos:superuser alone"},
		"ACL: not validated": {obj: makeACL("", "dcos:superuser"), say: aclSays("why"), want: failing, message: "To approve it"},
		"ACL: changed since": {
			obj: makeACL("", "dcos:superuser"), say: aclSays(""), want: inProgress,
			change: func(o client.Object) { o.(*v1alpha1.ACL).Spec.Description = "x" },
		},

		"Grant: new":                        {obj: grant(), want: inProgress},
		"Grant: in force":                   {obj: grant(), say: grantSays(dev, standing{}), want: current, message: "Gives read"},
		"Grant: its ACL is not there yet":   {obj: grant(), say: grantSays(nil, standing{}), want: inProgress, message: `no ACL "dev"`},
		"Grant: its ACL goes":               {obj: grant(), say: grantSays(going, standing{}), want: inProgress},
		"Grant: its ACL is malformed":       {obj: grant(), say: grantSays(makeACL("dev", "x"), standing{}), want: inProgress},
		"Grant: its ACL is not validated":   {obj: grant(), say: grantSays(dev, standing{aclWaits: true}), want: inProgress},
		"Grant: nobody":                     {obj: grant(func(g *v1alpha1.Grant) { g.Spec.Subjects[0].Name = " " }), say: grantSays(dev, standing{}), want: failing},
		"Grant: nothing":                    {obj: grant(), say: grantSays(makeACL("dev", "dcos:adminrouter:acs"), standing{}), want: failing},
		"Grant: not validated":              {obj: grant(), say: grantSays(dev, standing{invalid: "why"}), want: failing, message: "To approve it"},
		"Grant: its granter lost authority": {obj: grant(byBob), say: grantSays(dev, standing{lost: true}), want: current},
		"Grant: revoked":                    {obj: grant(byBob), say: grantSays(revoking, standing{lost: true}), want: failing, message: "User bob"},
		"Grant: its time has not come": {
			obj: grant(func(g *v1alpha1.Grant) { g.Spec.NotBefore = at(time.Hour) }), say: grantSays(dev, standing{}),
			want: inProgress, planned: true, message: "Counts from",
		},
		"Grant: its time has passed": {
			obj: grant(func(g *v1alpha1.Grant) { g.Spec.ExpiresAt = at(-time.Hour) }), say: grantSays(nil, standing{}),
			want: inProgress, planned: true, message: "Expired at",
		},
		"Grant: spreads": {
			obj: grant(), want: current,
			say: func(o client.Object) {
				grantSays(dev, standing{})(o)
				meta.SetStatusCondition(&o.(*v1alpha1.Grant).Status.Conditions, metav1.Condition{
					Type: v1alpha1.ConditionPropagated, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonSpreading, ObservedGeneration: 1,
				})
			},
		},

		"Group: new":           {obj: makeGroup("", "alice"), want: inProgress},
		"Group: in force":      {obj: makeGroup("", "alice"), say: groupSays(""), want: current, message: "Adds 1 member."},
		"Group: empty":         {obj: makeGroup(""), say: groupSays(""), want: current},
		"Group: nobody":        {obj: makeGroup("", " "), say: groupSays(""), want: failing},
		"Group: not validated": {obj: makeGroup("", "alice"), say: groupSays("why"), want: failing, message: "To approve it"},
	}
}

func jobHealth(w *world) map[string]healthCase {
	job := func(edits ...func(*v1alpha1.Job)) *v1alpha1.Job { return makeJob(w.Namespace, "", edits...) }
	wrong := field.ErrorList{field.Required(field.NewPath("spec", "run", "cmd"), "what to run")}
	return map[string]healthCase{
		"Job: new":                        {obj: job(), want: inProgress},
		"Job: accepted":                   {obj: job(), say: jobSays(granted, nil), want: current, message: "accepted"},
		"Job: may not be launched":        {obj: job(), say: jobSays(notGranted, nil), want: current, message: "Can't be launched: user alice may not"},
		"Job: before the policy is known": {obj: job(), say: jobSays(notSynced, nil), want: current},
		"Job: invalid":                    {obj: job(), say: jobSays(granted, wrong), want: failing, message: "what to run"},
		"Job: whose last run failed": {
			obj: job(), say: jobSays(granted, nil, endedRun("last", v1alpha1.StateFailed, time.Hour)), want: current,
		},
		"Job: suspended": {
			obj: job(func(j *v1alpha1.Job) { j.Spec.Suspend = true }), say: jobSays(granted, nil), want: current, message: "Suspended",
		},
		"Job: nobody's": {
			obj: job(noOwner), say: jobSays(verdict{Reason: v1alpha1.ReasonOwnerMissing, Message: "no owner"}, nil), want: failing, message: "no owner",
		},
		"Job: changed since": {
			obj: job(), say: jobSays(granted, nil), want: inProgress,
			change: func(o client.Object) { o.(*v1alpha1.Job).Spec.Run.Cmd = "true" },
		},
		"Job: invalid, and mended": {
			obj: job(), say: jobSays(granted, wrong), want: current,
			change: func(o client.Object) { o.(*v1alpha1.Job).Spec.Run.Cmd = "true" }, sayAgain: jobSays(granted, nil),
		},
	}
}

func runHealth(w *world) map[string]healthCase {
	suspendedJob := func(j *v1alpha1.Job) { j.Spec.Suspend = true }
	stop := func(o client.Object) { stopRequested(o.(*v1alpha1.JobRun)) }
	unchanged := runSays(func(*runInput) {})
	cases := map[string]healthCase{
		"JobRun: new": {obj: ownedRun(w), want: inProgress},
		"JobRun: rejected": {
			obj: ownedRun(w), say: runSays(func(in *runInput) { in.Invalid, in.Live = "why", liveYes }), want: failing, message: "The Job can't be launched: why",
		},
		"JobRun: too late": {
			obj: ownedRun(w, withDeadline(1)), say: runSays(func(in *runInput) { in.Live = liveNo }), want: failing,
		},
		"JobRun: stopped before it was launched": {
			obj: ownedRun(w, stopRequested), say: runSays(func(in *runInput) { in.Live = liveYes }), want: failing,
		},
		"JobRun: ended, and asked to stop": {
			obj: ownedRun(w), say: runSays(withChild(ended(batchv1.JobComplete, "", ""))), change: stop, sayAgain: unchanged, want: current,
		},
		"JobRun: rejected, and asked to stop": {
			obj: ownedRun(w), say: runSays(func(in *runInput) { in.Invalid, in.Live = "why", liveYes }), change: stop, sayAgain: unchanged, want: failing,
		},
	}
	for name, edit := range map[string]func(*runInput){
		"permission":            func(in *runInput) { in.Verdict = notGranted },
		"the end of suspend":    func(in *runInput) { in.Job = plannedJob(suspendedJob) },
		"its Job":               func(in *runInput) { in.Job, in.Verdict = nil, verdict{} },
		"an earlier Job to go":  func(in *runInput) { in.Job = plannedJob(func(j *v1alpha1.Job) { j.UID = "another" }) },
		"the policy to be read": func(in *runInput) { in.Verdict = notSynced },
	} {
		cases["JobRun: waits for "+name] = healthCase{obj: ownedRun(w), say: runSays(edit), want: inProgress}
	}
	// Ready says that it was launched, however it went.
	queued := func(c *batchv1.Job) { c.Labels = map[string]string{"kueue.x-k8s.io/queue-name": "team"} }
	for state, edit := range map[string]func(*runInput){
		v1alpha1.StateStarting: withChild(),
		v1alpha1.StateActive:   withChild(active),
		v1alpha1.StateQueued:   withChild(suspendedChild, queued),
		v1alpha1.StateSuccess:  withChild(ended(batchv1.JobComplete, "", "")),
		v1alpha1.StateFailed:   withChild(ended(batchv1.JobFailed, "BackoffLimitExceeded", "too often")),
		v1alpha1.StateSuspended: func(in *runInput) {
			withChild(active)(in)
			in.Job, in.Verdict = plannedJob(onRevoke(v1alpha1.RevokeSuspend)), notGranted
		},
		v1alpha1.StateRevoked: func(in *runInput) {
			withChild(active)(in)
			in.Job, in.Verdict = plannedJob(onRevoke(v1alpha1.RevokeDelete)), notGranted
		},
		v1alpha1.StateStopped: func(in *runInput) {
			withChild(ended(batchv1.JobFailed, "", ""))(in)
			stopRequested(in.Run)
		},
	} {
		cases["JobRun: launched, "+state] = healthCase{obj: ownedRun(w), say: runSays(edit), want: current, message: state + ": "}
	}
	return cases
}
