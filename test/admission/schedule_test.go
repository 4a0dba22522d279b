package admission

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

func jobAfter(name string, ids ...string) *v1alpha1.Job {
	job := newJob(name)
	for _, id := range ids {
		job.Spec.Dependencies = append(job.Spec.Dependencies, v1alpha1.Dependency{ID: id})
	}
	return job
}

func jobAt(name, cron, zone string) *v1alpha1.Job {
	job := newJob(name)
	job.Spec.Schedules = []v1alpha1.Schedule{{ID: "s", Cron: cron, Timezone: zone}}
	return job
}

// TestSchedules: times that never come, and Jobs that can't be depended on or that others depend on, are refused
// when they are written, on a real API server.
func TestSchedules(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive})
	users := w.users(t, options{mode: permission.ModePermissive})
	alice, carol := users[0].client, users[2].client

	t.Run("times that never come", func(t *testing.T) { timesThatNeverCome(t, alice) })
	t.Run("dependencies", func(t *testing.T) { dependencies(t, alice) })
	t.Run("a Job that may not be read counts as none", func(t *testing.T) { w.unreadableDependencies(t) })
	t.Run("the deletion of what others depend on", func(t *testing.T) { w.deletionOfParents(t, alice, carol) })
	t.Run("what was wrong before can be mended, labelled and deleted", func(t *testing.T) { w.wrongBefore(t, alice) })
}

func isRefusedAsInvalid(g *WithT, err error, text, what string) {
	g.Expect(err).To(MatchError(ContainSubstring(text)), what)
	g.Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%s: %v", what, err)
}

// applyJob writes a Job with its spec by server-side apply.
func applyJob(t *testing.T, c client.Client, job *v1alpha1.Job) error {
	t.Helper()
	u, err := applied(c, job, "")
	if err != nil {
		t.Fatal(err)
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(job)
	if err != nil {
		t.Fatal(err)
	}
	u.Object["spec"] = object["spec"]
	return c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner("test"), client.ForceOwnership)
}

func timesThatNeverCome(t *testing.T, alice client.Client) {
	t.Helper()
	g := NewWithT(t)
	const never, unknown = `it never comes: no month of "2" has a day "30"`, "is not an IANA time zone"
	generated := jobAt("", "0 0 30 2 *", "")
	generated.GenerateName = "dev.batch.t-"
	isRefusedAsInvalid(g, alice.Create(t.Context(), jobAt("dev.batch.t", "0 0 30 2 *", "")), never, "POST")
	isRefusedAsInvalid(g, alice.Create(t.Context(), jobAt("dev.batch.t", "0 0 30 2 *", ""), client.DryRunAll), never, "dry run")
	isRefusedAsInvalid(g, alice.Create(t.Context(), generated), never, "generateName")
	isRefusedAsInvalid(g, applyJob(t, alice, jobAt("dev.batch.t", "0 0 30 2 *", "")), never, "apply")
	isRefusedAsInvalid(g, alice.Create(t.Context(), jobAt("dev.batch.t", "0 0 * * *", "Mars/Olympus")), unknown, "POST")

	job := jobAt("dev.batch.t", "0 0 31 2-3 *", "Europe/Berlin")
	g.Expect(alice.Create(t.Context(), job)).To(Succeed())
	isRefusedAsInvalid(g, merge(t.Context(), alice, job.DeepCopy(), `{"spec":{"schedules":[{"id":"s","cron":"0 0 30 2 *"}]}}`), never, "merge patch")
	worse := job.DeepCopy()
	worse.Spec.Schedules[0].Timezone = "Mars/Olympus"
	isRefusedAsInvalid(g, alice.Update(t.Context(), worse), unknown, "PUT")
	g.Expect(alice.Get(t.Context(), client.ObjectKeyFromObject(job), job)).To(Succeed())
	g.Expect(job.Generation).To(Equal(int64(1)), "something was written")
}

func dependencies(t *testing.T, alice client.Client) {
	t.Helper()
	g := NewWithT(t)
	const missing = `spec.dependencies[0].id: Invalid value: "dev.batch.p": there is no such Job in namespace metronome: create it first`
	isRefusedAsInvalid(g, alice.Create(t.Context(), jobAfter("dev.batch.c", "dev.batch.p")), missing, "POST")
	isRefusedAsInvalid(g, applyJob(t, alice, jobAfter("dev.batch.c", "dev.batch.p")), missing, "apply")
	// As in one kubectl apply: the cache has not seen the first when the second comes.
	for i := range 20 {
		parent, child := fmt.Sprintf("dev.batch.p%d", i), fmt.Sprintf("dev.batch.c%d", i)
		g.Expect(alice.Create(t.Context(), newJob(parent))).To(Succeed())
		g.Expect(alice.Create(t.Context(), jobAfter(child, parent))).To(Succeed())
	}
	isRefusedAsInvalid(g, alice.Create(t.Context(), jobAfter("dev.batch.self", "dev.batch.self")), "a Job can't depend on itself", "POST")
	const circle = "it depends on this Job in turn, so that neither would ever run"
	g.Expect(alice.Create(t.Context(), jobAfter("dev.batch.e", "dev.batch.c0"))).To(Succeed())
	parent := newJob("dev.batch.p0")
	g.Eventually(func() error { // the cache has seen them
		return merge(t.Context(), alice, parent, `{"spec":{"dependencies":[{"id":"dev.batch.e"}]}}`)
	}).WithTimeout(waitFor).Should(MatchError(ContainSubstring(circle)))
	isRefusedAsInvalid(g, merge(t.Context(), alice, parent, `{"spec":{"dependencies":[{"id":"dev.batch.c0"}]}}`), circle, "merge patch")
}

