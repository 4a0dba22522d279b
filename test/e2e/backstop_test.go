//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/test/harness"
)

// TestBackstop stops the operator and looks at what the API server still refuses by itself, and at what must go
// on: pods that end, nodes that are drained, garbage collection, namespaces that go, writes that change nothing.
func TestBackstop(t *testing.T) {
	const ns = "backstop"
	cluster, c, binary := start(t, "--kwok-nodes=2")
	create(t, c, namespace(ns), jobACL("all", ns, ""), grant("alice", "all", "alice"),
		job(ns, "team.long", "alice", v1alpha1.StartOnDemand), job(ns, "team.short", "alice", v1alpha1.StartOnDemand))
	operator := cluster.RunOperator(t, binary)
	for name, job := range map[string]string{"ends": "team.short", "is-deleted": "team.long", "is-drained": "team.long", "goes-with-ns": "team.long"} {
		create(t, c, jobRun(ns, name, job))
		harness.Eventually(t, time.Minute, func() string { return stateUntil(t, c, ns, name, v1alpha1.StateActive) })
	}
	operator.Stop()

	stillRefused(t, cluster, ns, childOf(t, c, ns, "is-deleted"))
	setLure(t, cluster, c, ns, childOf(t, c, ns, "is-deleted"))

	mustKubectl(t, cluster, "annotate", "pods", "-n", ns, "-l", "in.grantry.dev/team.short", "devcluster.grantry.dev/complete-after=0s")
	harness.Eventually(t, time.Minute, func() string {
		child := &batchv1.Job{}
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: childOf(t, c, ns, "ends")}, child); err != nil || child.Status.Succeeded == 0 {
			return "the end of a run's work is counted"
		}
		return ""
	})
	lure := &corev1.Pod{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "lure"}, lure); err != nil || len(lure.OwnerReferences) > 0 {
		t.Errorf("the Job controller took a pod of somebody else for a run's: %v, %v", lure.OwnerReferences, err)
	}
	drain(t, cluster, c, ns)
	collect(t, cluster, c, ns)
	for _, object := range []string{"gjob/team.long", "jrun/is-drained", "jobs.batch/" + childOf(t, c, ns, "is-drained")} {
		same := mustKubectl(t, cluster, "get", object, "-n", ns, "-o", "yaml")
		if _, err := cluster.KubectlStdin(t.Context(), "admin", same, "replace", "-f", "-"); err != nil {
			t.Errorf("an update that changes nothing: %v", err)
		}
		mustKubectl(t, cluster, "annotate", object, "-n", ns, "example.com/note=x")
	}

	operator = cluster.RunOperator(t, binary)
	harness.Eventually(t, time.Minute, func() string { return stateUntil(t, c, ns, "ends", v1alpha1.StateSuccess) })
	operator.Stop()
	mustKubectl(t, cluster, "delete", "namespace", ns, "--timeout=2m")
}

// stillRefused tries as an administrator what is Grantry's alone.
func stillRefused(t *testing.T, cluster *harness.Cluster, ns, child string) {
	t.Helper()
	for _, args := range [][]string{
		{"patch", "jobs.batch", child, "--type=merge", "-p", `{"spec":{"parallelism":3}}`},
		{"delete", "jobs.batch", child},
		{"label", "pods", "-l", v1alpha1.LabelRun, v1alpha1.LabelRun + "-"},
		{"run", "forged", "--image=busybox", "--labels=" + v1alpha1.LabelRun + "=x"},
		{"patch", "jrun", "is-deleted", "--subresource=status", "--type=merge", "-p", `{"status":{"grant":"x"}}`},
		{"label", "gjob", "team.long", "in.grantry.dev/other="},
		{"delete", "jrun", "is-deleted", "--cascade=orphan"},
	} {
		if out, err := cluster.Kubectl(t.Context(), "admin", append(args, "-n", ns)...); err == nil || !strings.Contains(out, "ValidatingAdmissionPolicy 'grantry-") {
			t.Errorf("kubectl %s is not refused by a policy: %v: %s", strings.Join(args, " "), err, out)
		}
	}
}

// setLure makes a pod that a Job controller with a generated selector would adopt, and count as the run's.
func setLure(t *testing.T, cluster *harness.Cluster, c client.Client, ns, name string) {
	t.Helper()
	child := &batchv1.Job{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, child); err != nil {
		t.Fatal(err)
	}
	mustKubectl(t, cluster, "run", "lure", "-n", ns, "--image=busybox", "--restart=Never", "--labels",
		batchv1.ControllerUidLabel+"="+string(child.UID)+","+batchv1.JobNameLabel+"="+name)
}

// drain empties the node of a run's pod, as one does before an upgrade.
func drain(t *testing.T, cluster *harness.Cluster, c client.Client, ns string) {
	t.Helper()
	pods := &corev1.PodList{}
	selector := client.MatchingLabels{batchv1.JobNameLabel: childOf(t, c, ns, "is-drained")}
	if err := c.List(t.Context(), pods, client.InNamespace(ns), selector); err != nil || len(pods.Items) == 0 {
		t.Fatalf("%d pods to drain: %v", len(pods.Items), err)
	}
	mustKubectl(t, cluster, "drain", pods.Items[0].Spec.NodeName, "--timeout=1m", "--force")
	mustKubectl(t, cluster, "uncordon", pods.Items[0].Spec.NodeName)
}

// collect deletes a run, and waits until what it made is gone.
func collect(t *testing.T, cluster *harness.Cluster, c client.Client, ns string) {
	t.Helper()
	child := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: childOf(t, c, ns, "is-deleted")}}
	mustKubectl(t, cluster, "delete", "jrun", "is-deleted", "-n", ns)
	harness.Eventually(t, time.Minute, func() string {
		pods := &corev1.PodList{}
		if err := c.List(t.Context(), pods, client.InNamespace(ns), client.MatchingLabels{batchv1.JobNameLabel: child.Name}, client.HasLabels{v1alpha1.LabelRun}); err != nil || len(pods.Items) > 0 {
			return "the pods of a deleted run are collected"
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(child), child); !apierrors.IsNotFound(err) {
			return "the child of a deleted run is collected"
		}
		return ""
	})
}

func childOf(t *testing.T, c client.Client, ns, run string) string {
	t.Helper()
	object := &v1alpha1.JobRun{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: run}, object); err != nil || object.Status.Child == nil {
		t.Fatalf("run %s has no child: %v", run, err)
	}
	return object.Status.Child.Name
}

// stateUntil says that a run is not in a state yet.
func stateUntil(t *testing.T, c client.Client, ns, name, state string) string {
	t.Helper()
	object := &v1alpha1.JobRun{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, object); err != nil {
		return err.Error()
	}
	if got := stateOf(object); got != state {
		return name + " is " + got + ", not " + state
	}
	return ""
}

func mustKubectl(t *testing.T, cluster *harness.Cluster, args ...string) string {
	t.Helper()
	out, err := cluster.Kubectl(t.Context(), "admin", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
