package controllers

import (
	"fmt"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

func storyOnCreate(s *story) {
	t := s.t
	grant := s.grant(t, "dev.batch", v1alpha1.ActionRun)
	job := s.job(t, "dev.batch.job1", func(j *v1alpha1.Job) { j.Spec.Run.CPUs = new(0.01) })
	run := s.creationRun(t, job)
	s.Expect(run.Spec.Trigger).To(Equal(v1alpha1.TriggerCreation))
	s.Expect(metav1.IsControlledBy(run, job)).To(BeTrue(), "the run goes with its Job")

	child := s.launched(t, run)
	s.Expect(metav1.IsControlledBy(child, run)).To(BeTrue(), "the child goes with its run")
	s.Expect(child.Labels).To(HaveKeyWithValue(v1alpha1.LabelRun, string(run.UID)))
	s.Expect(child.Spec.Template.Labels).To(HaveKey("in.grantry.dev/dev.batch"))
	s.Expect(child.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationGrant, grant.Name))
	s.Expect(child.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationACL, grant.Spec.ACL))
	s.Expect(child.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationOwner, "User alice"))

	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.Expect(run.Status.Grant).To(Equal(grant.Name))
	s.Expect(run.Status.StartedAt).NotTo(BeNil())
	s.Expect(s.says(t, run, v1alpha1.ConditionAuthorized)()).To(Equal("True Granted: Allowed by Grant " + grant.Name + " on ACL " + grant.Spec.ACL))

	s.play(t, run, succeeds)
	s.expectState(t, run, v1alpha1.StateSuccess)
	s.Expect(run.Status.ExitCode).To(HaveValue(Equal(int32(0))))
	s.Eventually(func() string {
		s.Expect(s.Get(t.Context(), client.ObjectKeyFromObject(job), job)).To(Succeed())
		last := *job.Status.LastRun
		return fmt.Sprintf("%d active, last %s %s at %v, by %s", job.Status.ActiveRuns, last.Name, last.State, job.Status.LastSuccessAt, job.Status.Grant)
	}).Should(Equal(fmt.Sprintf("0 active, last %s Success at %v, by %s", run.Name, run.Status.FinishedAt, grant.Name)), "the Job sums up")
	s.Expect(s.says(t, job, v1alpha1.ConditionReady)()).To(HavePrefix("True Accepted: "))

	// Neither an edit nor the end of its run brings about another.
	s.change(t, job, func() { job.Spec.Description = "edited" })
	s.Expect(s.Delete(t.Context(), run)).To(Succeed())
	s.Eventually(func() int64 { s.says(t, job, "")(); return job.Status.ObservedGeneration }).Should(Equal(job.Generation), "the edit is seen")
	s.Consistently(func() int { return len(s.runs(t)) }).Should(BeZero(), "a Job is created once")
}

func storyOnDemand(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", startPolicy(v1alpha1.StartOnDemand))
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("True Accepted: "), "the Job is accepted")
	s.Consistently(func() int { return len(s.runs(t)) }).Should(BeZero(), "it does not run by itself")

	run := s.runNow(t, job.Name, "now", func(r *v1alpha1.JobRun) { r.Labels = map[string]string{"mine": "kept"} })
	s.launched(t, run)
	s.Expect(s.Get(t.Context(), client.ObjectKeyFromObject(run), run)).To(Succeed())
	s.Expect(run.Spec.Trigger).To(Equal(v1alpha1.TriggerUser))
	s.Expect(metav1.IsControlledBy(run, job)).To(BeTrue(), "the run was adopted")
	s.Expect(run.Labels).To(And(
		HaveKey("in.grantry.dev/dev"), HaveKey("in.grantry.dev/dev.job"), HaveKeyWithValue(v1alpha1.LabelJob, string(job.UID)),
		HaveKeyWithValue("mine", "kept")))
}

func storyOwnerMissing(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionFull)
	job := s.job(t, "dev.job", noOwner)
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("False OwnerMissing: The Job has no owner"), "the Job says so")
	run := s.creationRun(t, job)
	s.expectState(t, run, v1alpha1.StatePending, "set spec.owner")
	s.Expect(s.says(t, run, v1alpha1.ConditionAuthorized)()).To(HavePrefix("False OwnerMissing: "))
	s.nothingIsLaunched(t)
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning OwnerMissing: ")), "an event tells it")

	s.change(t, job, func() { ownedBy(v1alpha1.UserSubject, "", "alice")(job) })
	s.launched(t, run)
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("True Accepted: "), "the Job is accepted")
}

func storyGrantArrives(s *story) {
	t := s.t
	s.grant(t, "other", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	s.waits(t, run, "closest is Grant "+s.Name("alice-other"))
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("False NotGranted: "), "the Job says so, too")
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning NotGranted: ")), "an event tells it")

	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	s.launched(t, run)
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("True Granted: "), "the Job says so")
	s.Expect(job.Status.Grant).To(Equal(grant.Name))
}

func storyOnlyRead(s *story) {
	t := s.t
	grant := s.grant(t, "dev", v1alpha1.ActionRead, v1alpha1.ActionDelete)
	run := s.creationRun(t, s.job(t, "dev.job"))
	s.waits(t, run, `gives "read" and "delete"`)
	s.change(t, grant, func() { grant.Spec.Actions = append(grant.Spec.Actions, v1alpha1.ActionUpdate) })
	s.launched(t, run)
}

func storySegment(s *story) {
	t := s.t
	s.grant(t, "dev.batch", v1alpha1.ActionFull)
	run := s.creationRun(t, s.job(t, "dev.batchx"))
	s.waits(t, run, "on jobs dev.batch in")
	s.launched(t, s.creationRun(t, s.job(t, "dev.batch.x")))
}

