//go:build e2e

package e2e

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// TestAdmission runs the operator with its admission webhooks: a user's Job is theirs, its creation's run is
// launched by Grantry on their grants, and with the operator killed a namespace with Jobs can be deleted, runs
// go with their Job, and nothing of ours is created.
func TestAdmission(t *testing.T) {
	const patience = 2 * time.Minute
	cluster, admin, binary := start(t)
	args, err := cluster.Admission(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	operator := cluster.RunOperator(t, binary, args...)
	g := NewWithT(t)
	for _, name := range []string{"metronome", "doomed", "emptied"} {
		g.Expect(admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
	}
	create(
		t, admin,
		&v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: "dev"}, Spec: v1alpha1.ACLSpec{Resource: "dcos:service:metronome:metronome:jobs:dev"}},
		&v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: "alice"}, Spec: v1alpha1.GrantSpec{
			ACL: "dev", Actions: []v1alpha1.Action{v1alpha1.ActionFull}, Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "alice"}},
		}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "tenant"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"grantry.dev"}, Resources: []string{"jobs", "jobruns"}, Verbs: []string{"get", "list", "create", "update", "patch", "delete"}},
		}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "tenant"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "tenant"},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}},
		},
	)
	config, err := cluster.Config("alice")
	g.Expect(err).NotTo(HaveOccurred())
	alice, err := client.New(config, client.Options{Scheme: admin.Scheme()})
	g.Expect(err).NotTo(HaveOccurred())
	job := func(namespace, name string) *v1alpha1.Job {
		return &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: v1alpha1.JobSpec{Run: &v1alpha1.RunSpec{Cmd: "true"}}}
	}
	mine := job("metronome", "dev.mine")
	g.Eventually(func() error { return alice.Create(t.Context(), mine) }).WithTimeout(patience).Should(Succeed(), "the Grant counts")
	g.Expect(mine.Spec.Owner).To(Equal(&v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "alice"}))
	g.Expect(apierrors.IsForbidden(alice.Create(t.Context(), job("metronome", "ops.theirs")))).To(BeTrue())
	runs := func(namespace string) []v1alpha1.JobRun {
		list := &v1alpha1.JobRunList{}
		g.Expect(admin.List(t.Context(), list, client.InNamespace(namespace))).To(Succeed())
		return list.Items
	}
	g.Eventually(func() bool {
		all := runs("metronome")
		return len(all) == 1 && all[0].Spec.Trigger == v1alpha1.TriggerCreation && all[0].Status.Child != nil
	}).WithTimeout(patience).Should(BeTrue(), "Grantry launches the creation's run")
	g.Expect(admin.Create(t.Context(), job("doomed", "dev.doomed"))).To(Succeed())
	g.Eventually(func() int { return len(runs("doomed")) }).WithTimeout(patience).Should(Equal(1), "it has its run")
	gone := func(namespace string) func() bool {
		return func() bool {
			return apierrors.IsNotFound(admin.Get(t.Context(), client.ObjectKey{Name: namespace}, &corev1.Namespace{}))
		}
	}

	// Nobody deletes a Job that another depends on, but with their namespace both go, whether Grantry answers or not.
	for _, namespace := range []string{"doomed", "emptied"} {
		after := job(namespace, "dev.after")
		after.Spec.Dependencies = []v1alpha1.Dependency{{ID: "dev.before"}}
		g.Expect(admin.Create(t.Context(), job(namespace, "dev.before"))).To(Succeed())
		g.Expect(admin.Create(t.Context(), after)).To(Succeed())
		g.Eventually(func() error { return admin.Delete(t.Context(), job(namespace, "dev.before"), client.DryRunAll) }).WithTimeout(patience).
			Should(MatchError(ContainSubstring("1 Job depends on dev.before")))
	}
	g.Expect(admin.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "emptied"}})).To(Succeed())
	g.Eventually(gone("emptied")).WithTimeout(patience).Should(BeTrue(), "the namespace goes")

	// What is deleted while Grantry answers is collected while it doesn't.
	g.Expect(alice.Delete(t.Context(), mine, client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
	operator.Kill()
	g.Expect(admin.Create(t.Context(), job("metronome", "dev.new"))).To(MatchError(ContainSubstring("failed calling webhook")))
	g.Expect(admin.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "doomed"}})).To(Succeed())
	g.Eventually(gone("doomed")).WithTimeout(patience).Should(BeTrue(), "the namespace goes")
	g.Eventually(func() bool {
		return apierrors.IsNotFound(admin.Get(t.Context(), client.ObjectKeyFromObject(mine), &v1alpha1.Job{})) && len(runs("metronome")) == 0
	}).WithTimeout(patience).Should(BeTrue(), "the Job goes, and its runs")
}
