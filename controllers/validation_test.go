package controllers

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
)

var (
	masters = &v1alpha1.Identity{Username: "root", Groups: []string{"system:masters"}}
	mary    = &v1alpha1.Identity{Username: "mary"}
)

// admittedManager runs the reconcilers of the policy as an operator with admission does, on an API server that
// has no webhooks: everything comes in past them.
func admittedManager(t *testing.T) *world {
	t.Helper()
	return startManager(t, func(mgr ctrl.Manager, store *policystore.Store) error {
		store.Rule = policystore.Rule{Admission: true}
		return SetupAll(mgr, store, Settings{Mode: ModePermissive, JobWorkers: 2, RunWorkers: 2})
	})
}

func (w *world) may(user, job string) func() bool {
	return func() bool {
		return w.Store.Snapshot().Decide(effective.Query{
			User: effective.UserSubject(user), Resource: permission.JobResource(w.Namespace, job), AnyOf: permission.Read, At: time.Now(),
		}).Allowed
	}
}

func (w *world) jobs(path string) string {
	return "dcos:service:metronome:" + w.Namespace + ":jobs:" + path
}

func message(conditions []metav1.Condition) string {
	return meta.FindStatusCondition(conditions, v1alpha1.ConditionReady).Message
}

func TestValidation_whatCameInPastAdmissionWaits(t *testing.T) {
	w := admittedManager(t)
	acl, group := makeACL(w.Name("dev"), w.jobs("dev")), makeGroup(w.Name("team"), "bob")
	grant := makeGrant(w.Name("bob"), acl.Name, "bob", v1alpha1.ActionRead)
	for _, object := range []client.Object{acl, group, grant} {
		w.create(t, object)
		w.Eventually(w.readyReason(t, object)).Should(Equal(v1alpha1.ReasonNotValidated))
	}
	w.Expect(message(acl.Status.Conditions)).To(Equal("Does not count: it came in past admission, and who wrote it is not known. " +
		"To approve it, as somebody who may write it: kubectl annotate acls.grantry.dev " + acl.Name + " grantry.dev/approve=1"))
	w.Expect(meta.IsStatusConditionTrue(grant.Status.Conditions, v1alpha1.ConditionStalled)).To(BeTrue())
	w.Expect(grant.Status.ValidatedGeneration).To(BeZero())
	w.Expect(w.may("bob", "dev")()).To(BeFalse())

	w.change(t, grant, func() { grant.Spec.GrantedBy = masters })
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonACLNotReady), "its ACL waits")
	w.change(t, grant, func() { grant.Spec.GrantedBy = mary })
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonNotValidated))
	w.Expect(message(grant.Status.Conditions)).To(ContainSubstring("user mary may not create Grant"))

	w.change(t, acl, func() { acl.Spec.GrantedBy = masters })
	w.Eventually(w.readyReason(t, acl)).Should(Equal(v1alpha1.ReasonInForce))
	w.change(t, group, func() { group.Spec.GrantedBy = mary })
	w.Eventually(w.readyReason(t, group)).Should(Equal(v1alpha1.ReasonInForce), "the group holds nothing")
	w.change(t, grant, func() { grant.Spec.GrantedBy = masters })
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonInForce))
	w.Expect(grant.Status.ValidatedGeneration).To(Equal(grant.Generation))
	w.Eventually(w.may("bob", "dev")).Should(BeTrue())
}

