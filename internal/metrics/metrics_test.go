package metrics_test

import (
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	grantrymetrics "github.com/grantry/grantry/internal/metrics"
)

// TestMetrics_documented: what is registered under our name is in docs/operations.md.
func TestMetrics_documented(t *testing.T) {
	grantrymetrics.AuthorizationDecisions.WithLabelValues("allow", "jobs")
	grantrymetrics.AuthorizationRefusedRequests.WithLabelValues("400")
	grantrymetrics.AdmissionDecisions.WithLabelValues("jobs", "CREATE", "allowed")
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "grantry_") {
			continue
		}
		seen++
		if !strings.Contains(string(page), "`"+f.GetName()+"`") {
			t.Errorf("docs/operations.md does not name %s", f.GetName())
		}
	}
	if seen != 6 {
		t.Errorf("%d metrics are registered", seen)
	}
}
