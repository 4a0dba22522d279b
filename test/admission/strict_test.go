package admission

import (
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

// policyAPI is what strict mode asks for of every request on ACLs, Grants and Groups.
const policyAPI = "dcos:adminrouter:acs"

// TestStrict_delegation: in strict mode, with the authorization webhook, admission and the static backstop, a
// tenant with full on marketing hands out read on marketing.email for a week, and nothing more; a cluster-admin
// and a GitOps account manage everything. Each needs what docs/operations.md says, and less does not do.
func TestStrict_delegation(t *testing.T) {
	w := start(t, options{mode: permission.ModeStrict, authorization: true, controllers: true})
	for _, file := range []string{"objects", "identities", "children", "pods"} {
		w.apply(t, "admission-policy/"+file+".yaml")
	}
	g := NewWithT(t)
	for name, resource := range map[string]string{
		"policy": policyAPI, "marketing": allJobs + "marketing", "dev": allJobs + "dev", "super": "dcos:superuser", "all": "dcos:service:metronome:" + space + ":jobs",
	} {
		g.Expect(w.admin.Create(t.Context(), newACL(name, resource))).To(Succeed())
	}
	g.Expect(w.admin.Create(t.Context(), newGrant("root", "super", "root", v1alpha1.ActionFull))).To(Succeed())
	t.Run("a tenant", func(t *testing.T) { w.tenantInStrictMode(t) })
	t.Run("a cluster-admin", func(t *testing.T) {
		w.role(t, "carol", everything)
		w.managesEverything(t, "carol")
	})
	t.Run("a GitOps account", func(t *testing.T) {
		const flux = "system:serviceaccount:flux-system:kustomize-controller"
		w.role(t, flux, rbacv1.PolicyRule{APIGroups: []string{"grantry.dev"}, Resources: []string{"acls"}, Verbs: []string{"grant"}},
			rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"users"}, ResourceNames: []string{"alice"}, Verbs: []string{"impersonate"}})
		gitops := w.managesEverything(t, flux)

		g := NewWithT(t)
		job := newJob("dev.flux")
		job.Spec.Owner = userSubject("alice")
		g.Expect(apierrors.IsForbidden(gitops.Create(t.Context(), job.DeepCopy()))).To(BeTrue(), "no Grant on Jobs, and RBAC's override does not count")
		toFlux := newGrant("flux-jobs", "all", "", v1alpha1.ActionFull)
		toFlux.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.ServiceAccountSubject, Namespace: "flux-system", Name: "kustomize-controller"}}
		g.Expect(gitops.Create(t.Context(), toFlux)).To(Succeed(), "the verb grant lets it give itself that")
		g.Eventually(func() error { return gitops.Create(t.Context(), job) }).WithTimeout(waitFor).Should(Succeed())
		g.Expect(job.Spec.Owner).To(Equal(userSubject("alice")))
	})
}

