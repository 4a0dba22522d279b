package controllers

import (
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"

	"github.com/grantry/grantry/api/v1alpha1"
)

// revoke launches a run, and takes the Grant away while it is at work.
func (s *story) revoke(t *testing.T, policy v1alpha1.RevokePolicy) (*v1alpha1.Job, *v1alpha1.JobRun) {
	t.Helper()
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", onRevoke(policy))
	run := s.creationRun(t, job)
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.Expect(s.Delete(t.Context(), grant)).To(Succeed())
	s.Eventually(s.says(t, run, v1alpha1.ConditionAuthorized)).Should(HavePrefix("False NotGranted: "), "the run says that permission went")
	return job, run
}

func storyRevokeFinish(s *story) {
	t := s.t
	job, run := s.revoke(t, v1alpha1.RevokeFinish)
	s.Consistently(func() bool { return isSuspended(s.child(t, run)) }).Should(BeFalse(), "it goes on")
	next := s.runNow(t, job.Name, "next")
	s.expectState(t, next, v1alpha1.StatePending, "user alice may not")
	s.play(t, run, succeeds)
	s.expectState(t, run, v1alpha1.StateSuccess)
	s.Expect(s.child(t, next)).To(BeNil(), "the next run is not launched")
}

func storyRevokeSuspend(s *story) {
	t := s.t
	_, run := s.revoke(t, v1alpha1.RevokeSuspend)
	s.expectState(t, run, v1alpha1.StateSuspended, "onRevoke: Suspend")
	suspended := func() bool { return isSuspended(s.child(t, run)) }
	s.Eventually(suspended).Should(BeTrue(), "the child is suspended")
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning Suspended: ")), "an event tells it")

	// Nobody but Grantry resumes it.
	child := s.child(t, run)
	s.change(t, child, func() { child.Spec.Suspend = new(false) })
	s.Eventually(suspended).Should(BeTrue(), "the child is suspended again")

	s.grantBack(t)
	s.Eventually(suspended).Should(BeFalse(), "the child is resumed")
	s.Expect(s.child(t, run).Annotations).NotTo(HaveKey(v1alpha1.AnnotationSuspendedByRevocation))
	s.expectState(t, run, v1alpha1.StateActive)
	s.play(t, run, succeeds)
	s.expectState(t, run, v1alpha1.StateSuccess)
}

func storyRevokeDelete(s *story) {
	t := s.t
	_, run := s.revoke(t, v1alpha1.RevokeDelete)
	s.expectState(t, run, v1alpha1.StateRevoked, "onRevoke: Delete")
	s.Eventually(func() *batchv1.Job { return s.child(t, run) }).Should(BeNil(), "the child is deleted")
	s.grantBack(t)
	s.nothingIsLaunched(t)
	s.expectState(t, run, v1alpha1.StateRevoked)
}

// grantBack gives alice her Grant on dev again, and returns when it is in force.
func (s *story) grantBack(t *testing.T) {
	t.Helper()
	back := makeGrant(s.Name("back"), s.Name("dev"), "alice", v1alpha1.ActionRun)
	s.create(t, back)
	s.Eventually(func() bool { _, known := s.Store.Snapshot().GrantNamed(back.Name); return known }).Should(BeTrue(), "the Grant is in force")
}