// unreadableDependencies: whether a Job that somebody may not see is there makes no difference.
func (w *world) unreadableDependencies(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	w.grant(t, "dana", "dana", "dev.dana", v1alpha1.ActionFull)
	w.role(t, "dana", rbacv1.PolicyRule{APIGroups: []string{"grantry.dev"}, Resources: []string{"jobs"}, Verbs: []string{"create", "update", "patch", "delete"}})
	dana := w.as(t, "dana")
	g.Eventually(func() error { return dana.Create(t.Context(), newJob("dev.dana.x"), client.DryRunAll) }).WithTimeout(waitFor).Should(Succeed(), "dana's Grant counts")
	g.Expect(w.admin.Create(t.Context(), newJob("ops.secret"))).To(Succeed())
	answer := func(id string) string {
		err := dana.Create(t.Context(), jobAfter("dev.dana.c", id))
		isRefusedAsInvalid(g, err, "a Job that user dana may not read counts as none: ask for a Grant of read", id)
		return err.Error()
	}
	g.Expect(strings.ReplaceAll(answer("ops.secret"), "ops.secret", "ops.nobody")).To(Equal(answer("ops.nobody")))
}

func (w *world) deletionOfParents(t *testing.T, alice, carol client.Client) {
	t.Helper()
	g := NewWithT(t)
	parent, child := newJob("dev.batch.parent"), jobAfter("dev.batch.child", "dev.batch.parent")
	g.Expect(alice.Create(t.Context(), parent)).To(Succeed())
	g.Expect(alice.Create(t.Context(), child)).To(Succeed())
	const depends = "1 Job depends on dev.batch.parent: take it out of that Job's spec.dependencies, or delete that Job first"
	g.Eventually(func() error { return alice.Delete(t.Context(), parent.DeepCopy(), client.DryRunAll) }).WithTimeout(waitFor).
		Should(MatchError(ContainSubstring(depends)), "the cache has seen the child")
	for who, c := range map[string]client.Client{"alice": alice, "carol": carol, "a member of system:masters": w.admin} {
		isRefusedAsInvalid(g, c.Delete(t.Context(), parent.DeepCopy()), depends, who)
	}
	for _, how := range []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		isRefusedAsInvalid(g, alice.Delete(t.Context(), parent.DeepCopy(), client.PropagationPolicy(how)), depends, string(how))
	}
	g.Expect(alice.DeleteAllOf(t.Context(), &v1alpha1.Job{}, client.InNamespace(space), client.HasLabels{"in.grantry.dev/dev.batch.parent"})).
		To(MatchError(ContainSubstring(depends)))

	t.Run("goes on without the child, though the cache lags", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(alice.Delete(t.Context(), child)).To(Succeed())
		g.Expect(alice.Delete(t.Context(), parent.DeepCopy())).To(Succeed())
	})
	t.Run("goes on without the dependency", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(alice.Create(t.Context(), newJob("dev.batch.parent"))).To(Succeed())
		g.Expect(alice.Create(t.Context(), jobAfter("dev.batch.child", "dev.batch.parent"))).To(Succeed())
		g.Expect(merge(t.Context(), alice, newJob("dev.batch.child"), `{"spec":{"dependencies":null}}`)).To(Succeed())
		g.Expect(alice.Delete(t.Context(), newJob("dev.batch.parent"))).To(Succeed())
	})
	t.Run("holds up neither the garbage collector nor the namespace controller", func(t *testing.T) {
		g := NewWithT(t)
		for _, name := range []string{"generic-garbage-collector", "namespace-controller"} {
			parent := newJob("dev.batch." + name)
			g.Expect(alice.Create(t.Context(), parent)).To(Succeed())
			g.Expect(alice.Create(t.Context(), jobAfter("dev.batch.after-"+name, parent.Name))).To(Succeed())
			account := "system:serviceaccount:kube-system:" + name
			w.role(t, account, everything)
			g.Eventually(func() error { return w.as(t, account).Delete(t.Context(), parent.DeepCopy()) }).WithTimeout(waitFor).Should(Succeed(), name)
		}
	})
}

// wrongBefore: a Job that was let in while the webhooks were away.
func (w *world) wrongBefore(t *testing.T, alice client.Client) {
	t.Helper()
	g := NewWithT(t)
	job, other := jobAfter("dev.batch.wrong", "dev.batch.nowhere"), jobAt("dev.batch.never", "0 0 30 2 *", "")
	w.unregister(t)
	for _, o := range []*v1alpha1.Job{job, other} {
		o.Spec.Owner = userSubject("alice")
		g.Expect(w.admin.Create(t.Context(), o)).To(Succeed())
	}
	w.register(t)
	w.awaitWebhooks(t)
	for _, o := range []*v1alpha1.Job{job, other} {
		g.Expect(merge(t.Context(), alice, o, `{"metadata":{"labels":{"app":"a"},"annotations":{"note":"x"}}}`)).To(Succeed(), o.Name)
		g.Expect(merge(t.Context(), alice, o, `{"spec":{"suspend":true,"run":{"cmd":"false"}}}`)).To(Succeed(), o.Name)
	}
	isRefusedAsInvalid(g, merge(t.Context(), alice, job.DeepCopy(), `{"spec":{"dependencies":[{"id":"dev.batch.nowhere"},{"id":"dev.batch.ready"}]}}`), "there is no such Job", "it adds another")
	g.Expect(alice.Patch(t.Context(), other, client.RawPatch(types.JSONPatchType, []byte(`[{"op":"replace","path":"/spec/schedules/0/cron","value":"0 0 28 2 *"}]`)))).To(Succeed(), "it is mended")
	g.Expect(alice.Delete(t.Context(), job)).To(Succeed())
}
