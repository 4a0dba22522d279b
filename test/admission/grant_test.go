package admission

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

const week = 7 * 24 * time.Hour

// everything is cluster-admin's rule.
var everything = rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}

// A tenant with full on marketing hands out read on marketing.email for a week, and nothing more.
func TestGrants_aTenantHandsOutItsOwnForAWhile(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	g := NewWithT(t)
	carol := w.tenant(t, "carol", everything)
	mary, bob := w.tenant(t, "mary"), w.tenant(t, "bob")
	g.Expect(carol.Create(t.Context(), newACL("marketing", allJobs+"marketing"))).To(Succeed())
	g.Expect(carol.Create(t.Context(), newACL("dev", allJobs+"dev"))).To(Succeed())
	g.Expect(carol.Create(t.Context(), newACL("super", "dcos:superuser"))).To(Succeed())
	marys := expiring(newGrant("mary", "marketing", "mary", v1alpha1.ActionFull), 2*week)
	g.Expect(carol.Create(t.Context(), marys)).To(Succeed())
	g.Expect(marys.Spec.GrantedBy).To(Equal(&v1alpha1.Identity{Username: "carol"}))
	g.Eventually(w.may("mary", "marketing", permission.Full)).WithTimeout(waitFor).Should(BeTrue())

	// The ACL and the Grant come at once, as in one kubectl apply.
	g.Expect(mary.Create(t.Context(), newACL("email", allJobs+"marketing.email"))).To(Succeed())
	bobs := expiring(newGrant("bob", "email", "bob", v1alpha1.ActionRead), week)
	bobs.Spec.GrantedBy = &v1alpha1.Identity{Username: "carol", Groups: []string{"system:masters"}}
	g.Expect(mary.Create(t.Context(), bobs)).To(Succeed())
	g.Expect(bobs.Spec.GrantedBy).To(Equal(&v1alpha1.Identity{Username: "mary"}), "it says who wrote it")
	g.Eventually(w.may("bob", "marketing.email.x", permission.Read)).WithTimeout(waitFor).Should(BeTrue())
	g.Eventually(w.condition(t, bobs, v1alpha1.ConditionReady)).WithTimeout(waitFor).Should(HavePrefix("InForce: "))
	g.Expect(bobs.Status.ValidatedGeneration).To(Equal(int64(1)))

	for what, grant := range map[string]*v1alpha1.Grant{
		"for longer than her own":            expiring(newGrant("x", "email", "bob", v1alpha1.ActionRead), 3*week),
		"without an end":                     newGrant("x", "email", "bob", v1alpha1.ActionRead),
		"of somebody else's":                 expiring(newGrant("x", "dev", "mary", v1alpha1.ActionRead), week),
		"to be a superuser":                  expiring(newGrant("x", "super", "mary", v1alpha1.ActionRead), week),
		"of an ACL that may become anything": expiring(newGrant("x", "later", "mary", v1alpha1.ActionRead), week),
	} {
		g.Expect(mary.Create(t.Context(), grant)).To(MatchError(ContainSubstring(`user mary may not create Grant "x"`)), what)
	}
	g.Expect(mary.Create(t.Context(), newACL("all", "dcos:service:metronome:"+space+":jobs"))).
		To(MatchError(ContainSubstring(`user mary may not create ACL "all": it takes "full" on what ACL "all" protects; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev for all ACLs`)))
	g.Expect(mary.Delete(t.Context(), newACL("dev", ""))).To(MatchError(ContainSubstring(`user mary may not delete ACL "dev"`)))
	g.Expect(mary.Delete(t.Context(), marys.DeepCopy())).To(Succeed(), "she may give up what she has: she could have granted it")

	// Bob has read, and nothing to hand out.
	g.Expect(bob.Create(t.Context(), expiring(newGrant("y", "email", "bob", v1alpha1.ActionRead), week))).To(MatchError(ContainSubstring("user bob may not")))
	g.Expect(bob.Delete(t.Context(), bobs.DeepCopy())).To(MatchError(ContainSubstring(`user bob may not delete Grant "bob"`)))
	// By patches: a PUT would race with the operator, which writes the status.
	until := func(who client.Client, after time.Duration) error {
		end := time.Now().Add(after).UTC().Format(time.RFC3339)
		return merge(t.Context(), who, newGrant("bob", "", ""), `{"spec":{"expiresAt":"`+end+`"}}`)
	}
	g.Expect(until(bob, 10*week)).To(MatchError(ContainSubstring(`user bob may not change Grant "bob"`)))
	g.Expect(merge(t.Context(), bob, newGrant("bob", "", ""), `{"spec":{"subjects":[{"kind":"User","name":"bob"},{"kind":"User","name":"bob"}]}}`)).To(MatchError(ContainSubstring("may not change")), "it would be his own then")
	g.Expect(bob.Patch(t.Context(), newGrant("bob", "", ""), client.RawPatch(types.MergePatchType,
		[]byte(`{"spec":{"grantedBy":{"username":"bob"}}}`)))).To(Succeed(), "it changes nothing")
	g.Expect(w.admin.Get(t.Context(), client.ObjectKeyFromObject(bobs), bobs)).To(Succeed())
	g.Expect(bobs.Spec.GrantedBy.Username).To(Equal("mary"))
	g.Expect(bobs.Generation).To(Equal(int64(1)))
	g.Expect(bob.DeleteAllOf(t.Context(), &v1alpha1.Grant{})).NotTo(Succeed())

	// Mary lost it; what she wrote she can still take back, and not widen.
	g.Eventually(w.condition(t, bobs, v1alpha1.ConditionGranterLostAuthority)).WithTimeout(waitFor).Should(HavePrefix("Reported: User mary"))
	g.Expect(w.may("bob", "marketing.email.x", permission.Read)()).To(BeTrue(), "the ACL says no Revoke")
	g.Eventually(func() error {
		return until(mary, 10*week)
	}).WithTimeout(waitFor).Should(MatchError(ContainSubstring("may not change")))
	g.Expect(until(mary, time.Hour)).To(Succeed())
	g.Expect(mary.Delete(t.Context(), bobs)).To(Succeed())
}

