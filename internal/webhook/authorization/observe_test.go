package authorization

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/grantry/grantry/internal/authorizer"
	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/metrics"
	"github.com/grantry/grantry/internal/permission"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// policy gives alice read on dev.batch, and root everything.
type policy struct{ snapshot *effective.Snapshot }

func (p policy) Snapshot() *effective.Snapshot { return p.snapshot }

func (policy) Unavailable() error { return errors.New("nothing is known yet") }

// nothing is a Lookup that finds nothing.
type nothing struct{}

func (nothing) JobOfRun(context.Context, string, string) (string, error) {
	return "", authorizer.ErrNotFound
}

func (nothing) JobOfPod(context.Context, string, string) (string, error) {
	return "", authorizer.ErrNotFound
}
func (nothing) HoldsJobs(context.Context, string) (bool, error) { return false, nil }

func newHandler(mode permission.SecurityMode, log *decisionlog.Log) *Handler {
	snapshot, _ := effective.Build(effective.Input{
		ACLs: []effective.ACL{
			{Name: "dev-batch", Resource: permission.JobResource("metronome", "dev.batch")}, {Name: "all", Resource: permission.Superuser()},
		},
		Grants: []effective.Grant{
			{Name: "alice-dev-batch", ACL: "dev-batch", Actions: permission.Read, Subjects: []effective.Subject{effective.UserSubject("alice")}},
			{Name: "root-all", ACL: "all", Actions: permission.Full, Subjects: []effective.Subject{effective.UserSubject("root")}},
		},
	})
	return &Handler{Clock: clock.RealClock{}, Log: log, Authorizer: &authorizer.Authorizer{
		Policy: policy{snapshot}, Lookup: nothing{}, Clock: clocktesting.NewFakePassiveClock(noon), Mode: mode, DefaultInstance: "metronome",
	}}
}

// question is a request for the job of a name, or for another resource of our group if it has a slash.
func question(tb testing.TB, user, verb, name string) *http.Request {
	tb.Helper()
	resource := "jobs"
	if before, after, ok := strings.Cut(name, "/"); ok {
		resource, name = before, after
	}
	body, err := json.Marshal(authorizationv1.SubjectAccessReviewSpec{
		User: user, Groups: []string{"devs", "system:authenticated"}, Extra: map[string]authorizationv1.ExtraValue{credentialID: {"JTI=1"}},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Group: "grantry.dev", Resource: resource, Namespace: "metronome", Name: name},
	})
	if err != nil {
		tb.Fatal(err)
	}
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, Path, strings.NewReader(review+string(body)+"}"))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// tooLong is a request with a question that is not read.
func tooLong(tb testing.TB) *http.Request {
	tb.Helper()
	r := httptest.NewRequestWithContext(tb.Context(), http.MethodPost, Path, io.MultiReader(strings.NewReader(review), strings.NewReader(strings.Repeat(" ", MaxBody))))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// counts returns the counters of decisions and of how many were timed, by their labels.
func counts(t *testing.T) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.AuthorizationDecisions, metrics.AuthorizationSeconds, metrics.AuthorizationRefusedRequests)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "grantry_authorization_")
			for _, label := range metric.GetLabel() {
				name += " " + label.GetName() + "=" + label.GetValue()
			}
			got[name] = metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return got
}

