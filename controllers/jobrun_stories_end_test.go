package controllers

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

func storyFails(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	s.play(t, run, begins)
	for i, exit := range []corev1.ContainerStateTerminated{
		{ExitCode: 137, Reason: "OOMKilled", FinishedAt: metav1.NewTime(time.Now().Add(time.Minute))},
		{ExitCode: 1, Reason: "Error", FinishedAt: metav1.Now()},
	} {
		s.podThat(t, run, fmt.Sprintf("pod%d", i), func(status *corev1.PodStatus) {
			status.Phase = corev1.PodFailed
			status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Terminated: &exit}}}
		})
	}
	s.play(t, run, fails)
	s.expectState(t, run, v1alpha1.StateFailed,
		"BackoffLimitExceeded: Job has reached the specified backoff limit; the last container ended with exit code 137 (OOMKilled)")
	s.Expect(run.Status.ExitCode).To(HaveValue(Equal(int32(137))))
	s.Expect(run.Status.ExitReason).To(Equal("OOMKilled"))
	s.Expect(run.Status.FailedAttempts).To(Equal(int32(1)))
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning Failed: ")), "an event tells it")
	s.Eventually(func() *metav1.Time { s.says(t, job, "")(); return job.Status.LastFailureAt }).ShouldNot(BeNil(), "the Job says when")
	s.Expect(s.says(t, job, v1alpha1.ConditionReady)()).To(HavePrefix("True Accepted: "), "Ready never says how a run went")

	// The pods go, and the run stays readable.
	s.Expect(s.DeleteAllOf(t.Context(), &corev1.Pod{}, client.InNamespace(s.Namespace), client.GracePeriodSeconds(0))).To(Succeed())
	s.Consistently(func() []string {
		s.says(t, run, "")()
		var tasks []string
		for _, task := range run.Status.Tasks {
			tasks = append(tasks, fmt.Sprintf("%s %s %d %s", task.Name, task.State, *task.ExitCode, task.Reason))
		}
		return tasks
	}).Should(Equal([]string{"pod0 Failed 137 OOMKilled", "pod1 Failed 1 Error"}), "its tasks are told")
}

// podThat makes a pod of a run as the Job controller does, and writes its status as its node does.
func (s *story) podThat(t *testing.T, run *v1alpha1.JobRun, name string, stands func(*corev1.PodStatus)) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: name,
			Labels:          map[string]string{v1alpha1.LabelRun: string(run.UID)},
			Annotations:     map[string]string{v1alpha1.AnnotationRun: run.Name},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(s.launched(t, run), batchv1.SchemeGroupVersion.WithKind("Job"))},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}, NodeName: "node1"},
	}
	s.Expect(s.Create(t.Context(), pod)).To(Succeed())
	stands(&pod.Status)
	s.Expect(s.Status().Update(t.Context(), pod)).To(Succeed())
	return pod
}

func works(status *corev1.PodStatus) {
	status.Phase = corev1.PodRunning
	status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}}
}