func (w *world) tenantInStrictMode(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	mary, bob := w.person(t, "mary"), w.person(t, "bob")
	w.role(t, "mary", policyVerbs)
	g.Expect(w.admin.Create(t.Context(), expiring(newGrant("mary", "marketing", "mary", v1alpha1.ActionFull), 2*week))).To(Succeed())
	g.Eventually(w.may("mary", "marketing", permission.Full)).WithTimeout(waitFor).Should(BeTrue())
	email, bobs := newACL("email", allJobs+"marketing.email"), expiring(newGrant("bob", "email", "bob", v1alpha1.ActionRead), week)
	g.Expect(mary.Create(t.Context(), email.DeepCopy())).To(MatchError(ContainSubstring(`may not "full" on `+policyAPI)), "RBAC's verbs do not count")

	g.Expect(w.admin.Create(t.Context(), expiring(newGrant("mary-policy", "policy", "mary", v1alpha1.ActionFull), 2*week))).To(Succeed())
	g.Eventually(func() error { return mary.Create(t.Context(), email) }).WithTimeout(waitFor).Should(Succeed())
	g.Expect(mary.Create(t.Context(), bobs)).To(Succeed())
	for what, grant := range map[string]*v1alpha1.Grant{
		"for longer than her own": expiring(newGrant("x", "email", "bob", v1alpha1.ActionRead), 3*week),
		"without an end":          newGrant("x", "email", "bob", v1alpha1.ActionRead),
		"of somebody else's":      expiring(newGrant("x", "dev", "bob", v1alpha1.ActionRead), week),
		"to herself":              expiring(newGrant("x", "all", "mary", v1alpha1.ActionFull), week),
		"to be a superuser":       expiring(newGrant("x", "super", "mary", v1alpha1.ActionRead), week),
	} {
		g.Expect(mary.Create(t.Context(), grant)).To(MatchError(ContainSubstring(`user mary may not create Grant "x"`)), what)
	}
	g.Expect(mary.Delete(t.Context(), newGrant("root", "", ""))).To(MatchError(ContainSubstring(`user mary may not delete Grant "root"`)))
	g.Expect(mary.Create(t.Context(), newACL("wide", "dcos:service:metronome:"+space+":jobs"))).To(MatchError(ContainSubstring(`user mary may not create ACL "wide"`)))

	// What bob got, he has at the API server, and no more.
	g.Expect(mary.Create(t.Context(), newJob("marketing.email.digest"))).To(Succeed())
	g.Expect(mary.Create(t.Context(), newJob("marketing.web"))).To(Succeed())
	read := func(name string) error {
		return bob.Get(t.Context(), client.ObjectKey{Namespace: space, Name: name}, &v1alpha1.Job{})
	}
	g.Eventually(func() error { return read("marketing.email.digest") }).WithTimeout(waitFor).Should(Succeed())
	g.Expect(apierrors.IsForbidden(read("marketing.web"))).To(BeTrue())
	g.Expect(apierrors.IsForbidden(bob.Create(t.Context(), newJob("marketing.email.mine")))).To(BeTrue())
	g.Expect(apierrors.IsForbidden(merge(t.Context(), bob, newJob("marketing.email.digest"), `{"spec":{"suspend":true}}`))).To(BeTrue())
	g.Expect(bob.Create(t.Context(), expiring(newGrant("y", "email", "bob", v1alpha1.ActionRead), week))).To(MatchError(ContainSubstring(policyAPI)))
}

// managesEverything: with RBAC's verb "grant", and full on the API of the policy, somebody writes and deletes
// any ACL, Grant and Group; with one of the two alone nothing.
func (w *world) managesEverything(t *testing.T, name string) *person {
	t.Helper()
	g := NewWithT(t)
	p := w.person(t, name)
	g.Expect(p.Create(t.Context(), newACL("theirs", allJobs+"theirs"))).To(MatchError(ContainSubstring(`may not "full" on `+policyAPI)), "RBAC alone")
	enter := newGrant("", "policy", name, v1alpha1.ActionFull)
	enter.GenerateName = "enter-"
	g.Expect(w.admin.Create(t.Context(), enter)).To(Succeed())
	g.Eventually(func() error { return p.List(t.Context(), &v1alpha1.GrantList{}) }).WithTimeout(waitFor).Should(Succeed(), "the Grant counts")
	for _, object := range []client.Object{newACL("theirs", allJobs+"theirs"), newGroup("team", "ann"), newGrant("to-bob", "theirs", "bob", v1alpha1.ActionFull), newGrant("super2", "super", "ann", v1alpha1.ActionFull)} {
		g.Expect(p.Create(t.Context(), object)).To(Succeed(), "%T", object)
	}
	g.Eventually(w.may("bob", "theirs.x", permission.Full)).WithTimeout(waitFor).Should(BeTrue())
	for _, object := range []client.Object{newGrant("super2", "", ""), newGrant("to-bob", "", ""), newGroup("team"), newACL("theirs", "")} {
		g.Expect(p.Delete(t.Context(), object)).To(Succeed(), "%T", object)
	}
	g.Expect(p.Delete(t.Context(), newGrant("root", "", ""))).To(MatchError(ContainSubstring("nobody would be a superuser for good any more")))
	return p
}
