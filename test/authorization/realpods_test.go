//go:build e2e

package authorization

import (
	"fmt"
	"maps"
	"os"
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

// TestRealPods: logs and exec of pods that run, in strict mode and then in permissive mode, by kubectl. It needs a
// machine that can have a real node; elsewhere TestStrict and TestPermissive make the same requests without one.
func TestRealPods(t *testing.T) {
	cluster := harness.Start(t, harness.Options{Name: fmt.Sprintf("wire-%d", os.Getpid()), Nodes: "auto", Mode: "strict"})
	cluster.RequireRealNode(t)
	w := &world{site: &site{admin: cluster.Client(t, "admin")}, acls: map[string]string{}}
	r := &realPods{world: w, cluster: cluster}
	operator := r.operate(t, "strict")
	r.fill(t)
	t.Run("strict", r.try)
	t.Run("strict, RBAC alone", r.tryCarol)
	operator.Kill()
	t.Run("strict, in an outage", r.tryOutage)
	if err := cluster.SetMode(t.Context(), "permissive"); err != nil {
		t.Fatal(err)
	}
	r.operate(t, "permissive")
	t.Run("permissive", r.try)
}

type realPods struct {
	*world
	cluster               *harness.Cluster
	mine, another, forged string // pods
}

func (r *realPods) operate(t *testing.T, mode string) *harness.Operator {
	t.Helper()
	return r.cluster.RunOperator(t, program, append(r.cluster.Webhook.Args(), "--mode", mode, "--default-image", "docker.io/library/busybox:1")...)
}

// fill runs two Jobs, and a pod with the labels of one that belongs to none. alice holds the recipes on dev.batch, and
// to carol RBAC gives everything.
func (r *realPods) fill(t *testing.T) {
	t.Helper()
	r.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: instance}})
	r.hold(t, "owner", superuser)
	r.hold(t, "alice", append(r2, container, nested)...)
	r.bindClusterAdmin(t, "carol")
	for _, name := range []string{"dev.batch.job1", "dev.other"} {
		says := job(instance, name)
		says.Spec.StartPolicy = v1alpha1.StartOnCreate
		says.Spec.Run.Cmd = "echo hello from " + name + "; sleep 1000"
		r.create(t, says)
	}
	mine := r.running(t, "dev.batch.job1")
	r.mine, r.another, r.forged = mine.Name, r.running(t, "dev.other").Name, "forged"
	// The labels are the run's but for the one by which the Job controller would take the pod into its Job.
	ours := maps.Clone(mine.Labels)
	ours[v1alpha1.LabelRun] = "forged"
	forged := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: r.forged, Labels: ours}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "main", Image: "docker.io/library/busybox:1", Command: []string{"sh", "-c", "echo hello from nobody; sleep 1000"}}},
	}}
	// The admission policies keep such a pod out. Here it is judged as if it had come before they did.
	if err := r.admin.Create(t.Context(), forged.DeepCopy()); !apierrors.IsForbidden(err) {
		t.Errorf("a pod with the labels of a run: %v", err)
	}
	if out, err := r.cluster.Kubectl(t.Context(), "admin", "delete", "validatingadmissionpolicybinding", "grantry-pods"); err != nil {
		t.Fatal(out)
	}
	for deadline := time.Now().Add(waitFor); ; time.Sleep(100 * time.Millisecond) {
		err := r.admin.Create(t.Context(), forged.DeepCopy())
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	r.isRunning(t, r.forged)
}

