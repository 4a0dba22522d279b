package metrics_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	grantrymetrics "github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/policystore"
)

var (
	described = regexp.MustCompile("(?m)^\\| `(grantry_[a-z_]+)`")
	fullName  = regexp.MustCompile(`fqName: "(grantry_[a-z_]+)"`)
)

// TestMetrics_documented: docs/operations.md has a row for each metric of ours, and for no other.
func TestMetrics_documented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, match := range described.FindAllSubmatch(page, -1) {
		rows = append(rows, string(match[1]))
	}
	if err := grantrymetrics.Register(policystore.New(nil, clock.RealClock{}).Collector()); err != nil {
		t.Fatal(err)
	}
	descriptions := make(chan *prometheus.Desc)
	go func() {
		metrics.Registry.(prometheus.Collector).Describe(descriptions)
		close(descriptions)
	}()
	var ours []string
	for d := range descriptions {
		if match := fullName.FindStringSubmatch(d.String()); match != nil {
			ours = append(ours, match[1])
		}
	}
	slices.Sort(ours)
	slices.Sort(rows)
	if !slices.Equal(ours, rows) {
		t.Errorf("registered %q\ndescribed  %q", ours, rows)
	}
}
