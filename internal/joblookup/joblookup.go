// Package joblookup finds the Job that a JobRun or a pod belongs to.
//
// It looks in the manager's caches, and what they don't have is read from the API server once. Labels don't
// count, because others can write them: a pod belongs to a Job if its controller is the batch/v1 Job of a
// JobRun of that Job, each by its UID.
package joblookup

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch

// Lookup finds Jobs.
type Lookup struct {
	// Cached reads Jobs and JobRuns from the manager's caches, Work pods and batch/v1 Jobs from those of NewCache, and
	// Live all of them from the API server.
	Cached, Work, Live client.Reader
	// NotFound is the error for what belongs to no Job.
	NotFound error
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

// JobOfRun returns the name of the Job of a JobRun.
func (l *Lookup) JobOfRun(ctx context.Context, namespace, name string) (string, error) {
	return l.jobOfRun(ctx, types.NamespacedName{Namespace: namespace, Name: name}, "")
}

// JobOfPod returns the name of the Job of a run's pod.
func (l *Lookup) JobOfPod(ctx context.Context, namespace, name string) (string, error) {
	of, err := get(ctx, l.Work, l, types.NamespacedName{Namespace: namespace, Name: name}, pod, "")
	if err != nil {
		return "", err
	}
	owner := metav1.GetControllerOfNoCopy(of)
	if owner == nil || owner.Kind != "Job" || owner.APIVersion != batchv1.SchemeGroupVersion.String() {
		return "", l.NotFound
	}
	of, err = get(ctx, l.Work, l, types.NamespacedName{Namespace: namespace, Name: owner.Name}, child, owner.UID)
	if err != nil {
		return "", err
	}
	owner = metav1.GetControllerOfNoCopy(of)
	if owner == nil || owner.Kind != "JobRun" || owner.APIVersion != v1alpha1.GroupVersion.String() {
		return "", l.NotFound
	}
	return l.jobOfRun(ctx, types.NamespacedName{Namespace: namespace, Name: owner.Name}, owner.UID)
}

// HoldsJobs reports whether there is a Job in a namespace, or in any if the namespace is empty.
func (l *Lookup) HoldsJobs(ctx context.Context, namespace string) (bool, error) {
	jobs := &v1alpha1.JobList{}
	if err := l.Cached.List(ctx, jobs, client.InNamespace(namespace), client.Limit(1), client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list Jobs: %w", err)
	}
	return len(jobs.Items) > 0, nil
}

func (l *Lookup) jobOfRun(ctx context.Context, name types.NamespacedName, uid types.UID) (string, error) {
	run, err := get(ctx, l.Cached, l, name, func() *v1alpha1.JobRun { return &v1alpha1.JobRun{} }, uid)
	if err != nil {
		return "", err
	}
	return run.Spec.Job, nil
}

// get reads an object from a cache or, if it isn't there or is another one of that name, from the API
// server, each time into a new value. The empty uid stands for any.
func get[T client.Object](ctx context.Context, cache client.Reader, l *Lookup, name types.NamespacedName, empty func() T, uid types.UID) (T, error) {
	var none T
	cached := empty()
	err := cache.Get(ctx, name, cached)
	if err == nil && (uid == "" || cached.GetUID() == uid) {
		return cached, nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return none, fmt.Errorf("read %T %s: %w", cached, name, err)
	}
	live := empty()
	if err := l.readLive(ctx, name, live); err != nil {
		return none, err
	}
	if uid != "" && live.GetUID() != uid {
		return none, l.NotFound
	}
	return live, nil
}
