// Package joblookup finds the Job that a JobRun or a pod belongs to.
//
// It looks in the manager's caches, and what they don't have is read from the API server, once for all who ask for it
// at a time. Labels give nobody anything, because others can write them: a pod belongs to a Job if its controller is the
// batch/v1 Job of a JobRun of that Job, each by its UID. A label only tells that a pod whose batch/v1 Job is gone was a
// run's.
package joblookup

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/singleflight"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch

// Lookup finds Jobs. All fields must be set.
type Lookup struct {
	// Cached reads Jobs and JobRuns from the manager's caches, Work pods and batch/v1 Jobs from those of NewCache, and
	// Live all of them from the API server.
	Cached, Work, Live client.Reader
	// NotFound is the error for a run or a pod that is not there, and OfNoRun for a pod that is there and is no run's.
	NotFound, OfNoRun error

	underWay singleflight.Group
}

// pod and child are the metadata of a pod and of a batch/v1 Job, for the cache and for reads.
func pod() *metav1.PartialObjectMetadata {
	return metadataOf(corev1.SchemeGroupVersion.WithKind("Pod"))
}

func child() *metav1.PartialObjectMetadata {
	return metadataOf(batchv1.SchemeGroupVersion.WithKind("Job"))
}

func metadataOf(kind schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(kind)
	return object
}

// JobOfRun returns the name of the Job of a JobRun, or NotFound.
func (l *Lookup) JobOfRun(ctx context.Context, namespace, name string) (string, error) {
	of := types.NamespacedName{Namespace: namespace, Name: name}
	job, err := way{Lookup: l}.ofRun(ctx, of, "")
	if errors.Is(err, errNotCached) {
		return l.readWay(ctx, "run "+of.String(), func(ctx context.Context, w way) (string, error) { return w.ofRun(ctx, of, "") })
	}
	return job, err
}

// JobOfPod returns the name of the Job of a run's pod, NotFound or OfNoRun. It is empty if the run is gone and its pod is
// still about to go.
func (l *Lookup) JobOfPod(ctx context.Context, namespace, name string) (string, error) {
	of := types.NamespacedName{Namespace: namespace, Name: name}
	job, err := way{Lookup: l}.ofPod(ctx, of)
	if errors.Is(err, errNotCached) {
		return l.readWay(ctx, "pod "+of.String(), func(ctx context.Context, w way) (string, error) { return w.ofPod(ctx, of) })
	}
	return job, err
}

// HoldsJobs reports whether there is a Job in a namespace, or in any if the namespace is empty, or a pod that is labelled as a
// run's: pods outlive a Job that is deleted by their grace period, or for as long as their node doesn't answer.
func (l *Lookup) HoldsJobs(ctx context.Context, namespace string) (bool, error) {
	jobs := &v1alpha1.JobList{}
	if err := l.Cached.List(ctx, jobs, client.InNamespace(namespace), client.Limit(1), client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list Jobs: %w", err)
	}
	if len(jobs.Items) > 0 {
		return true, nil
	}
	pods := &metav1.PartialObjectMetadataList{}
	pods.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("PodList"))
	if err := l.Work.List(ctx, pods, client.InNamespace(namespace), client.MatchingFields{podOfRun: "true"}, client.Limit(1), client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list pods of runs: %w", err)
	}
	return len(pods.Items) > 0, nil
}