// A person follows a run: what its pod waits for, that it works, and how it ended.
func storyTasks(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.creationRun(t, s.job(t, "dev.job"))
	pod := s.podThat(t, run, "pod", func(status *corev1.PodStatus) {
		status.Phase = corev1.PodPending
		status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"},
		}}}
	})
	forged := pod.DeepCopy()
	forged.ObjectMeta = metav1.ObjectMeta{Namespace: s.Namespace, Name: "forged", Labels: pod.Labels, Annotations: pod.Annotations}
	s.Expect(s.Create(t.Context(), forged)).To(Succeed())
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateStarting, "Pod pod waits to start: ImagePullBackOff: no such image")
	s.Expect(run.Status.Tasks).To(HaveLen(1), "a pod that the child does not control is none of its tasks")
	s.Expect(run.Status.Tasks[0]).To(And(HaveField("State", v1alpha1.TaskWaiting), HaveField("Node", "node1"), HaveField("Reason", "ImagePullBackOff")))

	s.change(t, pod, func() {}) // its resource version
	works(&pod.Status)
	s.Expect(s.Status().Update(t.Context(), pod)).To(Succeed())
	s.expectState(t, run, v1alpha1.StateActive, "At work")
	s.Eventually(func() v1alpha1.TaskState { s.says(t, run, "")(); return run.Status.Tasks[0].State }).Should(Equal(v1alpha1.TaskRunning), "the task works")
	s.Expect(run.Status.Tasks[0].StartedAt).NotTo(BeNil())

	pod.Status.Phase = corev1.PodSucceeded
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason: "Completed", StartedAt: *run.Status.Tasks[0].StartedAt, FinishedAt: metav1.Now(),
	}}
	s.Expect(s.Status().Update(t.Context(), pod)).To(Succeed())
	s.play(t, run, succeeds)
	s.expectState(t, run, v1alpha1.StateSuccess)
	s.Expect(run.Status.Tasks[0]).To(And(HaveField("State", v1alpha1.TaskSucceeded), HaveField("ExitCode", HaveValue(BeZero())), HaveField("FinishedAt", Not(BeNil()))))

	s.change(t, run, func() { run.Spec.Stop = true })
	s.Eventually(func() int64 { s.expectState(t, run, v1alpha1.StateSuccess); return run.Status.ObservedGeneration }).
		Should(Equal(int64(2)), "to stop it changes nothing, and has been heard")
}

// A run is stopped, and stays in the history: while its pod ends, its Job has an active run, and then one that failed.
func storyStop(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	pod := s.podThat(t, run, "pod", works)
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)

	bob := &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "bob"} // as admission writes it down
	s.change(t, run, func() { run.Spec.Stop, run.Spec.StoppedBy = true, bob })
	s.expectState(t, run, v1alpha1.StateActive, "Being stopped by User bob: its pods are ending")
	s.Eventually(func() []string { return s.child(t, run).Finalizers }).Should(ContainElement(metav1.FinalizerDeleteDependents), "the child goes when its pods have")
	s.Expect(isFinished(run)).To(BeFalse(), "it has not ended before its pods")
	s.Eventually(func() int32 { s.says(t, job, "")(); return job.Status.ActiveRuns }).Should(Equal(int32(1)), "the Job has an active run")

	// Play the node and the garbage collector.
	s.change(t, pod, func() {})
	pod.Status.Phase = corev1.PodFailed
	pod.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 143, Reason: "Error", FinishedAt: metav1.Now()}}
	s.Expect(s.Status().Update(t.Context(), pod)).To(Succeed())
	s.Expect(s.Delete(t.Context(), pod, client.GracePeriodSeconds(0))).To(Succeed())
	child := s.child(t, run)
	s.change(t, child, func() { child.Finalizers = nil })

	s.expectState(t, run, v1alpha1.StateStopped, "Stopped by User bob")
	s.Expect(run.Status.Tasks).To(HaveExactElements(And(HaveField("State", v1alpha1.TaskFailed), HaveField("ExitCode", HaveValue(Equal(int32(143)))))), "its tasks say how they ended")
	s.Expect(run.Status.ExitCode).To(HaveValue(Equal(int32(143))))
	s.Eventually(func() string {
		s.says(t, job, "")()
		return fmt.Sprintf("%d active, %d succeeded, %d failed, last %s", job.Status.ActiveRuns, job.Status.SuccessCount, job.Status.FailureCount, job.Status.LastRun.State)
	}).Should(Equal("0 active, 0 succeeded, 1 failed, last Stopped"), "the Job counts it as Metronome does")
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement("Normal Stopped: Stopped by User bob"), "an event tells it")
	s.nothingIsLaunched(t)
}

// A person's run heeds no schedule, no concurrency policy and no dependency, as in Metronome.
func storyByHand(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	scheduled := s.job(t, "dev.scheduled", func(j *v1alpha1.Job) {
		j.Spec.Schedules = []v1alpha1.Schedule{{ID: "newyear", Cron: "0 0 1 1 *", ConcurrencyPolicy: v1alpha1.ConcurrencyForbid, Enabled: new(false)}}
	})
	s.job(t, "dev.parent", startPolicy(v1alpha1.StartOnDemand))
	dependent := s.job(t, "dev.dependent", dependsOn("dev.parent"))
	for _, job := range []*v1alpha1.Job{scheduled, dependent} {
		for i := range 2 {
			run := s.runNow(t, job.Name, fmt.Sprintf("%s-by-hand%d", job.Name, i))
			s.play(t, run, begins)
			s.expectState(t, run, v1alpha1.StateActive)
		}
	}
}

