package bypass

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

const controller = "system:serviceaccount:kube-system:"

// allowed are requests that no policy may be in the way of, sent as dry runs. Who sends them may send them by
// RBAC.
func allowed() []attempt {
	may := func(way, who, method, path, body string) attempt {
		return attempt{way: way, who: who, send: request{method: method, path: path + "?dryRun=All", body: body}}
	}
	return []attempt{
		may("report on a pod", node, mergePatch, pod+"/status", `{status: {phase: Running}}`),
		may("remove a pod that has ended", node, http.MethodDelete, pod, ""),
		may("report on a pod as what stands in for a node", "virtual-node", mergePatch, pod+"/status", `{status: {phase: Running}}`),
		may("remove a pod as what stands in for a node", "virtual-node", http.MethodDelete, pod, ""),
		may("say that a pod has no place", scheduler, strategic, pod+"/status", `{status: {conditions: [{type: PodScheduled, status: "False", reason: Unschedulable}]}}`),
		may("preempt a pod", scheduler, http.MethodDelete, pod, ""),
		may("report on a pod of a lost node", controller+"node-controller", mergePatch, pod+"/status", `{status: {reason: NodeLost}}`),
		may("remove a pod from a tainted node", controller+"node-controller", http.MethodDelete, pod, ""),
		may("report on a pod of no node", controller+"pod-garbage-collector", mergePatch, pod+"/status", `{status: {phase: Failed}}`),
		may("remove a pod of no node", controller+"pod-garbage-collector", http.MethodDelete, pod, ""),
		may("count a pod", controller+"job-controller", mergePatch, pod, `{metadata: {finalizers: null}}`),
		may("end a pod of a suspended child", controller+"job-controller", http.MethodDelete, pod, ""),
		may("collect a child", controller+"generic-garbage-collector", http.MethodDelete, child, ""),
		may("collect a pod", controller+"generic-garbage-collector", http.MethodDelete, pod, ""),
		may("collect a run", controller+"generic-garbage-collector", http.MethodDelete, runs+"/$RUN", ""),
		may("take a deleted owner off a run", controller+"generic-garbage-collector", mergePatch, runs+"/$RUN", `{metadata: {ownerReferences: null}}`),
		may("take a deleted owner off a child", controller+"generic-garbage-collector", mergePatch, child, `{metadata: {ownerReferences: null}}`),
		may("empty a namespace of Jobs", controller+"namespace-controller", http.MethodDelete, jobs, ""),
		may("empty a namespace of runs", controller+"namespace-controller", http.MethodDelete, runs, ""),
		may("empty a namespace of children", controller+"namespace-controller", http.MethodDelete, batches, ""),
		may("empty a namespace of pods", controller+"namespace-controller", http.MethodDelete, pods, ""),
		may("drain a node", "root", http.MethodPost, pod+"/eviction", `{apiVersion: policy/v1, kind: Eviction, metadata: {name: $POD}}`),
		may("debug a pod", "root", strategic, pod+"/ephemeralcontainers", `{spec: {ephemeralContainers: [{name: debug, image: busybox}]}}`),
		may("annotate a pod, as a network plugin does", "root", mergePatch, pod, `{metadata: {annotations: {cni.example.com/ip: 10.0.0.1}}}`),
		may("annotate a pod through its status, as another does", "root", mergePatch, pod+"/status", `{metadata: {annotations: {cni.example.com/ip: 10.0.0.1}}}`),
		may("annotate a child", "root", mergePatch, child, `{metadata: {annotations: {example.com/note: x}}}`),
		may("annotate a Job", "alice", mergePatch, job1, `{metadata: {annotations: {example.com/note: x}}}`),
		may("label a Job", "alice", mergePatch, job1, `{metadata: {labels: {example.com/team: x}}}`),
		may("label a run", "alice", mergePatch, runs+"/$RUN", `{metadata: {labels: {example.com/team: x}}}`),
		may("put a finalizer onto a Job", "alice", mergePatch, job1, `{metadata: {finalizers: [example.com/mine]}}`),
		may("label a Grant", "root", mergePatch, ours+"/grants/root", `{metadata: {labels: {example.com/team: x}}}`),
		may("create a batch/v1 Job of one's own", "mallory", http.MethodPost, batches, `{metadata: {name: x}, spec: {template: {spec: `+aPod+`}}}`),
		may("change a batch/v1 Job of one's own", "mallory", mergePatch, batches+"/foreign", `{metadata: {labels: {grantry: x}}}`),
		may("delete a batch/v1 Job of one's own", "mallory", http.MethodDelete, batches+"/foreign", ""),
		may("create a pod of one's own", "mallory", http.MethodPost, pods, `{metadata: {name: x}, spec: `+aPod+`}`),
		may("label a pod of one's own", "mallory", mergePatch, pods+"/foreign", `{metadata: {labels: {app: x}}}`),
		may("delete a pod of one's own", "mallory", http.MethodDelete, pods+"/foreign", ""),
	}
}

// allows sends what must not be refused.
func (w *world) allows(t *testing.T) {
	for _, a := range allowed() {
		t.Run(fmt.Sprintf("%s by %s", a.way, a.who), func(t *testing.T) {
			if _, err := w.try(t, a.who, a.send); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("an update that changes nothing", w.writesAnew)
	t.Run("report on a child by its controller", w.reports)
}

// drains evicts a pod of a run as who holds no grant: RBAC alone decides that, in strict mode, too, so that nodes
// can be drained while Grantry is away. The answer shows nothing of the pod.
func (w *world) drains(t *testing.T) {
	evict := request{method: http.MethodPost, path: pod + "/eviction?dryRun=All", body: `{apiVersion: policy/v1, kind: Eviction, metadata: {name: $POD}}`}
	answer, err := w.try(t, "carol", evict)
	if err != nil || !strings.Contains(answer, `"kind":"Status"`) || strings.Contains(answer, "spec") || strings.Contains(answer, "labels") {
		t.Errorf("carol, who is cluster-admin, is answered %s: %v", answer, err)
	}
	if _, err := w.try(t, "mallory", evict); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "pods/eviction") {
		t.Errorf("mallory, to whom RBAC gives no eviction: %v", err)
	}
}

// reports writes a child's status, as the Job controller does.
func (w *world) reports(t *testing.T) {
	g := NewWithT(t)
	object := &batchv1.Job{}
	g.Expect(w.admin.Get(t.Context(), types.NamespacedName{Namespace: "metronome", Name: w.facts.Replace("$CHILD")}, object)).To(Succeed())
	object.Status.Active++
	g.Expect(w.clientAs(t, jobController).Status().Update(t.Context(), object)).To(Succeed())
}

// writesAnew writes objects as they are, as a storage migration does.
func (w *world) writesAnew(t *testing.T) {
	for object, name := range map[client.Object]string{
		&v1alpha1.Job{}: "dev.batch.job1", &v1alpha1.JobRun{}: "$RUN", &batchv1.Job{}: "$CHILD", &corev1.Pod{}: "$POD",
	} {
		g := NewWithT(t)
		g.Expect(w.admin.Get(t.Context(), types.NamespacedName{Namespace: "metronome", Name: w.facts.Replace(name)}, object)).To(Succeed())
		g.Expect(w.admin.Update(t.Context(), object)).To(Succeed(), "update %T", object)
	}
}