func storyACLDeleted(s *story) {
	t := s.t
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", startPolicy(v1alpha1.StartOnDemand))
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("True Granted: "), "it is allowed at first")

	s.Expect(s.Delete(t.Context(), makeACL(grant.Spec.ACL, ""))).To(Succeed())
	run := s.runNow(t, job.Name, "now")
	s.waits(t, run, "names ACL "+grant.Spec.ACL+", which does not exist or can't be read")
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("False NotGranted: "), "the Job says so, too")
	s.acl(t, "dev")
	s.launched(t, run)
}

func storyWindowOpens(s *story) {
	t := s.t
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	s.change(t, grant, func() { grant.Spec.NotBefore = new(metav1.NewTime(time.Now().Add(time.Hour))) })
	run := s.creationRun(t, s.job(t, "dev.job"))
	s.waits(t, run, "its window opens at")
	var opens metav1.Time
	s.change(t, grant, func() {
		opens = metav1.NewTime(time.Now().Add(2 * time.Second).Truncate(time.Second))
		grant.Spec.NotBefore = &opens
	})
	child := s.launched(t, run)
	s.Expect(child.CreationTimestamp.Time).To(BeTemporally(">=", opens.Time), "not before the window opens")
}

func storyWindowCloses(s *story) {
	t := s.t
	grant := s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", onRevoke(v1alpha1.RevokeSuspend))
	run := s.creationRun(t, job)
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.change(t, grant, func() {
		grant.Spec.ExpiresAt = new(metav1.NewTime(time.Now().Add(2 * time.Second).Truncate(time.Second)))
	})
	s.expectState(t, run, v1alpha1.StateSuspended, "but expired at")
	s.Eventually(func() bool { return isSuspended(s.child(t, run)) }).Should(BeTrue(), "the running work is suspended at the edge")

	late := s.runNow(t, job.Name, "late")
	s.expectState(t, late, v1alpha1.StatePending, "but expired at")
	s.Consistently(func() *batchv1.Job { return s.child(t, late) }).Should(BeNil(), "a run after the window is not launched")
}

func storyMemberLeaves(s *story) {
	t := s.t
	acl := s.acl(t, "dev")
	group := makeGroup(s.Name("devs"), "alice", "bob")
	s.create(t, group)
	grant := makeGrant(s.Name("devs"), acl.Name, "", v1alpha1.ActionRun)
	grant.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: group.Name}}
	s.create(t, grant)
	job := s.job(t, "dev.job")
	s.launched(t, s.creationRun(t, job))

	s.change(t, group, func() { group.Spec.Members = group.Spec.Members[1:] })
	run := s.runNow(t, job.Name, "next")
	s.expectState(t, run, v1alpha1.StatePending, "no grant of the user or of its groups comes near")
	s.Consistently(func() *batchv1.Job { return s.child(t, run) }).Should(BeNil(), "the next run is not launched")
}

func storyServiceAccount(s *story) {
	t := s.t
	acl := s.acl(t, "dev")
	grant := makeGrant(s.Name("ci"), acl.Name, "", v1alpha1.ActionCreate)
	grant.Spec.Subjects = []v1alpha1.Subject{{Kind: v1alpha1.GroupSubject, Name: "system:serviceaccounts:" + s.Namespace}}
	s.create(t, grant)
	job := s.job(t, "dev.job", ownedBy(v1alpha1.ServiceAccountSubject, s.Namespace, "deployer"))
	child := s.launched(t, s.creationRun(t, job))
	s.Expect(child.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationOwner, "ServiceAccount "+s.Namespace+"/deployer"))

	other := s.job(t, "dev.other", ownedBy(v1alpha1.ServiceAccountSubject, "elsewhere", "deployer"))
	run := s.creationRun(t, other)
	s.expectState(t, run, v1alpha1.StatePending, "system:serviceaccount:elsewhere:deployer")
	s.Consistently(func() *batchv1.Job { return s.child(t, run) }).Should(BeNil(), "another namespace's is not in the group")
}

func storySuspend(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", func(j *v1alpha1.Job) { j.Spec.Suspend = true })
	run := s.creationRun(t, job)
	s.expectState(t, run, v1alpha1.StatePending, "spec.suspend")
	s.Expect(s.says(t, run, v1alpha1.ConditionAuthorized)()).To(HavePrefix("True Granted: "))
	s.nothingIsLaunched(t)

	s.change(t, job, func() { job.Spec.Suspend = false })
	s.play(t, run, begins)
	s.change(t, job, func() { job.Spec.Suspend = true })
	s.expectState(t, run, v1alpha1.StateActive)
	s.Expect(isSuspended(s.child(t, run))).To(BeFalse(), "what was launched goes on")
}

func storyDeadline(s *story) {
	t := s.t
	job := s.job(t, "dev.job", startPolicy(v1alpha1.StartOnDemand))
	run := s.runNow(t, job.Name, "now", withDeadline(1))
	s.expectState(t, run, v1alpha1.StateStartingDeadlineExceeded, "Not launched within 1 seconds: user alice may not")
	s.Expect(s.says(t, run, v1alpha1.ConditionReady)()).To(HavePrefix("False Rejected: "))
	s.Eventually(func() []string { return s.events(t, run) }).
		Should(ContainElement(HavePrefix("Warning StartingDeadlineExceeded: ")), "an event tells of a run that has no child")

	s.grant(t, "dev", v1alpha1.ActionRun)
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("True Granted: "), "the Grant is in force")
	s.nothingIsLaunched(t)
	s.Expect(s.says(t, run, v1alpha1.ConditionSucceeded)()).To(HavePrefix("False StartingDeadlineExceeded: "))
}
