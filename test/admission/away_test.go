package admission

import (
	"strconv"
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

// What comes in while the webhooks are away counts once the controller, or somebody with the authority, has
// validated it.
func TestAway_whatCameInWaitsUntilItIsValidated(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	g := NewWithT(t)
	carol := w.tenant(t, "carol", everything)
	mary, mallory := w.tenant(t, "mary"), w.tenant(t, "mallory")
	g.Expect(carol.Create(t.Context(), newACL("marketing", allJobs+"marketing"))).To(Succeed())
	g.Expect(carol.Create(t.Context(), newGrant("mary", "marketing", "mary", v1alpha1.ActionFull))).To(Succeed())
	g.Eventually(w.may("mary", "marketing", permission.Full)).WithTimeout(waitFor).Should(BeTrue())

	w.unregister(t)
	hers := newGrant("mallory", "marketing", "mallory", v1alpha1.ActionFull)
	hers.Spec.GrantedBy = &v1alpha1.Identity{Username: "mallory"}
	hers.Annotations = map[string]string{v1alpha1.AnnotationApprove: "1"}
	nobodys := newGrant("nobodys", "marketing", "bob", v1alpha1.ActionRead)
	marys := newGrant("marys", "marketing", "ann", v1alpha1.ActionRead)
	marys.Spec.GrantedBy = &v1alpha1.Identity{Username: "mary"}
	g.Expect(mallory.Create(t.Context(), hers)).To(Succeed())
	g.Expect(mary.Create(t.Context(), nobodys)).To(Succeed())
	g.Expect(mary.Create(t.Context(), marys)).To(Succeed())
	root, roots := newACL("root", "dcos:superuser"), newGroup("marys-team", "mallory")
	root.Spec.GrantedBy = &v1alpha1.Identity{Username: "mallory"}
	roots.Annotations = map[string]string{v1alpha1.AnnotationApprove: "1"}
	g.Expect(mallory.Create(t.Context(), root)).To(Succeed())
	g.Expect(mallory.Create(t.Context(), roots)).To(Succeed())

	ready := func(object client.Object) func() string { return w.condition(t, object, v1alpha1.ConditionReady) }
	g.Eventually(ready(marys)).WithTimeout(waitFor).Should(HavePrefix("InForce: "), "mary may write it")
	g.Eventually(ready(hers)).WithTimeout(waitFor).Should(Equal(
		`NotValidated: Does not count: it came in past admission, and user mallory may not create Grant "mallory": it takes "full" on what ACL "marketing" protects without an end; `+
			`ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev "marketing". To approve it, as somebody who may write it: `+
			`kubectl annotate grants.grantry.dev mallory grantry.dev/approve- && kubectl annotate grants.grantry.dev mallory grantry.dev/approve=1`),
		"its approval came in past admission, too")
	g.Eventually(ready(nobodys)).WithTimeout(waitFor).Should(HavePrefix("NotValidated: Does not count: it came in past admission, and who wrote it is not known."))
	g.Eventually(ready(root)).WithTimeout(waitFor).Should(HavePrefix("NotValidated: "))
	g.Eventually(ready(roots)).WithTimeout(waitFor).Should(HavePrefix("NotValidated: "))
	g.Expect(w.may("mallory", "marketing", permission.Read)()).To(BeFalse())
	g.Expect(w.may("bob", "marketing", permission.Read)()).To(BeFalse())
	g.Expect(w.may("ann", "marketing", permission.Read)()).To(BeTrue())

	w.register(t)
	w.awaitWebhooks(t)
	annotate := func(who client.Client, object client.Object, generation string) error {
		return merge(t.Context(), who, object, `{"metadata":{"annotations":{"grantry.dev/approve":`+generation+`}}}`)
	}
	approve := func(who client.Client, generation string) error {
		return annotate(who, newGrant("nobodys", "", ""), strconv.Quote(generation))
	}
	g.Expect(approve(mallory, "1")).To(MatchError(ContainSubstring(`user mallory may not create Grant "nobodys"`)))
	g.Expect(approve(mary, "7")).To(MatchError(ContainSubstring(`the present generation of Grant "nobodys" is 1`)))
	g.Expect(approve(mary, "1")).To(Succeed())
	g.Eventually(ready(nobodys)).WithTimeout(waitFor).Should(HavePrefix("InForce: "))
	g.Expect(nobodys.Spec.GrantedBy.Username).To(Equal("mary"))
	g.Expect(nobodys.Annotations).NotTo(HaveKey(v1alpha1.AnnotationApprove))
	g.Eventually(w.may("bob", "marketing", permission.Read)).WithTimeout(waitFor).Should(BeTrue())

	// Labels on what waits approve nothing, whatever approval it came in with.
	g.Expect(merge(t.Context(), carol, hers.DeepCopy(), `{"metadata":{"labels":{"seen":"yes"}}}`)).To(Succeed())
	g.Consistently(w.may("mallory", "marketing", permission.Read)).Should(BeFalse())
	g.Expect(ready(hers)()).To(HavePrefix("NotValidated: "))
	g.Expect(hers.Annotations).NotTo(HaveKey(v1alpha1.AnnotationApprove))
	g.Expect(annotate(carol, hers.DeepCopy(), `"1"`)).To(Succeed())
	g.Eventually(ready(hers)).WithTimeout(waitFor).Should(HavePrefix("InForce: "), "carol means it")
	g.Expect(carol.Delete(t.Context(), hers)).To(Succeed())

	// To say again what is there says nothing: it is taken off first.
	g.Expect(annotate(carol, roots.DeepCopy(), `"1"`)).To(Succeed())
	g.Consistently(ready(roots)).Should(HavePrefix("NotValidated: "))
	g.Expect(annotate(carol, roots.DeepCopy(), "null")).To(Succeed())
	g.Consistently(ready(roots)).Should(HavePrefix("NotValidated: "))
	g.Expect(annotate(carol, roots.DeepCopy(), `"1"`)).To(Succeed())
	g.Eventually(ready(roots)).WithTimeout(waitFor).Should(HavePrefix("InForce: "))
}

// Nobody can put another's name on what they write, webhooks or not: the static policies see to it.
func TestAway_nobodyWritesInAnothersName(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	g := NewWithT(t)
	w.apply(t, "admission-policy/identities.yaml")
	carol, mallory := w.tenant(t, "carol", everything), w.tenant(t, "mallory")
	g.Expect(carol.Create(t.Context(), newACL("dev", allJobs+"dev"))).To(Succeed())
	theirs := newGrant("theirs", "dev", "ann", v1alpha1.ActionRead)
	g.Expect(carol.Create(t.Context(), theirs)).To(Succeed())
	w.unregister(t)

	const refusal = "spec.grantedBy is who writes the spec"
	forged := newGrant("forged", "dev", "mallory", v1alpha1.ActionRead)
	forged.Spec.GrantedBy = &v1alpha1.Identity{Username: "carol"}
	g.Eventually(func() error { return mallory.Create(t.Context(), forged.DeepCopy(), client.DryRunAll) }).WithTimeout(waitFor).
		Should(MatchError(ContainSubstring(refusal)))
	masters := forged.DeepCopy()
	masters.Spec.GrantedBy = &v1alpha1.Identity{Username: "mallory", Groups: []string{"system:masters"}}
	g.Expect(mallory.Create(t.Context(), masters)).To(MatchError(ContainSubstring(refusal)))
	g.Expect(mallory.Patch(t.Context(), theirs.DeepCopy(), client.RawPatch(types.MergePatchType,
		[]byte(`{"spec":{"subjects":[{"kind":"User","name":"mallory"}]}}`)))).To(MatchError(ContainSubstring(refusal)), "it says that carol wrote it")
	g.Expect(mallory.Patch(t.Context(), theirs.DeepCopy(), client.RawPatch(types.MergePatchType,
		[]byte(`{"spec":{"grantedBy":{"username":"mallory"},"subjects":[{"kind":"User","name":"mallory"}]}}`)))).To(Succeed())
	g.Eventually(w.condition(t, theirs, v1alpha1.ConditionReady)).WithTimeout(waitFor).Should(HavePrefix("NotValidated: "))
	g.Expect(w.may("mallory", "dev", permission.Read)()).To(BeFalse())
}

// When a granter loses the right, what they granted says so, and goes if the ACL wants that: also if two have
// granted to each other.
func TestGranters_whoLoseTheirAuthority(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	g := NewWithT(t)
	carol := w.tenant(t, "carol", everything)
	mary, tom := w.tenant(t, "mary"), w.tenant(t, "tom")
	email := newACL("email", allJobs+"email")
	email.Spec.OnGranterLost = v1alpha1.GranterLostRevoke
	g.Expect(carol.Create(t.Context(), email)).To(Succeed())
	g.Expect(carol.Create(t.Context(), newGrant("first", "email", "mary", v1alpha1.ActionFull))).To(Succeed())
	g.Eventually(w.may("mary", "email", permission.Full)).WithTimeout(waitFor).Should(BeTrue())
	bobs := newGrant("bob", "email", "bob", v1alpha1.ActionRead)
	g.Expect(mary.Create(t.Context(), bobs)).To(Succeed())
	toms := newGrant("to-tom", "email", "tom", v1alpha1.ActionFull)
	g.Expect(mary.Create(t.Context(), toms)).To(Succeed())
	g.Eventually(w.may("tom", "email", permission.Full)).WithTimeout(waitFor).Should(BeTrue())
	marys := newGrant("to-mary", "email", "mary", v1alpha1.ActionFull)
	g.Expect(tom.Create(t.Context(), marys)).To(Succeed())
	g.Eventually(w.may("bob", "email", permission.Read)).WithTimeout(waitFor).Should(BeTrue())

	g.Expect(carol.Delete(t.Context(), newGrant("first", "", ""))).To(Succeed())
	for _, grant := range []*v1alpha1.Grant{bobs, toms, marys} {
		g.Eventually(w.condition(t, grant, v1alpha1.ConditionReady)).WithTimeout(waitFor).Should(HavePrefix("Revoked: User "+grant.Spec.GrantedBy.Username), grant.Name)
		g.Eventually(w.condition(t, grant, v1alpha1.ConditionGranterLostAuthority)).WithTimeout(waitFor).Should(HavePrefix("Revoked: "), grant.Name)
	}
	for _, who := range []string{"bob", "tom", "mary"} {
		g.Eventually(w.may(who, "email", permission.Read)).WithTimeout(waitFor).Should(BeFalse(), who)
	}
	// Narrowing it does not bring it back.
	g.Expect(mary.Update(t.Context(), expiring(bobs.DeepCopy(), week))).NotTo(Succeed())

	g.Expect(carol.Create(t.Context(), newGrant("first", "email", "mary", v1alpha1.ActionFull))).To(Succeed())
	for _, grant := range []*v1alpha1.Grant{bobs, toms, marys} {
		g.Eventually(w.condition(t, grant, v1alpha1.ConditionReady)).WithTimeout(waitFor).Should(HavePrefix("InForce: "), grant.Name)
	}
	g.Eventually(w.may("bob", "email", permission.Read)).WithTimeout(waitFor).Should(BeTrue())
	g.Expect(w.condition(t, bobs, v1alpha1.ConditionGranterLostAuthority)()).To(BeEmpty())
}