// TestHandler_counts runs before the tests that run at once, which count, too.
func TestHandler_counts(t *testing.T) {
	before := counts(t)
	for mode, requests := range map[permission.SecurityMode][]*http.Request{
		permission.ModePermissive: {
			question(t, "alice", "get", "dev.batch.job1"), question(t, "alice", "get", "dev.batch.job2"), question(t, "alice", "delete", "dev.batch"),
			question(t, "root", "get", "grants/g"), question(t, "alice", "get", "grants/g"), question(t, "alice", "get", "widgets/w"),
		},
		permission.ModeStrict: {question(t, "alice", "get", "dev"), tooLong(t), httptest.NewRequestWithContext(t.Context(), http.MethodGet, Path, nil)},
	} {
		for _, r := range requests {
			newHandler(mode, nil).ServeHTTP(httptest.NewRecorder(), r)
		}
	}
	got := counts(t)
	maps.DeleteFunc(got, func(name string, n float64) bool { return n == before[name] })
	for name := range got {
		got[name] -= before[name]
	}
	want := map[string]float64{
		"decisions_total family=jobs kind=jobs verdict=allow":               2,
		"decisions_total family=jobs kind=jobs verdict=no_opinion":          1,
		"decisions_total family=superuser kind=policy verdict=allow":        1,
		"decisions_total family=adminrouter kind=policy verdict=no_opinion": 1,
		"decisions_total family=none kind=other verdict=no_opinion":         1,
		"decisions_total family=jobs kind=jobs verdict=deny":                1,
		"duration_seconds verdict=allow":                                    3,
		"duration_seconds verdict=no_opinion":                               3,
		"decisions_total family=none kind=other verdict=deny":               1,
		"duration_seconds verdict=deny":                                     2,
		"refused_requests_total code=405":                                   1,
		"refused_requests_total code=413":                                   1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// logged returns the lines that requests leave.
func logged(t *testing.T, mode permission.SecurityMode, o decisionlog.Options, requests ...*http.Request) []decisionlog.Line {
	t.Helper()
	var out bytes.Buffer
	log := decisionlog.New(&out, o)
	for _, r := range requests {
		newHandler(mode, log).ServeHTTP(httptest.NewRecorder(), r)
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return grantrytesting.DecisionLines(t, &out)
}

func TestHandler_logs(t *testing.T) {
	t.Parallel()
	traced := question(t, "alice", "delete", "dev.batch")
	traced.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	path := httptest.NewRequestWithContext(t.Context(), http.MethodPost, Path, strings.NewReader(review+`{"user":"kubelet","nonResourceAttributes":{"path":"/healthz","verb":"get"}}}`))
	path.Header.Set("Content-Type", "application/json")
	got := logged(t, permission.ModeStrict, decisionlog.Options{Level: decisionlog.All, Rate: 1},
		question(t, "alice", "get", "dev.batch.job1"), traced, path, tooLong(t))
	const id = "dcos:service:metronome:metronome:jobs:dev.batch"
	about := func(name string) decisionlog.Target {
		return decisionlog.Target{Group: "grantry.dev", Resource: "jobs", Namespace: "metronome", Name: name}
	}
	want := []decisionlog.Line{
		{
			Webhook: "authorization", User: "alice", Groups: 2, Credential: "JTI=1", Verb: "get", Target: about("dev.batch.job1"), Verdict: "allow",
			Asked:  []decisionlog.Asked{{Permission: id + ".job1", Action: "read", Grant: "alice-dev-batch", ACL: "dev-batch"}},
			Reason: "Allowed by Grant alice-dev-batch on ACL dev-batch",
		},
		{
			Webhook: "authorization", User: "alice", Groups: 2, Credential: "JTI=1", Verb: "delete", Target: about("dev.batch"), Verdict: "deny", Refused: true,
			Asked:  []decisionlog.Asked{{Permission: id, Action: "delete"}},
			Reason: `user alice may not "delete" on jobs dev.batch in metronome`, TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
		},
		{Webhook: "authorization", User: "kubelet", Verb: "get", Target: decisionlog.Target{Path: "/healthz"}, Verdict: "no_opinion"},
		{
			Webhook: "authorization", Verdict: "deny", Refused: true,
			Reason: "no question of more than 1048576 bytes is read: ask with a shorter selector",
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(decisionlog.Line{}, "Time", "LatencyMicroseconds")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, line := range got {
		if at, err := time.Parse(time.RFC3339Nano, line.Time); err != nil || time.Since(at) > time.Minute || line.LatencyMicroseconds <= 0 {
			t.Errorf("at %s, in %d µs: %v", line.Time, line.LatencyMicroseconds, err)
		}
	}
}

// TestHandler_logsByLevel: in permissive mode a refusal is no opinion, and is a refusal all the same.
func TestHandler_logsByLevel(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		options decisionlog.Options
		want    []string
	}{
		"none":           {decisionlog.Options{Level: decisionlog.None, Rate: 1}, nil},
		"denied":         {decisionlog.Options{Level: decisionlog.Denied, Rate: 1}, []string{"delete"}},
		"all, refusals":  {decisionlog.Options{Level: decisionlog.All}, []string{"delete"}},
		"all, and every": {decisionlog.Options{Level: decisionlog.All, Rate: 1}, []string{"get", "delete", "list"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var verbs []string
			for _, line := range logged(t, permission.ModePermissive, tc.options,
				question(t, "alice", "get", "dev.batch"), question(t, "alice", "delete", "dev.batch"), question(t, "alice", "list", "widgets/")) {
				verbs = append(verbs, line.Verb)
			}
			if diff := cmp.Diff(tc.want, verbs); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestHandler_describesItsSpan(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("").Start(t.Context(), "authorize")
	for _, verb := range []string{"get", strings.Repeat("x", 1000)} {
		newHandler(permission.ModePermissive, nil).ServeHTTP(httptest.NewRecorder(), question(t, "alice", verb, "dev.batch").WithContext(ctx))
		want := attribute.NewSet(attribute.String("grantry.verdict", "allow"), attribute.String("grantry.kind", "jobs"),
			attribute.String("grantry.family", "jobs"), attribute.String("grantry.verb", "get"))
		if verb != "get" {
			want = attribute.NewSet(attribute.String("grantry.verdict", "no_opinion"), attribute.String("grantry.kind", "jobs"),
				attribute.String("grantry.family", "none"), attribute.String("grantry.verb", "other"))
		}
		if got := attribute.NewSet(span.(sdktrace.ReadOnlySpan).Attributes()...); !got.Equals(&want) {
			t.Errorf("%v, want %v", got.ToSlice(), want.ToSlice())
		}
	}
}

// TestObserve_costsNothingUnlessAsked: without a log and a trace, to observe a decision allocates nothing.
func TestObserve_costsNothingUnlessAsked(t *testing.T) {
	h := newHandler(permission.ModePermissive, nil)
	a := &answered{http: question(t, "alice", "get", "dev.batch"), spec: &authorizationv1.SubjectAccessReviewSpec{}, took: time.Microsecond}
	a.decision = authorizer.Decision{Verdict: authorizer.Allow, Kind: authorizer.Jobs, Family: permission.FamilyJobs}
	if n := testing.AllocsPerRun(100, func() {
		a.basis = h.basis()
		h.observe(a)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkHandler compares answers with and without the log, which is written to nowhere.
func BenchmarkHandler(b *testing.B) {
	for _, level := range []decisionlog.Level{decisionlog.None, decisionlog.Denied, decisionlog.All} {
		for _, name := range []string{"dev.batch.job1", "dev.other"} {
			b.Run(string(level)+"/"+name, func(b *testing.B) {
				log := decisionlog.New(io.Discard, decisionlog.Options{Level: level, Rate: 1})
				h := newHandler(permission.ModePermissive, log)
				r := question(b, "alice", "get", name)
				body, err := io.ReadAll(r.Body)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					r.Body = io.NopCloser(bytes.NewReader(body))
					h.ServeHTTP(httptest.NewRecorder(), r)
				}
				if err := log.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// TestFailed: the line of a panic says at what, and not what else a question holds.
func TestFailed(t *testing.T) {
	var lines []string
	ctx := ctrl.LoggerInto(t.Context(), funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{}))
	failed(ctx, &authorizationv1.SubjectAccessReviewSpec{
		User: "alice", Extra: map[string]authorizationv1.ExtraValue{credentialID: {"JTI=1"}},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "jobs", Name: "dev.batch.a"},
	}, errors.New("panic: x"))
	if len(lines) != 1 || !strings.Contains(lines[0], `"user"="alice" "verb"="get"`) || !strings.Contains(lines[0], `"name"="dev.batch.a"`) || strings.Contains(lines[0], "JTI") {
		t.Errorf("logged %q", lines)
	}
}
