package batchjob

import (
	"math"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// nodeBackoffSeconds is the ceiling of a node's delay between restarts of a container; it is not ours to set.
const nodeBackoffSeconds = 300

// restart says how often the work is tried. docs/spec/job.md has the table, and there is a golden file for each
// of its rows.
//
// Whatever the policy, a pod is replaced once it has ended and not before: the work is never done by two pods at
// the same time. A pod on a node that does not answer has not ended, as far as anybody knows.
func (m *mapping) restart() {
	m.out.Spec.PodReplacementPolicy = new(batchv1.Failed)
	if m.spec.Restart != nil && m.spec.Restart.Policy == "ON_FAILURE" {
		m.restartOnFailure()
		return
	}
	m.restartNever()
}

// restartNever is one attempt, so that activeDeadlineSeconds and maxLaunchDelay, which are about the attempts
// after it, hold without doing anything. A pod that the cluster took away is no attempt of the work.
func (m *mapping) restartNever() {
	job := &m.out.Spec
	m.pod.RestartPolicy = corev1.RestartPolicyNever
	job.BackoffLimit = new(int32(0))
	job.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
		Action: batchv1.PodFailurePolicyActionIgnore,
		OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
			{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
		},
	}}}
}

// restartOnFailure has the node start the container again, as often as it takes; a pod that the cluster took away
// is replaced. The limit is what the type holds: it counts both.
func (m *mapping) restartOnFailure() {
	job := &m.out.Spec
	m.pod.RestartPolicy = corev1.RestartPolicyOnFailure
	job.BackoffLimit = new(int32(math.MaxInt32))
	if deadline := m.spec.Restart.ActiveDeadlineSeconds; deadline != nil {
		job.ActiveDeadlineSeconds = new(*deadline)
	}
	if delay := m.spec.MaxLaunchDelay; delay != nil && *delay < nodeBackoffSeconds {
		m.invalid(m.path.Child("maxLaunchDelay"), *delay,
			"nodes wait up to 300 seconds between restarts, and that can't be changed: give 300 or more, or leave it out")
	}
}

// grace is the time between SIGTERM and SIGKILL. It is never 0: the API server would forget the pod before its
// node has ended the work.
func (m *mapping) grace() {
	given := m.spec.TaskKillGracePeriodSeconds
	if given == nil {
		return
	}
	if seconds, ok := m.number("taskKillGracePeriodSeconds", given, 0); ok {
		m.pod.TerminationGracePeriodSeconds = new(int64(max(1, math.Ceil(seconds))))
	}
}
