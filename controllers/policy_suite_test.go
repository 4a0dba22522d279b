package controllers

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/policystore"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// policyManager runs the three reconcilers of the policy.
func policyManager(t *testing.T) *world {
	t.Helper()
	return startManager(t, func(mgr ctrl.Manager, store *policystore.Store) error {
		for _, r := range []interface {
			SetupWithManager(ctrl.Manager, int) error
		}{
			&ACLReconciler{Client: mgr.GetClient(), Clock: clock.RealClock{}, Store: store},
			&GrantReconciler{Client: mgr.GetClient(), Clock: clock.RealClock{}},
			&GroupReconciler{Client: mgr.GetClient(), Clock: clock.RealClock{}},
		} {
			if err := r.SetupWithManager(mgr, 2); err != nil {
				return err
			}
		}
		return nil
	})
}

func makeACL(name, resource string) *v1alpha1.ACL {
	return &v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ACLSpec{Resource: resource}}
}

func makeGrant(name, acl, user string, actions ...v1alpha1.Action) *v1alpha1.Grant {
	return &v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.GrantSpec{
		ACL: acl, Actions: actions,
		Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: user}},
	}}
}

func makeGroup(name string, users ...string) *v1alpha1.Group {
	group := &v1alpha1.Group{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, user := range users {
		group.Spec.Members = append(group.Spec.Members, v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: user})
	}
	return group
}

// readyReason reads the object anew and returns the reason of its Ready condition, once the status
// speaks of the present generation.
func (w *world) readyReason(t *testing.T, obj client.Object) func() string {
	t.Helper()
	return func() string {
		if err := w.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err.Error()
		}
		ready := grantrytesting.Condition(t, obj, v1alpha1.ConditionReady)
		if ready == nil || ready.ObservedGeneration != obj.GetGeneration() {
			return ""
		}
		grantrytesting.CheckConditions(t, obj)
		return ready.Reason
	}
}

func TestPolicy_aGrantWaitsForItsACL(t *testing.T) {
	w := policyManager(t)
	grant := makeGrant(w.Name("alice"), w.Name("dev"), "alice", v1alpha1.ActionRead)
	w.create(t, grant)
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonACLNotFound))

	acl := makeACL(w.Name("dev"), "dcos:service:metronome:"+w.Namespace+":jobs:/dev/batch/")
	w.create(t, acl)
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonInForce))
	w.Expect(grant.Status.Resource).To(Equal("dcos:service:metronome:" + w.Namespace + ":jobs:dev.batch"))
	w.Expect(grant.Status.EffectiveUntil).To(BeNil())
	w.Eventually(w.readyReason(t, acl)).Should(Equal(v1alpha1.ReasonInForce))
	w.Expect(acl.Status.Resource).To(Equal(grant.Status.Resource))

	w.Expect(w.Delete(t.Context(), acl)).To(Succeed())
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonACLNotFound))
	w.Expect(grant.Status.Resource).To(BeEmpty())
}

func TestPolicy_anACLThatIsHeldByAFinalizerCountsNoMore(t *testing.T) {
	w := policyManager(t)
	acl := makeACL(w.Name("dev"), "dcos:service:metronome:"+w.Namespace+":jobs:dev")
	acl.Finalizers = []string{"example.com/hold"}
	w.Expect(w.Create(t.Context(), acl)).To(Succeed())
	grant := makeGrant(w.Name("alice"), acl.Name, "alice", v1alpha1.ActionRead)
	w.create(t, grant)
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonInForce))

	w.Expect(w.Delete(t.Context(), acl)).To(Succeed())
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonACLNotFound))

	w.change(t, acl, func() { acl.Finalizers = nil })
}

func TestPolicy_aMalformedACLTellsWhereAndItsGrantsTellIt(t *testing.T) {
	w := policyManager(t)
	acl := makeACL(w.Name("bad"), "dcos:service:metronome:"+w.Namespace+":jobs:dev..batch")
	w.create(t, acl)
	grant := makeGrant(w.Name("alice"), acl.Name, "alice", v1alpha1.ActionRead)
	w.create(t, grant)

	w.Eventually(w.readyReason(t, acl)).Should(Equal(v1alpha1.ReasonResourceMalformed))
	w.Expect(meta.IsStatusConditionTrue(acl.Status.Conditions, v1alpha1.ConditionStalled)).To(BeTrue())
	w.Expect(meta.FindStatusCondition(acl.Status.Conditions, v1alpha1.ConditionReady).Message).To(ContainSubstring("offset"))
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonACLNotReady))
	w.Eventually(func() int32 { w.readyReason(t, acl)(); return acl.Status.Grants }).Should(Equal(int32(1)))
}

