package admission

import (
	"testing"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

func TestGroups_takeFullOnWhatTheyHold(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, controllers: true})
	g := NewWithT(t)
	carol := w.tenant(t, "carol", everything)
	mary, eve := w.tenant(t, "mary"), w.tenant(t, "eve")
	g.Expect(carol.Create(t.Context(), newACL("marketing", allJobs+"marketing"))).To(Succeed())
	g.Expect(carol.Create(t.Context(), newACL("super", "dcos:superuser"))).To(Succeed())
	g.Expect(carol.Create(t.Context(), newGrant("mary", "marketing", "mary", v1alpha1.ActionFull))).To(Succeed())
	g.Eventually(w.may("mary", "marketing", permission.Full)).WithTimeout(waitFor).Should(BeTrue())

	g.Expect(eve.Create(t.Context(), newGroup("empty", "eve"))).To(Succeed(), "it holds nothing")
	team := newGroup("team", "bob")
	g.Expect(mary.Create(t.Context(), team)).To(Succeed())
	g.Expect(team.Spec.GrantedBy).To(Equal(&v1alpha1.Identity{Username: "mary"}))
	toTeam := newGrant("team", "marketing", "", v1alpha1.ActionRead)
	toTeam.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: "team"}}
	g.Expect(mary.Create(t.Context(), toTeam)).To(Succeed())
	g.Eventually(w.may("bob", "marketing", permission.Read)).WithTimeout(waitFor).Should(BeTrue())

	change := func(who client.Client, members ...string) error {
		return retry.RetryOnConflict(retry.DefaultRetry, func() error { // the operator may write its status meanwhile
			group := &v1alpha1.Group{}
			if err := w.admin.Get(t.Context(), client.ObjectKey{Name: "team"}, group); err != nil {
				return err
			}
			group.Spec.Members = newGroup("", members...).Spec.Members
			return who.Update(t.Context(), group)
		})
	}
	const refusal = `user eve may not change Group "team": it takes "full" on everything that the group holds`
	g.Expect(change(eve, "bob", "eve")).To(MatchError(ContainSubstring(refusal)))
	g.Expect(change(eve)).To(MatchError(ContainSubstring(refusal)))
	g.Expect(eve.Delete(t.Context(), newGroup("team"))).To(MatchError(ContainSubstring("user eve may not delete Group")))
	g.Expect(change(mary, "bob", "ann")).To(Succeed())
	g.Eventually(w.may("ann", "marketing", permission.Read)).WithTimeout(waitFor).Should(BeTrue())

	// A superuser's group, and the last of them.
	roots := newGrant("roots", "super", "", v1alpha1.ActionFull)
	roots.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: "roots"}}
	g.Expect(carol.Create(t.Context(), newGroup("roots", "ann"))).To(Succeed())
	g.Expect(carol.Create(t.Context(), roots)).To(Succeed())
	g.Eventually(w.may("ann", "dev", permission.Full)).WithTimeout(waitFor).Should(BeTrue())
	empty := &v1alpha1.Group{}
	g.Expect(carol.Get(t.Context(), client.ObjectKey{Name: "roots"}, empty)).To(Succeed())
	empty.Spec.Members = nil
	g.Expect(carol.Update(t.Context(), empty)).To(MatchError(ContainSubstring("nobody would be a superuser for good any more")))
	g.Expect(carol.Delete(t.Context(), newGroup("roots"))).To(MatchError(ContainSubstring("nobody would be a superuser for good any more")))
	g.Expect(mary.Get(t.Context(), client.ObjectKey{Name: "roots"}, empty)).To(Succeed())
	empty.Spec.Members = newGroup("", "ann", "mary").Spec.Members
	g.Expect(mary.Update(t.Context(), empty)).To(MatchError(ContainSubstring("may not change")))
}
