package controllers

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// A child with a queue is started and stopped by Kueue, by its spec.suspend. Grantry's mark on it, the annotation
// of a revocation, tells the two apart: while it is there, config/admission-policy refuses Kueue's start.

const (
	// queueRetry is how soon to ask Kueue again what a run waits for. Nothing of Kueue is watched: it may not be
	// installed, and may be while the operator runs.
	queueRetry = 30 * time.Second
	// workloadOfJob is the label by which Kueue's Workload of a batch/v1 Job is found.
	workloadOfJob = "kueue.x-k8s.io/job-uid"
)

// workloadKind is Kueue's record of what waits for quota.
var workloadKind = schema.GroupKind{Group: "kueue.x-k8s.io", Kind: "Workload"}

// isQueued says whether a child waits in a queue, and not for permission.
func isQueued(child *batchv1.Job) bool {
	return batchjob.Queue(child) != "" && isSuspended(child) && !isRevoked(child)
}

// asksKueue says whether it is time to ask what a child waits for. A new one is given time to start: most do.
func asksKueue(in runInput) bool {
	return in.Child != nil && !isFinished(in.Run) && isQueued(in.Child) && settlesIn(in) <= 0
}

// lookedAtAgain has a run that waits in a queue come back, as nothing of Kueue is watched.
func lookedAtAgain(plan runPlan) runPlan {
	if plan.Succeeded.Reason == v1alpha1.StateQueued {
		plan.RequeueAfter = queueRetry
	}
	return plan
}

// queuedMessage says what a child in a queue waits for.
func queuedMessage(in runInput) string {
	message := fmt.Sprintf("Waits in the queue %s (Kueue)", batchjob.Queue(in.Child))
	if in.Queue != "" {
		message += ": " + in.Queue
	}
	return message
}

// +kubebuilder:rbac:groups=kueue.x-k8s.io,resources=workloads,verbs=list

// askKueue reads, past the cache, why Kueue does not start a child. What can't be read is said, too: it is what a
// person needs to know, and no reason to fail.
func (r *JobRunReconciler) askKueue(ctx context.Context, child *batchv1.Job) string {
	mapping, err := r.RESTMapper().RESTMapping(workloadKind)
	if meta.IsNoMatchError(err) {
		return "Kueue is not installed, and so nobody starts it"
	}
	workloads := &unstructured.UnstructuredList{}
	if err == nil {
		workloads.SetGroupVersionKind(mapping.GroupVersionKind)
		err = r.Live.List(ctx, workloads, client.InNamespace(child.Namespace), client.MatchingLabels{workloadOfJob: string(child.UID)}, client.Limit(1))
	}
	switch {
	case err != nil:
		return "its Workload can't be read: " + err.Error()
	case len(workloads.Items) == 0:
		return "Kueue has made no Workload for it: does it run, and does it look after this namespace?"
	default:
		return workloadSays(workloads.Items[0].Object)
	}
}

// workloadSays is why a Workload does not run, in Kueue's own words where it has some.
func workloadSays(workload map[string]any) string {
	if active, found, _ := unstructured.NestedBool(workload, "spec", "active"); found && !active {
		return "its Workload is deactivated (spec.active)"
	}
	var status struct {
		Conditions []metav1.Condition `json:"conditions"`
	}
	object, _, _ := unstructured.NestedMap(workload, "status")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object, &status); err != nil {
		return "its Workload can't be understood: " + err.Error()
	}
	reserved := meta.FindStatusCondition(status.Conditions, "QuotaReserved")
	switch {
	case reserved == nil:
		return "Kueue has not looked at it yet"
	case reserved.Status != metav1.ConditionTrue:
		return reserved.Message
	case !meta.IsStatusConditionTrue(status.Conditions, "Admitted"):
		return "it has quota, and waits for Kueue's admission checks"
	default:
		return "it has quota, and is about to start"
	}
}
