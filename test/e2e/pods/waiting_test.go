//go:build e2e

package pods

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// gpu is the extended resource that gpus ask for by default.
const gpu = corev1.ResourceName("nvidia.com/gpu")

// defineWaiting creates Jobs that can't be at work yet.
func (s *site) defineWaiting(t *testing.T) {
	t.Helper()
	for name, run := range map[string]string{
		"on-rack-2":        `{placement: {constraints: [{attribute: rack, operator: IS, value: r2}]}, cmd: echo here}`,
		"like-rack-2":      `{placement: {constraints: [{attribute: rack, operator: LIKE, value: "r[2-3]"}]}, cmd: echo here}`,
		"on-another-node":  `{placement: {constraints: [{attribute: hostname, operator: UNLIKE, value: $NODE}]}, cmd: echo here}`,
		"disk":             `{disk: 16, cmd: echo here}`,
		"gpus":             `{ucr: {image: {id: "` + image + `"}}, gpus: 2, cmd: echo here}`,
		"secret-of-later":  `{env: {LATE: {secret: late}}, secrets: {late: {source: team/late}}, cmd: echo "$LATE"}`,
		"pulled-each-time": `{docker: {image: "` + image + `", forcePullImage: true}, cmd: echo never}`,
	} {
		s.define(t, "team."+name, run)
	}
}

// tryWaiting gives each what it waits for, where that can be had.
func (s *site) tryWaiting(t *testing.T) {
	t.Helper()
	t.Run("an image that must be pulled is not taken from the node", func(t *testing.T) {
		s.waits(t, "team.pulled-each-time", "Pull", "ErrImagePull", "ImagePullBackOff")
		pod := s.pod(t, "team.pulled-each-time")
		if pod.Spec.Containers[0].ImagePullPolicy != corev1.PullAlways {
			t.Errorf("pulled %s", pod.Spec.Containers[0].ImagePullPolicy)
		}
		if secrets := pod.Spec.ImagePullSecrets; len(secrets) != 1 || secrets[0].Name != pullSecret {
			t.Errorf("pulled with %v, and not with what the service account names", secrets)
		}
	})
	t.Run("a node that is not there", func(t *testing.T) {
		s.waits(t, "team.on-another-node", "node affinity", corev1.PodReasonUnschedulable)
	})
	t.Run("a secret that comes later", func(t *testing.T) {
		s.waits(t, "team.secret-of-later", `"team.late" not found`, "CreateContainerConfigError")
		s.create(t, secret("team.late", map[string]string{"value": "better late"}))
		s.finishes(t, "team.secret-of-later", "better late")
	})
	t.Run("a label that a node gets later", func(t *testing.T) {
		s.waits(t, "team.on-rack-2", "node affinity", corev1.PodReasonUnschedulable)
		s.reaches(t, "team.like-rack-2", v1alpha1.StatePending, `no node has a label rack that is LIKE "r[2-3]"`)
		s.changeNode(t, func(node *corev1.Node) { node.Labels["rack"] = "r2" })
		s.finishes(t, "team.on-rack-2", "here")
		s.finishes(t, "team.like-rack-2", "here")
	})
	// The node reports neither: what it is said to have counts for the scheduler all the same.
	t.Run("gpus and a disk that a node gets later", func(t *testing.T) {
		s.waits(t, "team.gpus", "Insufficient nvidia.com/gpu", corev1.PodReasonUnschedulable)
		s.waits(t, "team.disk", "Insufficient ephemeral-storage", corev1.PodReasonUnschedulable)
		s.changeNodeStatus(t, func(node *corev1.Node) {
			for name, amount := range map[corev1.ResourceName]string{gpu: "2", corev1.ResourceEphemeralStorage: "16Mi"} {
				node.Status.Capacity[name], node.Status.Allocatable[name] = resource.MustParse(amount), resource.MustParse(amount)
			}
		})
		s.finishes(t, "team.gpus", "here")
		s.finishes(t, "team.disk", "here")
	})
}

// waits until a Job's pod says one of the reasons why it does not run, and its run tells
// a person what it waits for.
func (s *site) waits(t *testing.T, job, tells string, reasons ...string) {
	t.Helper()
	for deadline := time.Now().Add(waitFor); ; time.Sleep(100 * time.Millisecond) {
		pod := s.pod(t, job)
		for _, reason := range reasons {
			if pod != nil && pod.Status.Phase == corev1.PodPending && reasonOf(pod) == reason {
				s.reaches(t, job, v1alpha1.StateStarting, tells)
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the pod of %s does not wait for %v: %s", job, reasons, s.tell(t, job))
		}
	}
}

// reasonOf is why a pod does not run.
func reasonOf(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Reason
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Waiting != nil {
			return c.State.Waiting.Reason
		}
	}
	return ""
}

// finishes waits for a Job's success, and looks at what it printed.
func (s *site) finishes(t *testing.T, job, want string) {
	t.Helper()
	s.reaches(t, job, v1alpha1.StateSuccess, "")
	if got := s.printed(t, job); got != want {
		t.Errorf("the work of %s printed %q, want %q", job, got, want)
	}
}

func (s *site) changeNode(t *testing.T, change func(*corev1.Node)) {
	t.Helper()
	node := s.onlyNode(t)
	before := node.DeepCopy()
	change(node)
	if err := s.admin.Patch(t.Context(), node, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func (s *site) changeNodeStatus(t *testing.T, change func(*corev1.Node)) {
	t.Helper()
	node := s.onlyNode(t)
	before := node.DeepCopy()
	change(node)
	if err := s.admin.Status().Patch(t.Context(), node, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}
