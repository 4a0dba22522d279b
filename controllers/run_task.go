package controllers

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/conditions"
)

// Bounds of what is kept of a pod.
const (
	maxTasks        = 16 // the schema takes no more
	maxReasonBytes  = 256
	maxWaitingBytes = 512
)

// runPod is what is kept of a pod of a run: whose it is, and how it stands as a task.
type runPod struct {
	metav1.ObjectMeta // namespace, name, UID, resource version
	run               types.NamespacedName
	runUID, child     types.UID
	task              v1alpha1.RunTask
	// waits says what the pod waits for, in the words of Kubernetes; empty if it does not wait.
	waits string
}

// podOfRun keeps of a pod what a run's status tells.
func podOfRun(pod *corev1.Pod) *runPod {
	kept := &runPod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion},
		run:        types.NamespacedName{Namespace: pod.Namespace, Name: pod.Annotations[v1alpha1.AnnotationRun]},
		runUID:     types.UID(pod.Labels[v1alpha1.LabelRun]),
	}
	if owner := metav1.GetControllerOf(pod); owner != nil {
		kept.child = owner.UID
	}
	kept.task, kept.waits = taskOf(pod)
	return kept
}

// taskOf is how a pod stands, and what it waits for.
func taskOf(pod *corev1.Pod) (task v1alpha1.RunTask, waits string) {
	task = v1alpha1.RunTask{Name: pod.Name, Node: pod.Spec.NodeName, State: v1alpha1.TaskWaiting}
	if !pod.CreationTimestamp.IsZero() {
		task.CreatedAt = &metav1.Time{Time: pod.CreationTimestamp.Time}
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		addContainer(&task, s)
	}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		task.State, task.Reason, task.ExitCode = v1alpha1.TaskSucceeded, "Completed", new(int32(0))
	case corev1.PodFailed:
		task.State = v1alpha1.TaskFailed
		task.Reason = cmp.Or(disruption(pod), task.Reason, pod.Status.Reason)
	case corev1.PodPending, corev1.PodRunning, corev1.PodUnknown:
		task.FinishedAt = nil // others of its containers go on, or it starts again
		switch reason, message := waitsFor(pod); {
		case reason != "":
			task.Reason, waits = reason, reason
			if message != "" {
				waits += ": " + conditions.Truncate(message, maxWaitingBytes)
			}
		case pod.Status.Phase != corev1.PodRunning:
		case len(pod.Status.ContainerStatuses) == 0, slices.ContainsFunc(pod.Status.ContainerStatuses, isRunning):
			task.State, task.Reason = v1alpha1.TaskRunning, ""
		}
	}
	task.Reason = conditions.Truncate(task.Reason, maxReasonBytes)
	return task, waits
}

// addContainer adds to a task what one of its containers has done: in this start, and in the one before it.
func addContainer(task *v1alpha1.RunTask, s corev1.ContainerStatus) {
	task.Restarts += s.RestartCount
	if s.State.Running != nil {
		task.StartedAt = earlier(task.StartedAt, s.State.Running.StartedAt)
	}
	for _, ended := range []*corev1.ContainerStateTerminated{s.LastTerminationState.Terminated, s.State.Terminated} {
		if ended == nil {
			continue
		}
		task.StartedAt = earlier(task.StartedAt, ended.StartedAt)
		last := task.FinishedAt == nil || !ended.FinishedAt.Before(task.FinishedAt)
		if last {
			task.FinishedAt = nonZero(ended.FinishedAt)
		}
		// Of those that failed the last one counts, and a failure more than a success.
		if failed := task.ExitCode != nil && *task.ExitCode != 0; ended.ExitCode != 0 && (last || !failed) || task.ExitCode == nil {
			task.ExitCode, task.Reason = new(ended.ExitCode), ended.Reason
		}
	}
}

func isRunning(s corev1.ContainerStatus) bool { return s.State.Running != nil }

// disruption is why the cluster took a pod away; empty if it did not.
func disruption(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			return c.Reason
		}
	}
	return ""
}

// waitsFor is why a pod that has not ended does not work: for a container, or for a node.
func waitsFor(pod *corev1.Pod) (reason, message string) {
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if waiting := s.State.Waiting; waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing" {
			return waiting.Reason, waiting.Message
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason, c.Message
		}
	}
	return "", ""
}

// mergedTasks are the tasks of a run: those that are known, as its pods show them now, and further pods. A pod that
// went before it was seen to end is lost.
func mergedTasks(known []v1alpha1.RunTask, pods []*runPod) []v1alpha1.RunTask {
	var tasks []v1alpha1.RunTask
	for _, before := range known {
		if !slices.ContainsFunc(pods, func(pod *runPod) bool { return pod.Name == before.Name }) {
			tasks = append(tasks, before)
		}
	}
	tasks = lost(tasks)
	for _, pod := range pods {
		task := pod.task
		if i := slices.IndexFunc(known, func(before v1alpha1.RunTask) bool { return before.Name == pod.Name }); i >= 0 {
			task.StartedAt = earliest(known[i].StartedAt, task.StartedAt) // a node forgets all starts but the last two
		}
		tasks = append(tasks, task)
	}
	slices.SortFunc(tasks, func(a, b v1alpha1.RunTask) int {
		return cmp.Or(timeOf(a.CreatedAt).Compare(timeOf(b.CreatedAt)), cmp.Compare(a.Name, b.Name))
	})
	return tasks[max(0, len(tasks)-maxTasks):]
}

// lost are tasks of pods that are gone.
func lost(tasks []v1alpha1.RunTask) []v1alpha1.RunTask {
	tasks = slices.Clone(tasks)
	for i := range tasks {
		if !hasEnded(tasks[i]) {
			tasks[i].State = v1alpha1.TaskLost
		}
	}
	return tasks
}

// endedPods are those whose end is known.
func endedPods(pods []*runPod) []*runPod {
	return slices.DeleteFunc(slices.Clone(pods), func(pod *runPod) bool { return !hasEnded(pod.task) })
}

func hasEnded(task v1alpha1.RunTask) bool {
	return task.State != v1alpha1.TaskWaiting && task.State != v1alpha1.TaskRunning
}

// lastFailed is the task that failed last, as far as its exit code is known, or nil.
func lastFailed(tasks []v1alpha1.RunTask) *v1alpha1.RunTask {
	var last *v1alpha1.RunTask
	for i := range tasks {
		task := &tasks[i]
		if task.ExitCode == nil || *task.ExitCode == 0 {
			continue
		}
		if last == nil || !timeOf(task.FinishedAt).Before(timeOf(last.FinishedAt)) {
			last = task
		}
	}
	return last
}

// earlier is the earlier of two times, of which the second is not known if it is zero.
func earlier(a *metav1.Time, b metav1.Time) *metav1.Time { return earliest(a, nonZero(b)) }

func earliest(a, b *metav1.Time) *metav1.Time {
	if a == nil || b != nil && b.Before(a) {
		return b
	}
	return a
}

func nonZero(t metav1.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
