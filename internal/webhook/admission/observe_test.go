package admission

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	admissionv1 "k8s.io/api/admission/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	rules "github.com/grantry/grantry/internal/admission"
	"github.com/grantry/grantry/internal/decisionlog"
	"github.com/grantry/grantry/internal/metrics"
	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// counts returns the counters of decisions, and of how many were timed, by their labels.
func counts(t *testing.T) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.AdmissionDecisions)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			got[strings.Join(labels, " ")] = metric.GetCounter().GetValue()
		}
	}
	return got
}

// TestHandler_counts runs before the tests that run at once, which count, too.
func TestHandler_counts(t *testing.T) {
	before := counts(t)
	job := ownedBy("alice", newJob("dev.batch.a"))
	d := dispatch(t, nil)
	for p, requests := range map[phase][]review{
		mutate: {{user: "alice", operation: admissionv1.Create, resource: "jobs", object: newJob("dev.batch.a")}},
		validate: {
			{user: "alice", operation: admissionv1.Create, resource: "jobs", object: job},
			{user: "mallory", operation: admissionv1.Create, resource: "jobs", object: job},
			{user: "mallory", operation: admissionv1.Delete, resource: "jobs", old: job},
			{user: "nobody", operation: admissionv1.Delete, resource: "jobs", old: job},
			{user: "root", operation: admissionv1.Create, resource: "widgets", object: job},
		},
	} {
		for _, r := range requests {
			post(t, d, p, r.body(t))
		}
	}
	got := counts(t)
	maps.DeleteFunc(got, func(name string, n float64) bool { return n == before[name] })
	for name := range got {
		got[name] -= before[name]
	}
	want := map[string]float64{
		"CREATE jobs patched": 1, "CREATE jobs allowed": 1, "CREATE jobs refused": 1, "DELETE jobs refused": 1, "DELETE jobs failed": 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// breaking is a kind at whose requests the rules panic.
type breaking struct{}

func (breaking) review(phase, *rules.Request, *webhook.AdmissionRequest) (outcome, error) {
	panic("what nobody needs to know")
}

// TestHandler_panics: a panic lets nothing in, is counted, and is logged with the request; the requester isn't told more.
func TestHandler_panics(t *testing.T) {
	d := dispatch(t, nil)
	d.kinds = map[string]reviewer{"jobs": breaking{}}
	before, failures := testutil.ToFloat64(metrics.AdmissionPanics), counts(t)["DELETE jobs failed"]
	body := review{user: "alice", operation: admissionv1.Delete, resource: "jobs", old: newJob("dev.batch.a")}.body(t)
	got := post(t, d, validate, body)
	if got.Allowed || got.Result.Code != http.StatusInternalServerError || strings.Contains(got.Result.Message, "nobody") {
		t.Errorf("answered %t, %+v", got.Allowed, got.Result)
	}
	if n, m := testutil.ToFloat64(metrics.AdmissionPanics)-before, counts(t)["DELETE jobs failed"]-failures; n != 1 || m != 1 {
		t.Errorf("counted %v panics and %v failures", n, m)
	}
	var lines []string
	ctx := ctrl.LoggerInto(t.Context(), funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{}))
	request := &webhook.AdmissionRequest{AdmissionRequest: admissionv1.AdmissionRequest{Name: "dev.batch.a"}}
	if _, err := decide(ctx, breaking{}, validate, &rules.Request{}, request); !errors.Is(err, errPanic) {
		t.Error(err)
	}
	if len(lines) != 1 || !strings.Contains(lines[0], "nobody needs to know") || !strings.Contains(lines[0], `"name"="dev.batch.a"`) {
		t.Errorf("logged %q", lines)
	}
}

// asked is a request to a phase.
type asked struct {
	phase
	review
}

// logged returns the lines that requests leave.
func logged(t *testing.T, o decisionlog.Options, requests []asked, change ...func(*http.Request)) []decisionlog.Line {
	t.Helper()
	var out bytes.Buffer
	log := decisionlog.New(&out, o)
	d := dispatch(t, log)
	for _, r := range requests {
		post(t, d, r.phase, r.body(t), change...)
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return grantrytesting.DecisionLines(t, &out)
}

// TestHandler_logs: one line for each request, by the phase that decides, with who gives what was asked for.
func TestHandler_logs(t *testing.T) {
	t.Parallel()
	const create, update = admissionv1.Create, admissionv1.Update
	mine := ownedBy("alice", newJob("dev.batch.a"))
	changed := ownedBy("alice", newJob("dev.batch.a"))
	changed.Spec.Description = "x"
	got := logged(t, decisionlog.Options{Level: decisionlog.All, Rate: 1}, []asked{
		{mutate, review{user: "alice", groups: []string{"a", "b"}, operation: create, resource: "jobs", object: newJob("dev.batch.a")}},
		{validate, review{user: "alice", groups: []string{"a", "b"}, operation: create, resource: "jobs", object: mine, dryRun: true, options: "CreateOptions"}},
		{mutate, review{user: "mallory", operation: update, resource: "jobs", old: mine, object: changed, options: "PatchOptions"}},
		{validate, review{user: "carla", operation: update, resource: "jobs", old: mine, object: changed, options: "UpdateOptions"}},
		{validate, review{user: "alice", operation: create, resource: "grants", object: writtenBy("alice", newGrant("g", "dev-batch", "bob"))}},
		{validate, review{user: "mallory", operation: create, resource: "grants", object: writtenBy("mallory", newGrant("g", "dev-batch", "bob"))}},
		{validate, review{user: "nobody", operation: admissionv1.Delete, resource: "jobs", old: mine}},
	}, func(r *http.Request) {
		r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	})
	const id, batch = "dcos:service:metronome:metronome:jobs:dev.batch.a", "dcos:service:metronome:metronome:jobs:dev.batch"
	about := func(resource, name string) decisionlog.Target {
		return decisionlog.Target{Group: "grantry.dev", Resource: resource, Namespace: "metronome", Name: name}
	}
	away := `the API server can't be asked now whether user nobody may "override" jobs: the API server is away`
	want := []decisionlog.Line{
		{
			User: "alice", Groups: 2, Verb: "create", Operation: "CREATE", DryRun: true, Target: about("jobs", "dev.batch.a"), Verdict: "allow",
			Asked:  []decisionlog.Asked{{Permission: id, Action: "create", Grant: "alice-dev-batch", ACL: "dev-batch"}},
			Reason: "Allowed by Grant alice-dev-batch on ACL dev-batch",
		},
		{
			User: "mallory", Verb: "patch", Operation: "UPDATE", Target: about("jobs", "dev.batch.a"), Verdict: "deny", Refused: true,
			Asked:  []decisionlog.Asked{{Permission: id, Action: "update"}},
			Reason: `user mallory may not "update" on jobs dev.batch.a in metronome: ask for a Grant of update or full on an ACL that covers ` + id,
		},
		{
			User: "carla", Verb: "update", Operation: "UPDATE", Target: about("jobs", "dev.batch.a"), Verdict: "allow",
			Asked:  []decisionlog.Asked{{Permission: id, Action: "update"}},
			Reason: "Allowed by RBAC's verb override on jobs.grantry.dev dev.batch.a in metronome",
		},
		{
			User: "alice", Verb: "create", Operation: "CREATE", Target: about("grants", "g"), Verdict: "allow",
			Asked:  []decisionlog.Asked{{Permission: batch, Action: "full", Grant: "alice-dev-batch", ACL: "dev-batch"}},
			Reason: "Allowed by Grant alice-dev-batch on ACL dev-batch",
		},
		{
			User: "mallory", Verb: "create", Operation: "CREATE", Target: about("grants", "g"), Verdict: "deny", Refused: true,
			Asked:  []decisionlog.Asked{{Permission: batch, Action: "full"}},
			Reason: `user mallory may not create Grant "g": it takes "full" on what ACL "dev-batch" protects without an end; ask somebody who holds it, or for the RBAC verb "grant" on acls.grantry.dev "dev-batch"`,
		},
		{
			User: "nobody", Verb: "delete", Operation: "DELETE", Target: about("jobs", "dev.batch.a"), Verdict: "deny", Refused: true,
			Asked: []decisionlog.Asked{{Permission: id, Action: "delete"}}, Reason: away, Error: away,
		},
	}
	for i := range want {
		want[i].Webhook, want[i].Credential, want[i].TraceID = "admission", "JTI=1", "4bf92f3577b34da6a3ce929d0e0e4736"
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(decisionlog.Line{}, "Time", "LatencyMicroseconds")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestHandler_logsByLevel(t *testing.T) {
	t.Parallel()
	job := ownedBy("alice", newJob("dev.batch.a"))
	for name, tc := range map[string]struct {
		options decisionlog.Options
		want    []string
	}{
		"none":           {decisionlog.Options{Level: decisionlog.None, Rate: 1}, nil},
		"denied":         {decisionlog.Options{Level: decisionlog.Denied, Rate: 1}, []string{"mallory"}},
		"all, refusals":  {decisionlog.Options{Level: decisionlog.All}, []string{"mallory"}},
		"all, and every": {decisionlog.Options{Level: decisionlog.All, Rate: 1}, []string{"alice", "mallory"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var users []string
			for _, line := range logged(t, tc.options, []asked{
				{validate, review{user: "alice", operation: admissionv1.Create, resource: "jobs", object: job}},
				{validate, review{user: "mallory", operation: admissionv1.Create, resource: "jobs", object: job}},
			}) {
				users = append(users, line.User)
			}
			if diff := cmp.Diff(tc.want, users); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestHandler_describesItsSpan(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("").Start(t.Context(), "admit")
	body := review{user: "mallory", operation: admissionv1.Create, resource: "jobs", object: ownedBy("mallory", newJob("dev.batch.a"))}.body(t)
	for p, verdict := range map[phase]string{mutate: "patched", validate: "refused"} {
		post(t, dispatch(t, nil), p, body, func(r *http.Request) { *r = *r.WithContext(ctx) })
		want := attribute.NewSet(attribute.String("grantry.verdict", verdict), attribute.String("grantry.kind", "jobs"),
			attribute.String("grantry.operation", "CREATE"), attribute.String("grantry.phase", p.String()))
		if got := attribute.NewSet(span.(sdktrace.ReadOnlySpan).Attributes()...); !got.Equals(&want) {
			t.Errorf("%v, want %v", got.ToSlice(), want.ToSlice())
		}
	}
}
