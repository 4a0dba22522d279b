package admission

import (
	"encoding/json"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/permission"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

func newJob(name string) *v1alpha1.Job {
	return &v1alpha1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: name},
		Spec:       v1alpha1.JobSpec{Run: &v1alpha1.RunSpec{Cmd: "true"}},
	}
}

func userSubject(name string) *v1alpha1.Subject {
	return &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: name}
}

// TestIdentity: whose a Job is, on a real API server, and what users can't make it say.
func TestIdentity(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive})
	users := w.users(t, options{mode: permission.ModePermissive})
	w.grant(t, "carl", "carl", "dev.batch", v1alpha1.ActionUpdate)
	w.role(t, "carl", everyVerb)
	alice, carl := users[0].client, w.as(t, "carl", "idp-b", "idp-a")
	g := NewWithT(t)
	g.Eventually(func() error { return carl.List(t.Context(), &v1alpha1.JobList{}) }).WithTimeout(waitFor).Should(Succeed(), "RBAC knows carl")

	t.Run("the requester owns what it creates, and forges nothing", func(t *testing.T) {
		g := NewWithT(t)
		job := newJob("dev.batch.mine")
		job.Labels = map[string]string{"in.grantry.dev/ops": "", "app": "a"}
		job.Spec.Owner = userSubject("carol")
		job.Spec.OwnerGroups = &v1alpha1.ReportedGroups{Names: []string{"wheel"}, ReportedAt: metav1.Now()}
		g.Expect(alice.Create(t.Context(), job)).To(Succeed())
		labels := batchjob.AncestorLabels(job.Name)
		labels["app"] = "a"
		g.Expect(job.Labels).To(Equal(labels))
		g.Expect(job.Spec.Owner).To(Equal(userSubject("alice")))
		g.Expect(job.Spec.OwnerGroups).To(BeNil(), "alice's certificate names no group")
	})

	t.Run("who changes what runs becomes the owner, with its groups", func(t *testing.T) {
		g := NewWithT(t)
		job := newJob("dev.batch.theirs")
		g.Expect(alice.Create(t.Context(), job)).To(Succeed())
		g.Expect(merge(t.Context(), carl, job, `{"spec":{"description":"x","suspend":true}}`)).To(Succeed())
		g.Expect(job.Spec.Owner.Name).To(Equal("alice"))
		g.Expect(merge(t.Context(), carl, job, `{"spec":{"run":{"cmd":"false"},"owner":{"kind":"User","name":"alice"}}}`)).To(Succeed())
		g.Expect(job.Spec.Owner.Name).To(Equal("carl"))
		g.Expect(job.Spec.OwnerGroups.Names).To(Equal([]string{"idp-a", "idp-b"}))
		g.Expect(merge(t.Context(), carl, job, `{"spec":{"ownerGroups":{"names":["wheel"],"reportedAt":"2030-01-01T00:00:00Z"}}}`)).To(Succeed())
		g.Expect(job.Spec.OwnerGroups.Names).To(Equal([]string{"idp-a", "idp-b"}))
	})

	t.Run("a team owns a Job", func(t *testing.T) {
		g := NewWithT(t)
		job := newJob("dev.batch.teams")
		g.Expect(alice.Create(t.Context(), job)).To(Succeed())
		g.Expect(merge(t.Context(), carl, job, `{"spec":{"owner":{"kind":"Group","name":"idp-a"}}}`)).To(Succeed())
		g.Expect(job.Spec.Owner).To(Equal(&v1alpha1.Subject{Kind: v1alpha1.GroupSubject, Name: "idp-a"}))
	})

	t.Run("labels of ours can be neither added nor removed", func(t *testing.T) {
		g := NewWithT(t)
		job := newJob("dev.batch.labels")
		g.Expect(alice.Create(t.Context(), job)).To(Succeed())
		want := job.Labels
		for _, patch := range []string{
			`{"metadata":{"labels":{"in.grantry.dev/ops":"","grantry.dev/run-uid":"1"}}}`, `{"metadata":{"labels":{"in.grantry.dev/dev":null}}}`,
			`{"metadata":{"labels":null}}`, `{"metadata":{"labels":{"in.grantry.dev/dev":"x"}}}`, `{"metadata":{"labels":null},"spec":{"description":"y"}}`,
		} {
			g.Expect(merge(t.Context(), alice, job, patch)).To(Succeed())
			g.Expect(job.Labels).To(Equal(want), patch)
		}
	})

	t.Run("a generated name gets its labels later, and no others", func(t *testing.T) {
		g := NewWithT(t)
		job := newJob("")
		job.GenerateName = "dev.batch.gen-"
		job.Labels = map[string]string{"in.grantry.dev/ops": ""}
		g.Expect(alice.Create(t.Context(), job)).To(Succeed())
		g.Expect(job.Labels).To(BeEmpty())
	})

	t.Run("a run says who asked for it", func(t *testing.T) {
		g := NewWithT(t)
		run := newRun("mine", "dev.batch.job1")
		run.Spec.RequestedBy = userSubject("carol")
		g.Expect(alice.Create(t.Context(), run)).To(Succeed())
		g.Expect(run.Spec.RequestedBy).To(Equal(userSubject("alice")))
		for _, change := range []func(*v1alpha1.JobRun){
			func(r *v1alpha1.JobRun) { r.Spec.Trigger = v1alpha1.TriggerSchedule },
			func(r *v1alpha1.JobRun) { r.Spec.ScheduledAt = &metav1.Time{Time: time.Unix(1e9, 0)} },
		} {
			run := newRun("forged", "dev.batch.job1")
			change(run)
			err := alice.Create(t.Context(), run)
			g.Expect(err).To(MatchError(ContainSubstring("only Grantry")))
			g.Expect(apierrors.IsInvalid(err)).To(BeTrue(), "%v", err)
		}
		byOperator := newRun("scheduled", "dev.batch.job1")
		byOperator.Spec.Trigger, byOperator.Spec.ScheduledAt = v1alpha1.TriggerSchedule, &metav1.Time{Time: time.Unix(1e9, 0)}
		g.Expect(w.as(t, operator).Create(t.Context(), byOperator)).To(Succeed())
	})

	t.Run("the garbage collector and the namespace controller are not asked", func(t *testing.T) {
		g := NewWithT(t)
		for i, account := range []string{"generic-garbage-collector", "namespace-controller"} {
			job := newJob([]string{"ops.gc", "ops.ns"}[i])
			g.Expect(w.admin.Create(t.Context(), job)).To(Succeed())
			g.Expect(w.as(t, "system:serviceaccount:kube-system:"+account).Delete(t.Context(), job)).To(Succeed(), account)
		}
		err := w.as(t, "system:serviceaccount:kube-system:job-controller").Delete(t.Context(), newJob("dev.batch.mine"))
		g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
	})

	t.Run("what can't be read again is not stored", func(t *testing.T) { refuseUnreadable(t, w) })
	t.Run("what is too long is refused at once", func(t *testing.T) { refuseLong(t, w) })
}

