package testing

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// RunOf is a run of a Job, the first by name, or nil.
func RunOf(tb testing.TB, c client.Client, namespace, job string) *v1alpha1.JobRun {
	tb.Helper()
	runs := &v1alpha1.JobRunList{}
	if err := c.List(tb.Context(), runs, client.InNamespace(namespace)); err != nil {
		tb.Fatal(err)
	}
	for i := range runs.Items {
		if runs.Items[i].Spec.Job == job {
			return &runs.Items[i]
		}
	}
	return nil
}
