package joblookup

import (
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// errNotCached says that the way can't be gone without reading from the API server.
var errNotCached = errors.New("not in the cache")

// way is that from an object to its Job, by the caches alone or with live reads of what they don't have.
type way struct {
	*Lookup
	live bool
}

func (w way) ofPod(ctx context.Context, name types.NamespacedName) (string, error) {
	of, err := get(ctx, w, w.Work, name, pod, "")
	if err != nil {
		return "", err
	}
	owner := metav1.GetControllerOfNoCopy(of)
	if !isA(owner, batchv1.SchemeGroupVersion, "Job") {
		return "", w.OfNoRun
	}
	parent, err := get(ctx, w, w.Work, types.NamespacedName{Namespace: name.Namespace, Name: owner.Name}, child, owner.UID)
	if errors.Is(err, w.NotFound) {
		if _, ofRun := of.Labels[v1alpha1.LabelRun]; ofRun {
			return runGone, nil
		}
		return "", w.OfNoRun
	}
	if err != nil {
		return "", err
	}
	return w.ofChild(ctx, parent)
}

// runGone stands for all Jobs of the namespace: a pod may outlive its run, and the Job that it is of is known no more.
const runGone = ""

// ofChild goes on from the batch/v1 Job of a pod.
func (w way) ofChild(ctx context.Context, of *metav1.PartialObjectMetadata) (string, error) {
	owner := metav1.GetControllerOfNoCopy(of)
	if !isA(owner, v1alpha1.GroupVersion, "JobRun") {
		return "", w.OfNoRun
	}
	job, err := w.ofRun(ctx, types.NamespacedName{Namespace: of.Namespace, Name: owner.Name}, owner.UID)
	if errors.Is(err, w.NotFound) {
		return runGone, nil
	}
	return job, err
}

func isA(owner *metav1.OwnerReference, version schema.GroupVersion, kind string) bool {
	return owner != nil && owner.Kind == kind && owner.APIVersion == version.String()
}

func (w way) ofRun(ctx context.Context, name types.NamespacedName, uid types.UID) (string, error) {
	run, err := get(ctx, w, w.Cached, name, func() *v1alpha1.JobRun { return &v1alpha1.JobRun{} }, uid)
	if err != nil {
		return "", err
	}
	return run.Spec.Job, nil
}

// get reads an object from a cache or, if it isn't there or is another one of that name, from the API
// server, each time into a new value. The empty uid stands for any.
func get[T client.Object](ctx context.Context, w way, cache client.Reader, name types.NamespacedName, empty func() T, uid types.UID) (T, error) {
	var none T
	cached := empty()
	err := cache.Get(ctx, name, cached)
	if err == nil && (uid == "" || cached.GetUID() == uid) {
		return cached, nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return none, fmt.Errorf("read %T %s: %w", cached, name, err)
	}
	if !w.live {
		return none, errNotCached
	}
	live := empty()
	if err := w.readLive(ctx, name, live); err != nil {
		return none, err
	}
	if uid != "" && live.GetUID() != uid {
		return none, w.NotFound
	}
	return live, nil
}
