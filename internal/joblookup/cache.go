package joblookup

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// Scope is which pods and batch/v1 Jobs are cached. It makes no difference to what is found, but to what that costs:
// what is not cached is read from the API server for each request.
type Scope bool

const (
	// OfRuns caches those with the label of a run. It is for an authorizer that is asked after RBAC, and so only
	// about requests that RBAC gives nobody.
	OfRuns Scope = false
	// Everything caches all of the cluster, in about 700 bytes each. It is for an authorizer that is asked first:
	// whoever looks at a pod that is no run's must not wait for a read of Grantry's. That a pod has no label does not
	// prove that it is no run's: whoever may patch it can remove a label.
	Everything Scope = true
)

// NewCache makes a cache of pods and batch/v1 Jobs by which Lookup can tell whose they are. The caller starts it.
// What is read from it is shared, and must not be changed.
func NewCache(ctx context.Context, config *rest.Config, options cache.Options, scope Scope) (cache.Cache, error) {
	options.DefaultTransform = slim
	options.DefaultUnsafeDisableDeepCopy = new(true)
	if scope == OfRuns {
		ofRuns, err := labels.NewRequirement(v1alpha1.LabelRun, selection.Exists, nil)
		if err != nil {
			return nil, err
		}
		options.DefaultLabelSelector = labels.NewSelector().Add(*ofRuns)
	}
	work, err := cache.New(config, options)
	if err != nil {
		return nil, err
	}
	if err := work.IndexField(ctx, pod(), podOfRun, podsOfRuns); err != nil {
		return nil, fmt.Errorf("index the pods of runs: %w", err)
	}
	return work, nil
}

// podOfRun finds the pods of runs, by the value "true", in a cache that may hold those of everybody.
const podOfRun = "run"

func podsOfRuns(object client.Object) []string {
	if _, ok := object.GetLabels()[v1alpha1.LabelRun]; ok {
		return []string{"true"}
	}
	return nil
}

// Prepare waits until the caches hold what there is: Jobs and runs in one, work in that of NewCache.
func Prepare(ctx context.Context, jobs, work cache.Cache) error {
	return errors.Join(
		watch(ctx, jobs, &v1alpha1.Job{}, &v1alpha1.JobRun{}),
		watch(ctx, work, pod(), child()),
	)
}

func watch(ctx context.Context, c cache.Cache, objects ...client.Object) error {
	for _, object := range objects {
		if _, err := c.GetInformer(ctx, object); err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
	}
	// GetInformer waits only in a cache that has been started, and this one may be about to.
	if !c.WaitForCacheSync(ctx) {
		return fmt.Errorf("fill the caches: %w", context.Cause(ctx))
	}
	return nil
}

// ofRun are the labels of what a run has made, as far as they are kept. Nobody changes them.
var ofRun = map[string]string{v1alpha1.LabelRun: ""}

// slim drops all but what says whose an object is.
func slim(object any) (any, error) {
	whole, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil // a tombstone
	}
	kept := &metav1.PartialObjectMetadata{TypeMeta: whole.TypeMeta, ObjectMeta: metav1.ObjectMeta{
		Namespace: whole.Namespace, Name: whole.Name, UID: whole.UID, ResourceVersion: whole.ResourceVersion,
	}}
	if owner := metav1.GetControllerOf(whole); owner != nil {
		kept.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	if _, ok := whole.Labels[v1alpha1.LabelRun]; ok {
		kept.Labels = ofRun
	}
	return kept, nil
}
