package admission

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// isOurs reports whether a label is Grantry's to write on Jobs and JobRuns.
func isOurs(key string) bool {
	return strings.HasPrefix(key, v1alpha1.AncestorLabelPrefix) || key == v1alpha1.LabelJob || key == v1alpha1.LabelRun
}

// rightLabels are those of our labels that an object should have: the ancestors of its Job's path, unless
// that is not known yet, and what the operator has put there otherwise.
func rightLabels(path string, old map[string]string) map[string]string {
	right := map[string]string{}
	if path != "" {
		right = batchjob.AncestorLabels(path)
	}
	for key, value := range old {
		if isOurs(key) && !strings.HasPrefix(key, v1alpha1.AncestorLabelPrefix) {
			right[key] = value
		}
	}
	return right
}

// stampLabels makes our labels right, and leaves all others alone.
func stampLabels(object metav1.Object, right map[string]string) {
	labels := maps.Clone(object.GetLabels())
	maps.DeleteFunc(labels, func(key, _ string) bool {
		_, keep := right[key]
		return isOurs(key) && !keep
	})
	if labels == nil && len(right) > 0 {
		labels = make(map[string]string, len(right))
	}
	maps.Copy(labels, right)
	object.SetLabels(labels)
}

// checkLabels refuses labels of ours that are not right, and the loss of one that was there. Right ones that
// were never there are not asked for: of a generated name they can't be known in time, and the operator adds
// them.
func checkLabels(object metav1.Object, right, old map[string]string) error {
	labels := object.GetLabels()
	var wrong []string
	for key, value := range labels {
		if want, ok := right[key]; isOurs(key) && (!ok || want != value) {
			wrong = append(wrong, fmt.Sprintf("%s=%s", key, value))
		}
	}
	for key := range right {
		if _, had := old[key]; had && !hasKey(labels, key) {
			wrong = append(wrong, key+" (missing)")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return invalid("metadata.labels: only Grantry writes %s", strings.Join(wrong, ", "))
}

func hasKey(labels map[string]string, key string) bool {
	_, ok := labels[key]
	return ok
}