// running waits until a pod of a Job runs.
func (r *realPods) running(t *testing.T, job string) *corev1.Pod {
	t.Helper()
	pods := &corev1.PodList{}
	for deadline := time.Now().Add(4 * waitFor); ; time.Sleep(100 * time.Millisecond) {
		if err := r.admin.List(t.Context(), pods, client.InNamespace(instance), client.HasLabels{v1alpha1.AncestorLabelPrefix + job}); err != nil {
			t.Fatal(err)
		}
		for i := range pods.Items {
			if pods.Items[i].Status.Phase == corev1.PodRunning {
				return &pods.Items[i]
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no pod of %s runs: %+v", job, pods.Items)
		}
	}
}

func (r *realPods) isRunning(t *testing.T, name string) {
	t.Helper()
	pod := &corev1.Pod{}
	for deadline := time.Now().Add(4 * waitFor); pod.Status.Phase != corev1.PodRunning; time.Sleep(100 * time.Millisecond) {
		if err := r.admin.Get(t.Context(), key(name), pod); err != nil || time.Now().After(deadline) {
			t.Fatalf("pod %s is %s: %v", name, pod.Status.Phase, err)
		}
	}
}

// kubectl expects a user's command to print something, or to be forbidden for a reason.
func (r *realPods) kubectl(t *testing.T, user, command string, ok bool, want string) {
	t.Helper()
	out, err := r.cluster.Kubectl(t.Context(), user, append([]string{"-n", instance}, strings.Fields(command)...)...)
	if (err == nil) != ok || !strings.Contains(out, want) || !ok && !strings.Contains(out, "orbidden") && want == "" {
		t.Errorf("%s: kubectl %s: %v: %s", user, command, err, out)
	}
}

func (r *realPods) try(t *testing.T) {
	r.kubectl(t, "alice", "get pod "+r.mine, true, r.mine)
	r.kubectl(t, "alice", "get pods -l "+inBatch, true, r.mine)
	r.kubectl(t, "alice", "logs "+r.mine, true, "hello from dev.batch.job1")
	r.kubectl(t, "alice", "exec "+r.mine+" -- echo in the pod", true, "in the pod")
	r.kubectl(t, "alice", "auth can-i get pods/"+r.mine+" --subresource=log", true, "yes")
	r.kubectl(t, "alice", "auth can-i create pods/"+r.mine+" --subresource=exec", true, "yes")
	for _, pod := range []string{r.another, r.forged} {
		r.kubectl(t, "alice", "get pod "+pod, false, "")
		r.kubectl(t, "alice", "logs "+pod, false, "")
		r.kubectl(t, "alice", "auth can-i get pods/"+pod+" --subresource=log", false, "no")
	}
	r.kubectl(t, "alice", "exec "+r.forged+" -- true", false, "")
	for _, pod := range []string{r.mine, r.another, r.forged} {
		r.kubectl(t, "bob", "get pod "+pod, false, "")
		r.kubectl(t, "bob", "logs "+pod, false, "")
		r.kubectl(t, "bob", "exec "+pod+" -- true", false, "")
	}
	again := fmt.Sprintf("again-%d", time.Now().UnixNano()) // and its pod has just appeared when it is asked for
	r.create(t, jobRun(instance, again, "dev.batch.job1"))
	child := r.child(t, again)
	for deadline := time.Now().Add(2 * waitFor); ; time.Sleep(10 * time.Millisecond) {
		pods := &corev1.PodList{}
		if err := r.admin.List(t.Context(), pods, client.InNamespace(instance), client.MatchingLabels{batchv1.JobNameLabel: child.Name}); err != nil || time.Now().After(deadline) {
			t.Fatalf("no pod of run %s: %v", again, err)
		}
		if len(pods.Items) > 0 {
			r.kubectl(t, "alice", "get pod "+pods.Items[0].Name, true, pods.Items[0].Name)
			return
		}
	}
}

// tryCarol is somebody to whom RBAC gives everything.
func (r *realPods) tryCarol(t *testing.T) {
	for _, command := range []string{"get pod " + r.mine, "logs " + r.mine, "exec " + r.mine + " -- true", "get pods", "get gjob dev.other", "get gjob"} {
		r.kubectl(t, "carol", command, false, "")
	}
	r.kubectl(t, "carol", "logs "+r.forged, true, "hello from nobody") // which is no run's
	r.kubectl(t, "carol", "exec "+r.forged+" -- echo in the pod", true, "in the pod")
	r.kubectl(t, "carol", "get secrets,configmaps,deployments.apps,cronjobs.batch", true, "kube-root-ca.crt")
	r.kubectl(t, "carol", "get pods --namespace=default", true, "")
}

// tryOutage: while no operator answers, the control plane and the node go on.
func (r *realPods) tryOutage(t *testing.T) {
	for _, user := range []string{"alice", "carol"} {
		for _, command := range []string{"get pod " + r.mine, "logs " + r.forged, "get gjob dev.batch.job1", "get gjob -l " + inBatch} {
			if out, err := r.cluster.Kubectl(t.Context(), user, append([]string{"-n", instance}, strings.Fields(command)...)...); err == nil {
				t.Errorf("%s: kubectl %s: %s", user, command, out)
			}
		}
	}
	r.kubectl(t, "carol", "get secrets,configmaps", true, "kube-root-ca.crt")
	r.kubectl(t, "carol", "get pods --namespace=kube-system", true, "")
	r.kubectl(t, "carol", "create job quick --image=docker.io/library/busybox:1 -- echo done", true, "created")
	r.kubectl(t, "carol", "wait job/quick --for=condition=Complete --timeout=120s", true, "condition met")
	r.kubectl(t, "carol", "delete job quick", true, "deleted")
	r.kubectl(t, "admin", "logs "+r.mine, true, "hello from dev.batch.job1") // of system:masters
}