func TestGrants_administratorsAndGitOpsManageEverything(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	g := NewWithT(t)
	carol := w.tenant(t, "carol", everything)
	const flux = "system:serviceaccount:flux-system:kustomize-controller"
	gitops := w.tenant(t, flux, rbacv1.PolicyRule{APIGroups: []string{"grantry.dev"}, Resources: []string{"acls"}, Verbs: []string{"grant"}})
	only := w.tenant(t, "olga", rbacv1.PolicyRule{APIGroups: []string{"grantry.dev"}, Resources: []string{"acls"}, ResourceNames: []string{"dev"}, Verbs: []string{"grant"}})
	for _, who := range []*person{carol, gitops, w.person(t, "root", "system:masters")} {
		for _, object := range []client.Object{
			newGrant("g", "a", "bob", v1alpha1.ActionRead), newACL("a", "dcos:superuser"), newGroup("team", "bob"),
			newGrant("of-team", "a", "", v1alpha1.ActionFull),
		} {
			if grant, ok := object.(*v1alpha1.Grant); ok && grant.Name == "of-team" {
				grant.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: "team"}}
				end := metav1.NewTime(time.Now().Add(week))
				grant.Spec.ExpiresAt = &end
				object = grant
			}
			g.Expect(who.Create(t.Context(), object)).To(Succeed())
		}
		// A Grant for the last superuser can't go; with an end it is none.
		g.Expect(who.Create(t.Context(), newGrant("heir", "a", "root", v1alpha1.ActionFull))).To(Succeed())
		g.Eventually(func() bool { return w.may("root", "x", permission.Full)() && w.may("bob", "x", permission.Full)() }).WithTimeout(waitFor).Should(BeTrue())
		team := newGroup("team", "bob", "ann")
		g.Expect(who.Get(t.Context(), client.ObjectKeyFromObject(team), team)).To(Succeed())
		team.Spec.Members = newGroup("", "ann").Spec.Members
		g.Expect(who.Update(t.Context(), team)).To(Succeed())
		g.Expect(who.Delete(t.Context(), newGroup("team"))).To(Succeed())
		g.Expect(who.Delete(t.Context(), newGrant("of-team", "", ""))).To(Succeed())
		g.Expect(who.Delete(t.Context(), newGrant("g", "", ""))).To(Succeed())
		g.Eventually(w.may("bob", "x", permission.Full)).WithTimeout(waitFor).Should(BeFalse())
		g.Expect(who.Delete(t.Context(), newGrant("heir", "", ""))).To(MatchError(ContainSubstring("nobody would be a superuser for good any more")))
		g.Expect(who.Delete(t.Context(), newACL("a", ""))).To(MatchError(ContainSubstring("nobody would be a superuser for good any more")))
		heir := &v1alpha1.Grant{}
		g.Expect(who.Get(t.Context(), client.ObjectKey{Name: "heir"}, heir)).To(Succeed())
		g.Expect(who.Update(t.Context(), expiring(heir, week))).To(MatchError(ContainSubstring("nobody would be a superuser")))
		w.reset(t)
	}

	// The verb on one ACL is for that one: not to make it, as its holder would choose what it stands for.
	g.Expect(only.Create(t.Context(), newACL("dev", "dcos:superuser"))).To(MatchError(ContainSubstring("for all ACLs")))
	g.Expect(carol.Create(t.Context(), newACL("dev", allJobs+"dev"))).To(Succeed())
	g.Expect(carol.Create(t.Context(), newACL("other", allJobs+"other"))).To(Succeed())
	g.Expect(only.Create(t.Context(), newGrant("olga", "dev", "olga", v1alpha1.ActionRead))).To(Succeed())
	g.Expect(only.Create(t.Context(), newGrant("olga2", "other", "olga", v1alpha1.ActionRead))).To(MatchError(ContainSubstring(`or for the RBAC verb "grant" on acls.grantry.dev "other"`)))
}

