package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// ancestorLabelChanges is what to change in the labels of an object of a job id, so that those below
// AncestorLabelPrefix are the id's and no others: a key with its value, or with nil if it is to go. It is
// nil if nothing is to change.
func ancestorLabelChanges(labels map[string]string, path string) map[string]*string {
	var changes map[string]*string
	change := func(key string, value *string) {
		if changes == nil {
			changes = map[string]*string{}
		}
		changes[key] = value
	}
	want := batchjob.AncestorLabels(path)
	for key, value := range want {
		if have, there := labels[key]; !there || have != value {
			change(key, &value)
		}
	}
	for key := range labels {
		if _, wanted := want[key]; !wanted && strings.HasPrefix(key, v1alpha1.AncestorLabelPrefix) {
			change(key, nil)
		}
	}
	return changes
}

// labelAncestors makes the ancestor labels of an object those of a job id, and writes nothing if they are.
//
// The patch names the labels that are wrong and nothing else, so it can't undo what somebody else writes at
// the same time. It carries no resource version, so it can't lose to such a write, either: which labels are
// right follows from the object's name or its immutable spec.job, not from a state that may have changed.
// It carries the UID, because an object made anew under the same name may be a run of another Job. Server-side
// apply would do for labels to add, but can't take away those that somebody else has set.
func labelAncestors(ctx context.Context, c client.Writer, kind schema.GroupVersionKind, object client.Object, path string) error {
	changes := ancestorLabelChanges(object.GetLabels(), path)
	if changes == nil {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": object.GetUID(), "labels": changes}})
	if err != nil {
		return err
	}
	only := &metav1.PartialObjectMetadata{} // the answer is the metadata
	only.SetGroupVersionKind(kind)
	only.SetNamespace(object.GetNamespace())
	only.SetName(object.GetName())
	if err := c.Patch(ctx, only, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("set the labels %s…: %w", v1alpha1.AncestorLabelPrefix, err)
	}
	return nil
}

var (
	jobKind = v1alpha1.GroupVersion.WithKind("Job")
	runKind = v1alpha1.GroupVersion.WithKind("JobRun")
)