// gitOps is the worked example of docs/gitops.md: the rights of a GitOps controller.
const gitOps = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: gitops-jobs}
rules:
- {apiGroups: [grantry.dev], resources: [jobs], verbs: [get, list, watch, create, update, patch, delete, override]}
- {apiGroups: [""], resources: [users], resourceNames: [alice], verbs: [impersonate]}
`

// TestGitOps: a controller with a token of its service account applies Jobs of alice, as a worked example of
// the documentation says. Applying again changes nothing, and what a person changed by hand goes back.
func TestGitOps(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive})
	users := w.users(t, options{mode: permission.ModePermissive})
	w.grant(t, "carl", "carl", "dev.batch", v1alpha1.ActionUpdate)
	w.role(t, "carl", everyVerb)
	g := NewWithT(t)
	role := &rbacv1.ClusterRole{}
	g.Expect(yaml.UnmarshalStrict([]byte(gitOps), role)).To(Succeed())
	g.Expect(w.admin.Create(t.Context(), role)).To(Succeed())
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "gitops"}}
	g.Expect(w.admin.Create(t.Context(), account)).To(Succeed())
	g.Expect(w.admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "gitops"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: space, Name: account.Name}},
	})).To(Succeed())
	request := &authenticationv1.TokenRequest{}
	g.Expect(w.admin.SubResource("token").Create(t.Context(), account, request)).To(Succeed())
	config := rest.AnonymousClientConfig(w.environment.Config)
	config.BearerToken = request.Status.Token
	controller, err := client.New(config, client.Options{Scheme: grantrytesting.Scheme})
	g.Expect(err).NotTo(HaveOccurred())

	desired := func(owner string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "grantry.dev/v1alpha1", "kind": "Job", "metadata": map[string]any{"name": "dev.batch.git", "namespace": space},
			"spec": map[string]any{"owner": map[string]any{"kind": "User", "name": owner}, "run": map[string]any{"cmd": "true"}},
		}}
	}
	applyAs := func(owner string) error {
		return controller.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(desired(owner)), client.FieldOwner("gitops"))
	}
	stored := func() *v1alpha1.Job {
		t.Helper()
		job := &v1alpha1.Job{}
		g.Expect(w.admin.Get(t.Context(), client.ObjectKey{Namespace: space, Name: "dev.batch.git"}, job)).To(Succeed())
		return job
	}
	g.Eventually(func() error { return applyAs("alice") }).WithTimeout(waitFor).Should(Succeed(), "RBAC knows the controller")
	first := stored()
	g.Expect(first.Spec.Owner).To(Equal(userSubject("alice")))
	g.Expect(first.Spec.OwnerGroups).To(BeNil(), "nobody has reported alice's groups")
	g.Expect(applyAs("alice")).To(Succeed())
	second := stored()
	g.Expect(second.Spec).To(Equal(first.Spec))
	g.Expect(second.Generation).To(Equal(first.Generation))
	g.Expect(second.ManagedFields).To(Equal(first.ManagedFields), "nobody fights")
	// The second write stores the status' defaults, which the first could not; nothing is left for a third.
	g.Expect(applyAs("alice")).To(Succeed())
	g.Expect(stored().ResourceVersion).To(Equal(second.ResourceVersion), "applying again changes nothing")

	g.Expect(merge(t.Context(), w.as(t, "carl"), first.DeepCopy(), `{"spec":{"run":{"cmd":"false"}}}`)).To(Succeed())
	g.Expect(stored().Spec.Owner.Name).To(Equal("carl"), "carl's change runs on carl's grants")
	g.Expect(controller.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(desired("alice")), client.FieldOwner("gitops"), client.ForceOwnership)).To(Succeed())
	g.Expect(stored().Spec.Owner.Name).To(Equal("alice"))
	g.Expect(stored().Spec.Run.Cmd).To(Equal("true"))
	g.Expect(applyAs("bob")).To(Succeed())
	g.Expect(stored().Spec.Owner.Name).To(Equal("alice"), "the controller may not act as bob")

	raw, err := json.Marshal(stored())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(users[0].client.Patch(t.Context(), stored(), client.RawPatch("application/merge-patch+json", raw))).To(Succeed(), "alice writes back what she read")
}