// reset empties the policy, past the guard: as an operator would who takes the webhooks away.
func (w *world) reset(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	w.unregister(t)
	for _, kind := range []client.Object{&v1alpha1.Grant{}, &v1alpha1.Group{}, &v1alpha1.ACL{}} {
		g.Expect(w.admin.DeleteAllOf(t.Context(), kind)).To(Succeed())
	}
	g.Eventually(func() int { return w.store.Snapshot().Counts().Grants + w.store.Snapshot().Counts().ACLs }).WithTimeout(waitFor).Should(BeZero())
	w.register(t)
	w.awaitWebhooks(t)
}

// unregister deletes the webhook configurations, and waits until writes get past them.
func (w *world) unregister(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	for _, configuration := range w.configurations {
		g.Expect(w.admin.Delete(t.Context(), configuration)).To(Succeed())
	}
	g.Eventually(func() *v1alpha1.Identity { return w.probe(t) }).WithTimeout(waitFor).Should(BeNil(), "writes get past admission")
}

// awaitWebhooks waits until the API server calls the webhooks again.
func (w *world) awaitWebhooks(t *testing.T) {
	t.Helper()
	NewWithT(t).Eventually(func() *v1alpha1.Identity { return w.probe(t) }).WithTimeout(waitFor).ShouldNot(BeNil(), "admission sees writes")
}

// probe is who a Group that is not stored would have been written by.
func (w *world) probe(t *testing.T) *v1alpha1.Identity {
	t.Helper()
	probe := newGroup("probe")
	if err := w.admin.Create(t.Context(), probe, client.DryRunAll); err != nil {
		return nil
	}
	return probe.Spec.GrantedBy
}