// Turning admission on takes nothing out of force that an operator without it has taken.
func TestValidation_whatWasThereBeforeAdmissionCounts(t *testing.T) {
	before := newWorld(t)
	acl := makeACL(before.Name("dev"), before.jobs("dev"))
	grant := makeGrant(before.Name("bob"), acl.Name, "bob", v1alpha1.ActionRead)
	before.create(t, acl)
	before.create(t, grant)
	taken := []metav1.Condition{{
		Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInForce, ObservedGeneration: 1, Message: "As it was.", LastTransitionTime: metav1.Now(),
	}}
	acl.Status.Conditions, grant.Status.Conditions = taken, taken
	before.Expect(before.Status().Update(t.Context(), acl)).To(Succeed())
	before.Expect(before.Status().Update(t.Context(), grant)).To(Succeed())

	w := admittedManager(t)
	w.Namespace = before.Namespace
	w.Expect(w.may("bob", "dev")()).To(BeTrue(), "from the first moment on")
	w.Eventually(func() int64 { w.readyReason(t, grant)(); return grant.Status.ValidatedGeneration }).Should(Equal(int64(1)))
	w.change(t, grant, func() { grant.Spec.Subjects[0].Name = "eve" })
	w.Eventually(w.readyReason(t, grant)).Should(Equal(v1alpha1.ReasonNotValidated))
	w.Expect(w.may("eve", "dev")()).To(BeFalse())
}

func TestGranters_losesAndRegainsAuthority(t *testing.T) {
	w := admittedManager(t)
	by := func(g *v1alpha1.Grant, who *v1alpha1.Identity) *v1alpha1.Grant {
		g.Spec.GrantedBy = who
		return g
	}
	acl := makeACL(w.Name("dev"), w.jobs("dev"))
	acl.Spec.GrantedBy = masters
	first := func() *v1alpha1.Grant {
		return by(makeGrant(w.Name("mary"), acl.Name, "mary", v1alpha1.ActionFull), masters)
	}
	w.create(t, acl)
	root := first()
	w.create(t, root)
	w.Eventually(w.may("mary", "dev")).Should(BeTrue())
	bob := by(makeGrant(w.Name("bob"), acl.Name, "bob", v1alpha1.ActionRead), mary)
	w.create(t, bob)
	w.Eventually(w.readyReason(t, bob)).Should(Equal(v1alpha1.ReasonInForce))
	lost := func() string {
		w.readyReason(t, bob)()
		if c := meta.FindStatusCondition(bob.Status.Conditions, v1alpha1.ConditionGranterLostAuthority); c != nil {
			return c.Reason
		}
		return ""
	}

	w.Expect(w.Delete(t.Context(), root)).To(Succeed())
	w.Eventually(lost).Should(Equal(v1alpha1.ReasonReported))
	w.Expect(w.readyReason(t, bob)()).To(Equal(v1alpha1.ReasonInForce))
	w.Expect(w.may("bob", "dev")()).To(BeTrue())
	w.Eventually(func() bool { return w.hasEvent(t, bob.Name, v1alpha1.ReasonReported) }).Should(BeTrue(), "it is told")

	w.change(t, acl, func() { acl.Spec.OnGranterLost = v1alpha1.GranterLostRevoke })
	w.Eventually(lost).Should(Equal(v1alpha1.ReasonRevoked))
	w.Eventually(w.readyReason(t, bob)).Should(Equal(v1alpha1.ReasonRevoked))
	w.Expect(bob.Status.RevokedGeneration).To(Equal(bob.Generation))
	w.Eventually(w.may("bob", "dev")).Should(BeFalse())

	w.change(t, bob, func() { bob.Spec.GrantedBy = masters })
	w.Eventually(w.readyReason(t, bob)).Should(Equal(v1alpha1.ReasonInForce), "somebody with the authority wrote it anew")
	w.change(t, bob, func() { bob.Spec.GrantedBy = mary })
	w.Eventually(w.readyReason(t, bob)).Should(Equal(v1alpha1.ReasonNotValidated))
	w.create(t, first())
	w.Eventually(w.may("mary", "dev")).Should(BeTrue())
	w.change(t, bob, func() { bob.Spec.Actions = []v1alpha1.Action{v1alpha1.ActionRead, v1alpha1.ActionRun} })
	w.Eventually(w.readyReason(t, bob)).Should(Equal(v1alpha1.ReasonInForce))
	w.Eventually(lost).Should(BeEmpty())
}

func (w *world) hasEvent(t *testing.T, name, reason string) bool {
	t.Helper()
	var events eventsv1.EventList
	w.Expect(w.List(t.Context(), &events)).To(Succeed())
	for i := range events.Items {
		if events.Items[i].Regarding.Name == name && events.Items[i].Reason == reason {
			return true
		}
	}
	return false
}

