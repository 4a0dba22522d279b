package controllers

import (
	"fmt"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

func storyRunBeforeJob(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.runNow(t, "dev.job", "early")
	s.expectState(t, run, v1alpha1.StatePending, "Job "+s.Namespace+"/dev.job does not exist")
	s.Expect(run.OwnerReferences).To(BeEmpty())
	job := s.job(t, "dev.job", startPolicy(v1alpha1.StartOnDemand))
	s.launched(t, run)
	s.Expect(s.Get(t.Context(), client.ObjectKeyFromObject(run), run)).To(Succeed())
	s.Expect(metav1.IsControlledBy(run, job)).To(BeTrue(), "the run was adopted")
}

func storyJobMadeAnew(s *story) {
	t := s.t
	job := s.job(t, "dev.job")
	earlier := s.creationRun(t, job)
	s.expectState(t, earlier, v1alpha1.StatePending, "user alice may not")
	s.Expect(s.Delete(t.Context(), job)).To(Succeed())
	s.expectState(t, earlier, v1alpha1.StatePending, "does not exist")

	s.grant(t, "dev", v1alpha1.ActionRun)
	again := s.job(t, "dev.job")
	run := s.creationRun(t, again)
	s.Expect(run.Name).NotTo(Equal(earlier.Name))
	s.launched(t, run)
	s.expectState(t, earlier, v1alpha1.StatePending, "belongs to an earlier Job of that name")
	s.Consistently(func() *batchv1.Job { return s.child(t, earlier) }).Should(BeNil(), "a run of an earlier Job is not launched")
}

func storyInvalid(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", func(j *v1alpha1.Job) { j.Spec.Run.User = "somebody" })
	s.Eventually(s.says(t, job, v1alpha1.ConditionReady)).Should(HavePrefix("False SpecInvalid: spec.run.user: "), "the Job says what can't be honoured")
	s.Expect(meta.IsStatusConditionTrue(job.Status.Conditions, v1alpha1.ConditionStalled)).To(BeTrue())
	s.Expect(s.runs(t)).To(BeEmpty(), "its creation brings about nothing yet")

	run := s.runNow(t, job.Name, "now")
	s.expectState(t, run, v1alpha1.StateRejected, "The Job can't be launched: spec.run.user: ")
	s.nothingIsLaunched(t)

	s.change(t, job, func() { job.Spec.Run.User = "nobody" })
	s.launched(t, s.creationRun(t, job))
	s.expectState(t, run, v1alpha1.StateRejected)
}

func asTemplate(pod corev1.PodSpec) func(*v1alpha1.Job) {
	return func(job *v1alpha1.Job) {
		job.Spec.Run = nil
		job.Spec.Template = &batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: pod}}}
	}
}

func storyTemplateRefused(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	bad := corev1.PodSpec{Containers: []corev1.Container{{Name: "Not_A_Name", Image: "busybox"}}}
	run := s.creationRun(t, s.job(t, "dev.job", asTemplate(bad)))
	s.expectState(t, run, v1alpha1.StateRejected, "The API server refused the batch/v1 Job: ", "Not_A_Name")
	s.Expect(s.says(t, run, v1alpha1.ConditionReady)()).To(HavePrefix("False Rejected: "))
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning Rejected: ")), "an event tells it")
	s.nothingIsLaunched(t)
}

// sleeping is a batch/v1 Job that has nothing to do with Grantry.
func sleeping() batchv1.JobSpec {
	return batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "main", Image: "busybox"}}, RestartPolicy: corev1.RestartPolicyNever,
	}}}
}

func storyForeignChild(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	held := func(j *v1alpha1.Job) { j.Spec.Suspend = true }
	for name, labels := range map[string]map[string]string{
		"dev.plain":    nil,
		"dev.labelled": {v1alpha1.LabelRun: "forged"}, // the operator's cache shows it
	} {
		job := s.job(t, name, held)
		run := s.creationRun(t, job)
		foreign := &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: batchjob.ChildName(run), Labels: labels},
			Spec:       sleeping(),
		}
		s.Expect(s.Create(t.Context(), foreign)).To(Succeed())
		s.change(t, job, func() { job.Spec.Suspend = false })
		s.expectState(t, run, v1alpha1.StateRejected, "does not belong to the run")
		s.Expect(run.Status.Child).To(BeNil())
		s.Expect(s.child(t, run).UID).To(Equal(foreign.UID), "it is left alone")
	}
}

func storyQuota(s *story) {
	t := s.t
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/jobs.batch": resource.MustParse("0")}},
	}
	s.Expect(s.Create(t.Context(), quota)).To(Succeed())
	quota.Status.Hard = quota.Spec.Hard // play the quota controller
	quota.Status.Used = corev1.ResourceList{"count/jobs.batch": resource.MustParse("0")}
	s.Expect(s.Status().Update(t.Context(), quota)).To(Succeed())
	probe := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: "probe"}, Spec: sleeping()}
	s.Eventually(func() error { return s.Create(t.Context(), probe.DeepCopy(), client.DryRunAll) }).
		Should(MatchError(ContainSubstring("exceeded quota")), "the quota is in force")

	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	s.expectState(t, run, v1alpha1.StatePending, "The API server forbids the batch/v1 Job: ", "exceeded quota")
	s.Expect(s.says(t, run, v1alpha1.ConditionAuthorized)()).To(HavePrefix("True Granted: "), "it is not for want of a grant")

	s.Expect(s.Delete(t.Context(), quota)).To(Succeed())
	s.Eventually(func() *batchv1.Job {
		s.change(t, job, func() { job.Spec.Description += "." }) // any change makes it look again, before its time
		return s.child(t, run)
	}).Should(Not(BeNil()), "there is room")
}

func storyMany(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	const many = 20
	for i := range many {
		s.job(t, fmt.Sprintf("dev.job%d", i))
	}
	s.Eventually(func() int { return len(s.children(t)) }).Should(Equal(many), "all are launched")
	s.Consistently(func() int { return len(s.children(t)) }).Should(Equal(many), "and none twice")
}

func storyLongName(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	name := "dev"
	for len(name) < 240 {
		name += ".segment-of-it"
	}
	job := s.job(t, name)
	run := s.creationRun(t, job)
	child := s.launched(t, run)
	s.Expect(child.Annotations).To(HaveKeyWithValue(v1alpha1.AnnotationJob, name))
}