// Every way to write a Grant says who wrote it, and those that change nothing leave that as it is.
func TestGrants_waysToWrite(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	g := NewWithT(t)
	carol := w.tenant(t, "carol", everything)
	mallory := w.tenant(t, "mallory")
	g.Expect(carol.Create(t.Context(), newACL("dev", allJobs+"dev"))).To(Succeed())

	generated := newGrant("", "dev", "ann", v1alpha1.ActionRead)
	generated.GenerateName = "g-"
	g.Expect(carol.Create(t.Context(), generated)).To(Succeed())
	g.Expect(generated.Annotations).NotTo(HaveKey(v1alpha1.AnnotationAdmitted), "its name was not known")
	g.Eventually(w.may("ann", "dev", permission.Read)).WithTimeout(waitFor).Should(BeTrue(), "the controller validates it")

	apply := func(who client.Client, name, user string, force bool) error {
		object := map[string]any{
			"apiVersion": "grantry.dev/v1alpha1", "kind": "Grant", "metadata": map[string]any{"name": name},
			"spec": map[string]any{"acl": "dev", "actions": []any{"read"}, "subjects": []any{map[string]any{"kind": "User", "name": user}}},
		}
		options := []client.ApplyOption{client.FieldOwner("test")}
		if force {
			options = append(options, client.ForceOwnership)
		}
		return who.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: object}), options...)
	}
	g.Expect(apply(carol, "bob", "bob", false)).To(Succeed())
	g.Eventually(w.may("bob", "dev", permission.Read)).WithTimeout(waitFor).Should(BeTrue())
	read := func() *v1alpha1.Grant {
		grant := &v1alpha1.Grant{}
		g.Expect(w.admin.Get(t.Context(), client.ObjectKey{Name: "bob"}, grant)).To(Succeed())
		return grant
	}
	first := read()
	g.Expect(first.Spec.GrantedBy).To(Equal(&v1alpha1.Identity{Username: "carol"}))
	g.Expect(apply(mallory, "bob", "bob", true)).To(Succeed(), "it changes nothing")
	replaced := read()
	replaced.Spec.GrantedBy, replaced.Annotations = nil, nil
	g.Expect(mallory.Update(t.Context(), replaced)).To(Succeed(), "it changes nothing")
	g.Expect(read().Spec).To(Equal(first.Spec))
	g.Expect(read().Generation).To(Equal(int64(1)))
	g.Expect(read().Annotations).To(Equal(first.Annotations), "it can't be made to wait")
	g.Expect(w.may("bob", "dev", permission.Read)()).To(BeTrue())

	g.Expect(apply(mallory, "bob", "mallory", true)).To(MatchError(ContainSubstring(`user mallory may not change Grant "bob"`)))
	g.Expect(apply(mallory, "mallory", "mallory", true)).To(MatchError(ContainSubstring(`user mallory may not create Grant "mallory"`)))
	for kind, patch := range map[string]string{
		"application/merge-patch+json": `{"spec":{"subjects":[{"kind":"User","name":"mallory"}]}}`,
		"application/json-patch+json":  `[{"op":"replace","path":"/spec/subjects/0/name","value":"mallory"}]`,
	} {
		g.Expect(mallory.Patch(t.Context(), first.DeepCopy(), client.RawPatch(types.PatchType(kind), []byte(patch)))).
			To(MatchError(ContainSubstring("may not change")), kind)
	}
	attested := newGrant("copy", "dev", "mallory", v1alpha1.ActionRead)
	attested.Annotations = first.Annotations
	g.Expect(mallory.Create(t.Context(), attested)).To(MatchError(ContainSubstring("may not create")))
	g.Expect(w.may("mallory", "dev", permission.Read)()).To(BeFalse())
}