// A run that waits is stopped: it has ended, and a Grant does not launch it any more.
func storyStopWaiting(s *story) {
	t := s.t
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	s.expectState(t, run, v1alpha1.StatePending, "user alice may not")
	s.change(t, run, func() { run.Spec.Stop = true })
	s.expectState(t, run, v1alpha1.StateStopped, "Stopped before it was launched")
	s.Expect(s.says(t, run, v1alpha1.ConditionReady)()).To(HavePrefix("False Stopped: "))
	s.grant(t, "dev", v1alpha1.ActionRun)
	s.Eventually(s.says(t, job, v1alpha1.ConditionAuthorized)).Should(HavePrefix("True Granted: "), "the Grant is in force")
	s.nothingIsLaunched(t)
	s.Expect(s.says(t, run, v1alpha1.ConditionSucceeded)()).To(HavePrefix("False Stopped: "))
}

func storyChildDeleted(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.creationRun(t, s.job(t, "dev.job"))
	s.play(t, run, begins)
	s.expectState(t, run, v1alpha1.StateActive)
	s.Expect(s.Delete(t.Context(), s.child(t, run), client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	s.expectState(t, run, v1alpha1.StateFailed, "was deleted before it ended; set spec.stop of the JobRun to stop a run")
	s.nothingIsLaunched(t)
	s.Eventually(func() []string { return s.events(t, run) }).Should(ContainElement(HavePrefix("Warning Failed: ")), "an event tells it")
}

// A child that goes before the run's status tells of it was launched all the same.
func storyChildDeletedAtOnce(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	run := s.creationRun(t, s.job(t, "dev.job"))
	s.Expect(s.Delete(t.Context(), s.launched(t, run), client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	s.expectState(t, run, v1alpha1.StateFailed, "was deleted before it ended")
	s.nothingIsLaunched(t)
}

func storyRunDeleted(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job")
	run := s.creationRun(t, job)
	child := s.launched(t, run)
	owner := metav1.GetControllerOf(child)
	s.Expect(owner.BlockOwnerDeletion).To(HaveValue(BeTrue()), "foreground deletion waits for the child")
	s.Expect(s.Delete(t.Context(), run)).To(Succeed())
	s.Expect(s.Delete(t.Context(), child, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed(), "play the garbage collector")
	s.Eventually(func() int32 { s.says(t, job, "")(); return job.Status.ActiveRuns }).Should(BeZero(), "the Job counts it no more")
	s.nothingIsLaunched(t)
	s.Expect(s.runs(t)).To(BeEmpty())
}

func storyHistory(s *story) {
	t := s.t
	s.grant(t, "dev", v1alpha1.ActionRun)
	job := s.job(t, "dev.job", startPolicy(v1alpha1.StartOnDemand), func(j *v1alpha1.Job) {
		j.Spec.SuccessfulRunsHistoryLimit, j.Spec.FailedRunsHistoryLimit = new(int32(1)), new(int32(0))
	})
	var kept *v1alpha1.JobRun
	for i, end := range []func(*batchv1.JobStatus){succeeds, fails, succeeds} {
		kept = s.runNow(t, job.Name, fmt.Sprintf("run%d", i))
		later := metav1.NewTime(time.Now().Add(time.Duration(i+1) * time.Minute)) // runs end in different seconds
		s.play(t, kept, begins, end, func(status *batchv1.JobStatus) {
			if status.CompletionTime != nil {
				status.CompletionTime = &later
			}
		})
	}
	s.Eventually(func() []string { return names(s.runs(t)) }).Should(Equal([]string{kept.Name}), "one success is kept, and no failure")
	s.Eventually(func() *metav1.Time { s.says(t, job, "")(); return job.Status.LastFailureAt }).ShouldNot(BeNil(), "the time of the failure outlives it")
}
