package metrics_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	grantrymetrics "github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/policystore"
)

var (
	described = regexp.MustCompile("(?m)^\\| `(grantry_[a-z_]+)`")
	named     = regexp.MustCompile(`grantry_[a-z_]+[a-z]`)
	fullName  = regexp.MustCompile(`fqName: "(grantry_[a-z_]+)"`)
	series    = regexp.MustCompile(`_(bucket|count|sum)$`)
)

// registered are the names of our metrics, sorted.
var registered = sync.OnceValues(func() ([]string, error) {
	if err := grantrymetrics.Register(policystore.New(nil, clock.RealClock{}).Collector()); err != nil {
		return nil, err
	}
	if err := errors.Join(grantrymetrics.RegisterBuild(), grantrymetrics.Register(grantrymetrics.Certificates{})); err != nil {
		return nil, err
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
	return ours, nil
})

// TestMetrics_documented: docs/operations.md has a row for each metric of ours, and for no other.
func TestMetrics_documented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, match := range described.FindAllSubmatch(page, -1) {
		rows = append(rows, string(match[1]))
	}
	slices.Sort(rows)
	ours, err := registered()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(ours, rows) {
		t.Errorf("registered %q\ndescribed  %q", ours, rows)
	}
}

// TestMetrics_named: what alerts, the dashboard and the pages name is there.
func TestMetrics_named(t *testing.T) {
	t.Parallel()
	ours, err := registered()
	if err != nil {
		t.Fatal(err)
	}
	for file, least := range map[string]int{
		"config/monitoring/alerts.yaml": 10, "config/monitoring/dashboard.json": 15,
		"docs/operations.md": 20, "docs/operations/runbook.md": 5, "docs/operations/outages.md": 1,
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", file))
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, name := range named.FindAllString(string(text), -1) {
			name = series.ReplaceAllString(name, "")
			found[name] = true
			if !slices.Contains(ours, name) {
				t.Errorf("%s names %s, and there is no such metric", file, name)
			}
		}
		if len(found) < least {
			t.Errorf("%s names %d metrics", file, len(found))
		}
	}
}

// TestAlerts_runbook: each alert has a place in the runbook, and the runbook has no other.
func TestAlerts_runbook(t *testing.T) {
	t.Parallel()
	alerts, err := os.ReadFile("../../config/monitoring/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/operations/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	names := func(text []byte, pattern string) (found []string) {
		for _, match := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
			found = append(found, string(match[1]))
		}
		return found
	}
	want := names(alerts, `(?m)- alert: (\w+)$`)
	if got := names(page, `(?m)^## (Grantry\w+)$`); len(want) == 0 || !slices.Equal(want, got) {
		t.Errorf("alerts  %q\nrunbook %q", want, got)
	}
	for i, anchor := range names(alerts, `runbook\.md#(\w+)\n`) {
		if anchor != strings.ToLower(want[i]) {
			t.Errorf("%s points to %s", want[i], anchor)
		}
	}
}

// pemOf are certificates that end so many days from a time.
func pemOf(t *testing.T, from time.Time, days ...int) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n") // can't be read
	for _, n := range days {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: from.AddDate(0, 0, n)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

// TestCertificates: a chain ends with the first of it, and a bundle with the last.
func TestCertificates(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	give := func(text []byte) func() []byte { return func() []byte { return text } }
	c := grantrymetrics.Certificates{
		Served:  map[string]func() []byte{"chain": give(pemOf(t, now, 7, 90)), "none": give(nil)},
		Trusted: map[string]func() []byte{"bundle": give(pemOf(t, now, 7, 90))},
	}
	want := strings.NewReader(fmt.Sprintf(`# HELP grantry_certificate_expiry_timestamp_seconds When a certificate that this replica serves with or trusts ends, in Unix time.
# TYPE grantry_certificate_expiry_timestamp_seconds gauge
grantry_certificate_expiry_timestamp_seconds{certificate="bundle"} %d
grantry_certificate_expiry_timestamp_seconds{certificate="chain"} %d
`, now.AddDate(0, 0, 90).Unix(), now.AddDate(0, 0, 7).Unix()))
	if err := testutil.CollectAndCompare(c, want); err != nil {
		t.Error(err)
	}
}
