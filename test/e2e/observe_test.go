//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/testing/otlp"
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
	operator := cluster.RunOperator(t, binary, append(cluster.Webhook.Args(), "--decision-log=all")...)
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

// TestObserve_admission: what alice writes leaves a line and two spans, which are part of the API server's
// trace: it sends admission webhooks its context.
func TestObserve_admission(t *testing.T) {
	collector := otlp.Start(t)
	cluster, admin, binary := start(t, traceTo(t, collector))
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+collector.Address)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100") // milliseconds
	args, err := cluster.Admission(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	operator := cluster.RunOperator(t, binary, append(args, "--decision-log=all")...)
	create(t, admin,
		namespace("metronome"), jobACL("dev-batch", "metronome", "dev.batch"),
		&v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: "alice-dev-batch"}, Spec: v1alpha1.GrantSpec{
			ACL: "dev-batch", Actions: []v1alpha1.Action{v1alpha1.ActionCreate}, Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "alice"}},
		}},
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "tenant"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"grantry.dev"}, Resources: []string{"jobs"}, Verbs: []string{"create"}},
		}},
		&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "tenant"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "tenant"},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}},
		},
	)
	until(t, "the policy counts", func() bool { return value(t, operator, "grantry_policy_objects", "kind=grant") == 1 })
	kubectl := func(name string, args ...string) string {
		const job = "apiVersion: grantry.dev/v1alpha1\nkind: Job\nmetadata: {namespace: metronome, name: NAME}\nspec: {run: {cmd: 'true'}}\n"
		out, err := cluster.KubectlStdin(t.Context(), "alice", strings.ReplaceAll(job, "NAME", name), append([]string{"create", "-f", "-"}, args...)...)
		if err != nil {
			return err.Error()
		}
		return out
	}
	until(t, "RBAC knows alice", func() bool {
		return !strings.Contains(kubectl("dev.batch.a", "--dry-run=server"), "cannot create resource")
	})
	if out := kubectl("dev.batch.b"); !strings.Contains(out, "dev.batch.b created") {
		t.Fatal(out)
	}
	refusal := kubectl("ops.x")
	operator.Stop()

	lines := slices.DeleteFunc(decisions(t, cluster), func(l decisionlog.Line) bool { return l.User != "alice" })
	if len(lines) < 3 {
		t.Fatalf("%d decisions were logged: %+v", len(lines), lines)
	}
	dry, allowed, refused := lines[0], lines[len(lines)-2], lines[len(lines)-1]
	if !dry.DryRun || dry.Target.Name != "dev.batch.a" || allowed.DryRun || allowed.Target.Name != "dev.batch.b" || allowed.Asked[0].Grant != "alice-dev-batch" {
		t.Errorf("%+v\n%+v", dry, allowed)
	}
	if !refused.Refused || refused.Target.Name != "ops.x" || refused.Asked[0].Grant != "" || !strings.Contains(refusal, refused.Reason) {
		t.Errorf("alice was told %q, and the log says %+v", refusal, refused)
	}
	for _, line := range []decisionlog.Line{dry, allowed, refused} {
		if line.Webhook != "admission" || line.Verb != "create" || !strings.HasPrefix(line.Credential, "X509SHA256=") {
			t.Errorf("%+v", line)
		}
		continuesTheAPIServersTrace(t, collector, line)
	}
}

// continuesTheAPIServersTrace: the spans of a line's trace are those of both calls, each below the API server's.
func continuesTheAPIServersTrace(t *testing.T, collector *otlp.Collector, line decisionlog.Line) {
	t.Helper()
	verdicts := map[string]string{}
	until(t, "the spans of "+line.Target.Name+" are below the API server's", func() bool {
		clear(verdicts)
		theirs := map[string]bool{}
		for _, span := range collector.Spans("apiserver") {
			if span.TraceID == line.TraceID {
				theirs[span.SpanID] = true
			}
		}
		for _, span := range collector.Spans("grantry") {
			if span.TraceID == line.TraceID && span.Name == "admit" && theirs[span.ParentID] {
				verdicts[span.Attributes["grantry.phase"]] = span.Attributes["grantry.verdict"]
			}
		}
		return len(verdicts) == 2
	})
	want := map[string]string{"mutate": "patched", "validate": "allowed"}
	if line.Refused {
		want["validate"] = "refused"
	}
	if diff := cmp.Diff(want, verdicts); diff != "" {
		t.Errorf("%s (-want +got)\n%s", line.Target.Name, diff)
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

// until waits for something that an export or a watch brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	harness.Eventually(t, exportedWithin, func() string {
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
