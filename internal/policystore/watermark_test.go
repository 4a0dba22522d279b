package policystore_test

import (
	"strconv"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/grantry/grantry/api/v1alpha1"
)

// TestStore_watermark: the metric follows the resourceVersion of what was written, and of what was deleted.
func TestStore_watermark(t *testing.T) {
	w := newWorld(t)
	w.startSynced(t)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.store.Collector())
	seen := func() uint64 {
		families, err := registry.Gather()
		w.Expect(err).NotTo(HaveOccurred())
		for _, family := range families {
			if family.GetName() != "grantry_policy_resource_version" {
				continue
			}
			for _, metric := range family.GetMetric() {
				if metric.GetLabel()[0].GetValue() == "grant" {
					return uint64(metric.GetGauge().GetValue())
				}
			}
		}
		return 0
	}
	given := grant("alice", "dev", user("alice"), v1alpha1.ActionRead)
	w.create(t, given)
	version, err := strconv.ParseUint(given.ResourceVersion, 10, 64)
	w.Expect(err).NotTo(HaveOccurred())
	w.Eventually(seen).Should(BeNumerically(">=", version))
	came := seen()
	w.Expect(w.Delete(t.Context(), given)).To(Succeed())
	w.Eventually(seen).Should(BeNumerically(">", came))
}
