//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/testing/otlp"
	"github.com/grantry/grantry/internal/tracing"
	"github.com/grantry/grantry/test/harness"
)

// exportedWithin is how long spans may take: the API server exports every five seconds.
const exportedWithin = 30 * time.Second

// TestObserve: what alice asks is in the operator's metrics, log and traces, as the API server asked it.
func TestObserve(t *testing.T) {
	collector := otlp.Start(t)
	cluster, admin, binary := start(t, "--mode=permissive", traceTo(t, collector))
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+collector.Address)
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_on")
	operator := run(t, cluster, binary, append(cluster.Webhook.Args(), "--decision-log=all")...)
	create(t, admin,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "metronome"}},
		&v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: "dev-batch"}, Spec: v1alpha1.ACLSpec{Resource: "dcos:service:metronome:metronome:jobs:dev.batch"}},
		&v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: "alice-dev-batch"}, Spec: v1alpha1.GrantSpec{
			ACL: "dev-batch", Actions: []v1alpha1.Action{v1alpha1.ActionRead}, Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "alice"}},
		}},
		&v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: "lost"}, Spec: v1alpha1.GrantSpec{
			ACL: "nowhere", Actions: []v1alpha1.Action{v1alpha1.ActionRead}, Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "bob"}},
		}},
	)
	until(t, "the policy counts", func() bool {
		return value(t, operator, "grantry_policy_objects", "kind=grant") == 2 && value(t, operator, "grantry_policy_missing_acls") == 1
	})
	kubectl := func(args ...string) string {
		out, _ := cluster.Kubectl(t.Context(), "alice", append(args, "--namespace=metronome")...) // a 404 or a 403, both of which are meant
		return out
	}
	kubectl("get", "gjob", "dev.batch.job1")
	refusal := kubectl("get", "gjob", "dev.other")
	kubectl("get", "jrun", "none")

	if n := value(t, operator, "grantry_authorization_decisions_total", "verdict=allow", "kind=jobs", "family=jobs"); n != 1 {
		t.Errorf("%v requests on Jobs were allowed", n)
	}
	if n := value(t, operator, "grantry_authorization_decisions_total", "verdict=no_opinion", "kind=jobs", "family=jobs"); n != 1 {
		t.Errorf("%v requests on Jobs were refused", n)
	}
	if version := value(t, operator, "grantry_policy_resource_version", "kind=grant"); version == 0 {
		t.Error("the watch has seen nothing")
	}
	operator.Stop()
	lines := decisions(t, cluster)
	if len(lines) != 3 {
		t.Fatalf("%d decisions were logged: %+v", len(lines), lines)
	}
	for i, want := range []string{"dev.batch.job1", "dev.other", "none"} {
		if line := lines[i]; line.User != "alice" || line.Target.Name != want || line.Refused != (i > 0) || !strings.HasPrefix(line.Credential, "X509SHA256=") {
			t.Errorf("%+v", line)
		}
	}
	if !strings.Contains(refusal, lines[1].Reason) {
		t.Errorf("alice was told %q, and the log says %q", refusal, lines[1].Reason)
	}
	traces(t, collector, lines)
}

// traces: each request is a trace of the id that the log has. The API server traces them, too, but sends
// authorization webhooks no context, unlike admission webhooks; if it does one day, the documents change.
func traces(t *testing.T, collector *otlp.Collector, lines []decisionlog.Line) {
	t.Helper()
	until(t, "the API server's spans", func() bool { return len(collector.Spans("apiserver")) > 0 })
	theirs := map[string]bool{}
	for _, span := range collector.Spans("apiserver") {
		theirs[span.TraceID] = true
	}
	for i, line := range lines {
		below := map[string]string{} // of each span, the span above it
		var authorize otlp.Span
		for _, span := range collector.Spans("grantry") {
			if span.TraceID == line.TraceID {
				below[span.Name] = span.ParentID
			}
			if span.TraceID == line.TraceID && span.Name == "authorize" {
				authorize = span
			}
		}
		want := map[string]string{"authorize": ""}
		if i == 2 {
			want["read jobrun"] = authorize.SpanID
		}
		if diff := cmp.Diff(want, below); diff != "" || theirs[line.TraceID] {
			t.Errorf("the trace of line %d is the API server's: %t; its spans (-want +got)\n%s", i, theirs[line.TraceID], diff)
		}
		if got := authorize.Attributes["grantry.verdict"]; got != line.Verdict {
			t.Errorf("the span of line %d says %q", i, got)
		}
	}
}

// TestObserve_continuesTheAPIServersTrace: where the API server sends a trace context, as to an admission
// webhook, a traced handler's span is below the API server's.
func TestObserve_continuesTheAPIServersTrace(t *testing.T) {
	collector := otlp.Start(t)
	_, admin, _ := start(t, traceTo(t, collector))
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+collector.Address)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100") // milliseconds
	provider, err := tracing.New(t.Context(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(provider.Handler("admit", http.HandlerFunc(admit)))
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	none := admissionregistrationv1.SideEffectClassNone
	create(t, admin, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "traced"},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "traced.grantry.dev", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: ca},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{"grantry.dev"}, APIVersions: []string{"*"}, Resources: []string{"acls"}},
			}},
		}},
	})
	names := 0
	until(t, "the webhook is asked", func() bool {
		names++
		create(t, admin, &v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: "dev-" + strings.Repeat("x", names)}, Spec: v1alpha1.ACLSpec{Resource: "dcos:superuser"}})
		return len(collector.Spans("grantry")) > 0
	})
	ours := collector.Spans("grantry")[0]
	until(t, "its parent is a span of the API server", func() bool {
		for _, span := range collector.Spans("apiserver") {
			if span.SpanID == ours.ParentID && span.TraceID == ours.TraceID {
				t.Logf("%q is the parent of %q", span.Name, ours.Name)
				return true
			}
		}
		return false
	})
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// traceTo is an argument of devcluster up, by which the API server traces every request.
func traceTo(t *testing.T, collector *otlp.Collector) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tracing.yaml")
	config := "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nsamplingRatePerMillion: 1000000\nendpoint: " + collector.Address + "\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return "--apiserver-arg=--tracing-config-file=" + file
}

// admit allows everything.
func admit(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	body, _ := io.ReadAll(r.Body)
	if json.Unmarshal(body, &review) != nil || review.Request == nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(&review)
}

// until waits for something that an export or a watch brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	eventually(t, exportedWithin, func() string {
		if ok() {
			return ""
		}
		return what
	})
}

// decisions are the lines of the decision log, which the harness writes into one file with the log.
func decisions(t *testing.T, cluster *harness.Cluster) (lines []decisionlog.Line) {
	t.Helper()
	file, err := os.Open(cluster.LogPath())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var line decisionlog.Line
		if json.Unmarshal(scanner.Bytes(), &line) == nil && line.Webhook != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// value is that of a metric with all these labels, or their sum.
func value(t *testing.T, operator *harness.Operator, name string, labels ...string) (sum float64) {
	t.Helper()
	families, err := operator.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families[name].GetMetric() {
		has := map[string]bool{}
		for _, label := range m.GetLabel() {
			has[label.GetName()+"="+label.GetValue()] = true
		}
		if !slices.ContainsFunc(labels, func(label string) bool { return !has[label] }) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}