func TestPolicy_aWindowOpensAndClosesByItself(t *testing.T) {
	w := policyManager(t)
	w.create(t, makeACL(w.Name("dev"), "dcos:service:metronome:"+w.Namespace+":jobs:dev"))
	opens := metav1.NewTime(time.Now().Add(2 * time.Second).Truncate(time.Second))
	closes := metav1.NewTime(opens.Add(2 * time.Second))
	grant := makeGrant(w.Name("alice"), w.Name("dev"), "alice", v1alpha1.ActionRead)
	grant.Spec.NotBefore, grant.Spec.ExpiresAt = &opens, &closes
	w.create(t, grant)

	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonNotYetInForce))
	w.Expect(grant.Status.EffectiveUntil).To(BeNil())
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonInForce))
	w.Expect(time.Now()).To(BeTemporally(">=", opens.Time))
	w.Expect(grant.Status.EffectiveUntil.Time).To(BeTemporally("==", closes.Time))
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonExpired))
	w.Expect(time.Now()).To(BeTemporally(">=", closes.Time))
	w.Expect(time.Now()).To(BeTemporally("<", closes.Add(time.Second)), "the status changes at the edge, not some time after")
	w.Expect(grant.Status.EffectiveUntil).To(BeNil())
}

func TestPolicy_anACLCountsItsGrantsAndSubjects(t *testing.T) {
	w := policyManager(t)
	acl, other := makeACL(w.Name("dev"), "dcos:adminrouter:ops:"+w.Namespace), makeACL(w.Name("ops"), "dcos:adminrouter:x:"+w.Namespace)
	w.create(t, acl)
	w.create(t, other)
	counts := func(acl *v1alpha1.ACL) func() string {
		return func() string {
			w.readyReason(t, acl)()
			return fmt.Sprintf("%d grants, %d subjects", acl.Status.Grants, acl.Status.Subjects)
		}
	}
	alice := makeGrant(w.Name("alice"), acl.Name, "alice", v1alpha1.ActionFull)
	w.create(t, alice)
	again := makeGrant(w.Name("alice-again"), acl.Name, "alice", v1alpha1.ActionFull)
	w.create(t, again)
	w.create(t, makeGrant(w.Name("bob"), acl.Name, "bob", v1alpha1.ActionFull))
	w.Eventually(counts(acl)).Should(Equal("3 grants, 2 subjects"))

	w.change(t, again, func() { again.Spec.ACL = other.Name })
	w.Eventually(counts(acl)).Should(Equal("2 grants, 2 subjects"))
	w.Eventually(counts(other)).Should(Equal("1 grants, 1 subjects"))

	w.Expect(w.Delete(t.Context(), again)).To(Succeed())
	w.Eventually(counts(other)).Should(Equal("0 grants, 0 subjects"))
}

func TestPolicy_aBulkLoadWritesAnACLAboutOnceASecond(t *testing.T) {
	w := policyManager(t)
	acl := makeACL(w.Name("dev"), "dcos:adminrouter:ops:"+w.Namespace)
	w.create(t, acl)
	w.Eventually(w.readyReason(t, acl)).Should(Equal(v1alpha1.ReasonInForce))
	watcher, err := client.NewWithWatch(apiServer.Require(t), client.Options{Scheme: grantrytesting.Scheme})
	w.Expect(err).NotTo(HaveOccurred())
	events, err := watcher.Watch(t.Context(), &v1alpha1.ACLList{}, client.MatchingFields{"metadata.name": acl.Name},
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: acl.ResourceVersion}})
	w.Expect(err).NotTo(HaveOccurred())
	defer events.Stop()

	const grants = 300
	started := time.Now()
	for i := range grants {
		w.create(t, makeGrant(w.Name(fmt.Sprintf("g%d", i)), acl.Name, "alice", v1alpha1.ActionFull))
	}
	writes := 0
	for acl.Status.Grants < grants {
		select {
		case e := <-events.ResultChan():
			acl = e.Object.(*v1alpha1.ACL)
			writes++
		case <-time.After(waitFor):
			t.Fatalf("the ACL counts %d Grants, want %d", acl.Status.Grants, grants)
		}
	}
	took := time.Since(started)
	t.Logf("%d Grants in %v: %d writes of the ACL", grants, took.Round(time.Millisecond), writes)
	w.Expect(writes).To(BeNumerically("<=", int(took/aclCountDelay)+1))
}

func TestPolicy_aGroupCountsItsMembers(t *testing.T) {
	w := policyManager(t)
	group := makeGroup(w.Name("devs"), "alice", "bob", "alice")
	w.create(t, group)
	w.Eventually(w.readyReason(t, group)).Should(Equal(v1alpha1.ReasonInForce))
	w.Expect(group.Status.Members).To(Equal(int32(2)))

	w.change(t, group, func() {
		group.Spec.Members = []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: " "}}
	})
	w.Eventually(w.readyReason(t, group)).Should(Equal(v1alpha1.ReasonSubjectEmpty))
	w.Expect(group.Status.Members).To(BeZero())
}

func TestPolicy_aStatusIsWrittenOnce(t *testing.T) {
	w := policyManager(t)
	acl := makeACL(w.Name("dev"), "dcos:service:metronome:"+w.Namespace+":jobs")
	grant := makeGrant(w.Name("alice"), acl.Name, "alice", v1alpha1.ActionRead)
	w.create(t, acl)
	w.create(t, grant)
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonInForce))
	w.Eventually(func() int32 { w.readyReason(t, acl)(); return acl.Status.Grants }).Should(Equal(int32(1)))
	written := grant.ResourceVersion
	w.Consistently(func() string { w.readyReason(t, grant)(); return grant.ResourceVersion }).Should(Equal(written))
	written = acl.ResourceVersion
	w.Consistently(func() string { w.readyReason(t, acl)(); return acl.ResourceVersion }).Should(Equal(written))
}
