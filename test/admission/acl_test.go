package admission

import (
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

func TestACLs(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	g := NewWithT(t)
	carol := w.tenant(t, "carol", everything)
	mary, eve := w.tenant(t, "mary"), w.tenant(t, "eve")
	g.Expect(carol.Create(t.Context(), newACL("marketing", allJobs+"marketing"))).To(Succeed())
	g.Expect(carol.Create(t.Context(), newGrant("mary", "marketing", "mary", v1alpha1.ActionFull))).To(Succeed())
	g.Expect(carol.Create(t.Context(), newGrant("waits", "later", "eve", v1alpha1.ActionFull))).To(Succeed())
	g.Eventually(w.may("mary", "marketing", permission.Full)).WithTimeout(waitFor).Should(BeTrue())

	g.Expect(eve.Create(t.Context(), newACL("later", "dcos:superuser"))).To(MatchError(ContainSubstring("user eve may not create ACL")))
	g.Expect(mary.Create(t.Context(), newACL("later", allJobs+"marketing.a"))).To(Succeed(), "she may give eve that")
	g.Eventually(w.may("eve", "marketing.a", permission.Full)).WithTimeout(waitFor).Should(BeTrue())
	g.Expect(mary.Create(t.Context(), newACL("twin", allJobs+"marketing"))).To(Succeed(), "two for one resource escalate nothing")
	g.Expect(mary.Create(t.Context(), newACL("broken", allJobs+"Marketing..a"))).To(MatchError(ContainSubstring("offset")))

	edit := func(who client.Client, spec string) error {
		return who.Patch(t.Context(), newACL("twin", ""), client.RawPatch(types.MergePatchType, []byte(`{"spec":{`+spec+`}}`)))
	}
	const describe, revoke = `"description":"two"`, `"onGranterLost":"Revoke"`
	g.Expect(edit(eve, describe)).To(MatchError(ContainSubstring("user eve may not describe ACL")))
	g.Expect(edit(mary, describe)).To(Succeed())
	g.Expect(edit(eve, revoke)).To(MatchError(ContainSubstring("user eve may not change ACL")))
	g.Expect(edit(mary, revoke)).To(Succeed())
	g.Expect(eve.Delete(t.Context(), newACL("twin", ""))).To(MatchError(ContainSubstring("user eve may not delete ACL")))
	g.Expect(mary.Delete(t.Context(), newACL("twin", ""))).To(Succeed())
}

// What a change does is said to whoever makes it, in numbers, and only of Jobs that they may read.
func TestWarnings(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	g := NewWithT(t)
	carol := w.tenant(t, "carol", everything)
	mary := w.tenant(t, "mary")
	for _, name := range []string{"marketing.a", "marketing.b", "marketing.c", "dev.secret"} {
		g.Expect(carol.Create(t.Context(), newJob(name))).To(Succeed())
	}
	g.Expect(carol.Create(t.Context(), newACL("marketing", allJobs+"marketing"))).To(Succeed())
	g.Expect(carol.Create(t.Context(), newGrant("mary", "marketing", "mary", v1alpha1.ActionFull))).To(Succeed())
	g.Expect(carol.Create(t.Context(), newACL("super", "dcos:superuser"))).To(Succeed())
	g.Eventually(w.may("mary", "marketing", permission.Full)).WithTimeout(waitFor).Should(BeTrue())

	two := newGrant("two", "marketing", "bob", v1alpha1.ActionUpdate)
	two.Spec.Subjects = append(two.Spec.Subjects, v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "ann"})
	mary.warnings()
	g.Eventually(func() []string {
		g.Expect(mary.Create(t.Context(), two.DeepCopy(), client.DryRunAll)).To(Succeed())
		return mary.warnings()
	}).WithTimeout(waitFor).Should(Equal([]string{"2 subjects gain update on 3 jobs"}), "a dry run says it, too")
	g.Expect(w.may("bob", "marketing.a", permission.Update)()).To(BeFalse())
	g.Expect(mary.Create(t.Context(), two)).To(Succeed())
	g.Eventually(w.may("bob", "marketing.a", permission.Update)).WithTimeout(waitFor).Should(BeTrue())
	mary.warnings()
	g.Expect(mary.Delete(t.Context(), two.DeepCopy(), client.DryRunAll)).To(Succeed())
	g.Expect(mary.warnings()).To(Equal([]string{"2 subjects lose update on 3 jobs"}))
	g.Expect(mary.Create(t.Context(), newGrant("again", "marketing", "bob", v1alpha1.ActionRun), client.DryRunAll)).To(Succeed())
	g.Expect(mary.warnings()).To(Equal([]string{"other Grants already give all of this to each of these subjects, for as long"}))
	g.Expect(mary.Create(t.Context(), newACL("none", allJobs+"marketing.none"), client.DryRunAll)).To(Succeed())
	g.Expect(mary.warnings()).To(Equal([]string{"this ACL covers no Job yet that you may read"}))

	// carol sees all by RBAC; the operator of the verb without it sees none.
	carol.warnings()
	g.Expect(carol.Create(t.Context(), newGrant("all", "super", "zoe", v1alpha1.ActionRead), client.DryRunAll)).To(Succeed())
	g.Expect(carol.warnings()).To(Equal([]string{"1 subject gains full on 4 jobs"}))
	olga := w.tenant(t, "olga", rbacv1.PolicyRule{APIGroups: []string{"grantry.dev"}, Resources: []string{"acls"}, Verbs: []string{"grant"}})
	g.Expect(olga.Create(t.Context(), newGrant("all", "super", "zoe", v1alpha1.ActionRead), client.DryRunAll)).To(Succeed())
	g.Expect(olga.warnings()).To(BeEmpty(), "she may read no Job")
	g.Expect(olga.Create(t.Context(), newACL("router", "dcos:adminrouter:acs"))).To(Succeed())
	olga.warnings()
	g.Eventually(func() []string {
		g.Expect(olga.Create(t.Context(), newGrant("r", "router", "zoe", v1alpha1.ActionRead), client.DryRunAll)).To(Succeed())
		return olga.warnings()
	}).WithTimeout(waitFor).Should(ContainElement(`spec.actions: read gives nothing on what ACL "router" protects, which knows full alone`))
}
