// Package health asks GitOps tools what they make of an object of ours: kstatus by its own library, Argo CD by the
// script that is shipped for it, Flux by kstatus and by the expressions of the example. Only tests import it.
package health

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// KStatus is what kstatus computes: InProgress, Failed, Current or Terminating.
func KStatus(tb testing.TB, obj *unstructured.Unstructured) string {
	tb.Helper()
	result, err := status.Compute(obj)
	if err != nil {
		tb.Fatalf("kstatus of %s %s: %v", obj.GetKind(), obj.GetName(), err)
	}
	return result.Status.String()
}
