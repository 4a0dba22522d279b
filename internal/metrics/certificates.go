package metrics

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// CertificateExpiry is when a certificate ends.
var CertificateExpiry = gauge("certificate_expiry_timestamp_seconds",
	"When a certificate that this replica serves with or trusts ends, in Unix time.", "certificate")

// Certificates collects when certificates end: by name, what reads each as it is now, in PEM, or nothing.
type Certificates struct {
	// Served are those that this replica serves with. The first of a chain to end counts.
	Served map[string]func() []byte
	// Trusted are bundles of authorities. The last of each to end counts, as the one before it may stay in it.
	Trusted map[string]func() []byte
}

var _ prometheus.Collector = Certificates{}

// Describe is for prometheus.Collector.
func (c Certificates) Describe(to chan<- *prometheus.Desc) { to <- CertificateExpiry }

// Collect is for prometheus.Collector. What can't be read is not there.
func (c Certificates) Collect(to chan<- prometheus.Metric) {
	send := func(name string, ends []time.Time, choose func([]time.Time, func(a, b time.Time) int) time.Time) {
		if len(ends) > 0 {
			end := choose(ends, time.Time.Compare)
			to <- prometheus.MustNewConstMetric(CertificateExpiry, prometheus.GaugeValue, float64(end.Unix()), name)
		}
	}
	for name, read := range c.Served {
		send(name, endsOf(read()), slices.MinFunc)
	}
	for name, read := range c.Trusted {
		send(name, endsOf(read()), slices.MaxFunc)
	}
}

// endsOf is when each of some certificates ends, without what can't be read.
func endsOf(text []byte) (ends []time.Time) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return ends
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			ends = append(ends, c.NotAfter)
		}
	}
}