func TestReviewer_asksTheAPIServer(t *testing.T) {
	g := NewWithT(t)
	client, err := kubernetes.NewForConfig(apiServer.Require(t))
	g.Expect(err).NotTo(HaveOccurred())
	r := &reviewer{reviews: client.AuthorizationV1().SubjectAccessReviews(), clock: clock.RealClock{}}
	g.Expect(r.holdsGrant(t.Context(), masters, "dev")).To(BeTrue())
	g.Expect(r.holdsGrant(t.Context(), mary, "dev")).To(BeFalse())
}

func TestReviewer_remembersForAWhile(t *testing.T) {
	g := NewWithT(t)
	asked := 0
	var failure error
	client := fake.NewClientset()
	client.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		asked++
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		review.Status.Allowed = review.Spec.ResourceAttributes.Name == "dev"
		return true, review, failure
	})
	clk := clocktesting.NewFakeClock(policyNoon)
	r := &reviewer{reviews: client.AuthorizationV1().SubjectAccessReviews(), clock: clk}
	for range 3 {
		g.Expect(r.holdsGrant(t.Context(), mary, "dev")).To(BeTrue())
		g.Expect(r.holdsGrant(t.Context(), mary, "other")).To(BeFalse())
		g.Expect(r.holdsGrant(t.Context(), mary, "")).To(BeFalse())
	}
	g.Expect(asked).To(Equal(3), "all ACLs, dev, other")
	clk.Step(verbMemory)
	failure = errors.New("no answer")
	_, err := r.holdsGrant(t.Context(), mary, "dev")
	g.Expect(err).To(MatchError(failure))

	r.answers = map[verbQuestion]verbAnswer{}
	for i := range maxAnswers {
		r.answers[verbQuestion{who: "x", acl: strconv.Itoa(i)}] = verbAnswer{until: clk.Now()}
	}
	failure = nil
	g.Expect(r.holdsGrant(t.Context(), mary, "dev")).To(BeTrue())
	g.Expect(len(r.answers)).To(BeNumerically("<", 3), "what is out of date is forgotten")
}

// What can't be asked keeps an object as it is.
func TestValidation_anAPIServerThatDoesNotAnswerIsAnError(t *testing.T) {
	g := NewWithT(t)
	v := &validator{store: loadedStore(t), clock: clock.RealClock{}, verbs: silent{}}
	_, err := v.validate(t.Context(), makeGrant("g", "a", "bob", v1alpha1.ActionRead), mary)
	g.Expect(err).To(MatchError(ContainSubstring("ask whether mary holds the verb grant: no answer")))
	_, err = v.validate(t.Context(), &v1alpha1.Job{}, mary)
	g.Expect(err).NotTo(HaveOccurred())
	v.store = policystore.New(nil, clock.RealClock{})
	v.store.Rule.Admission = true
	g.Expect(v.validate(t.Context(), makeGrant("g", "a", "bob", v1alpha1.ActionRead), mary)).To(ContainSubstring("who may do what is not known yet"))
}

// silent is an API server that does not answer.
type silent struct{}

func (silent) holdsGrant(context.Context, *v1alpha1.Identity, string) (bool, error) {
	return false, errors.New("no answer")
}

func loadedStore(t *testing.T) *policystore.Store {
	t.Helper()
	w := startManager(t, func(ctrl.Manager, *policystore.Store) error { return nil })
	w.Store.Rule.Admission = true
	return w.Store
}

func TestGroupsOf_serviceAccountsAreInTheirs(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	g.Expect(groupsOf(&v1alpha1.Identity{Username: "system:serviceaccount:flux-system:kustomize", Groups: []string{"x"}})).To(ConsistOf(
		"system:authenticated", "x", "system:serviceaccounts", "system:serviceaccounts:flux-system"))
	g.Expect(groupsOf(mary)).To(ConsistOf("system:authenticated"))
}
