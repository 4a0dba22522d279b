package tracing

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"

	"github.com/grantry/grantry/internal/testing/otlp"
)

// clean leaves the environment without what configures traces.
func clean(t *testing.T, set map[string]string) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
	} {
		t.Setenv(name, set[name])
	}
}

func TestNew_byEnvironment(t *testing.T) {
	const endpoint = "http://127.0.0.1:1"
	cases := map[string]struct {
		set     map[string]string
		on, bad bool
	}{
		"nothing":              {},
		"an endpoint":          {set: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, on: true},
		"one for traces":       {set: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": endpoint}, on: true},
		"disabled":             {set: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SDK_DISABLED": "true"}},
		"over gRPC":            {set: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, on: true},
		"over another":         {set: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, bad: true},
		"over another, traces": {set: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, bad: true},
		"another, but off":     {set: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			clean(t, tc.set)
			p, err := New(t.Context(), logr.Discard())
			if (p != nil) != tc.on || (err != nil) != tc.bad {
				t.Errorf("New() = %v, %v", p, err)
			}
			if err := p.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

const (
	theirTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	theirSpan   = "00f067aa0ba902b7"
	traceparent = "00-" + theirTrace + "-" + theirSpan
)

// exported sends a request through a traced handler, and returns what the collector got.
func exported(t *testing.T, parent string, set map[string]string) ([]otlp.Span, string) {
	t.Helper()
	collector := otlp.Start(t)
	environment := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + collector.Address}
	maps.Copy(environment, set)
	clean(t, environment)
	p, err := New(t.Context(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	id := ""
	handler := p.Handler("authorize", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		id = TraceID(r)
		_, child := trace.SpanFromContext(r.Context()).TracerProvider().Tracer("test").Start(r.Context(), "child")
		child.End()
	}))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/authorize", nil)
	if parent != "" {
		r.Header.Set("Traceparent", parent)
	}
	handler.ServeHTTP(httptest.NewRecorder(), r)
	if err := p.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	service := "grantry"
	if set["OTEL_SERVICE_NAME"] != "" {
		service = set["OTEL_SERVICE_NAME"]
	}
	return collector.Spans(service), id
}

func TestHandler_continuesATrace(t *testing.T) {
	spans, id := exported(t, traceparent+"-01", nil)
	if len(spans) != 2 || id != theirTrace {
		t.Fatalf("%d spans of the trace %q: %+v", len(spans), id, spans)
	}
	child, authorize := spans[0], spans[1]
	if authorize.Name != "authorize" || authorize.TraceID != theirTrace || authorize.ParentID != theirSpan {
		t.Errorf("%+v", authorize)
	}
	if child.TraceID != theirTrace || child.ParentID != authorize.SpanID {
		t.Errorf("%+v", child)
	}
}

// TestHandler_samples: the caller decides; without a trace of its own, the environment.
func TestHandler_samples(t *testing.T) {
	cases := map[string]struct {
		parent string
		set    map[string]string
		want   int
	}{
		"the caller does not":    {parent: traceparent + "-00"},
		"the caller does":        {parent: traceparent + "-01", set: map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, want: 2},
		"nobody, and never":      {set: map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_always_off"}},
		"nobody, and always":     {set: map[string]string{"OTEL_TRACES_SAMPLER": "always_on", "OTEL_SERVICE_NAME": "grantry-2"}, want: 2},
		"a header that is wrong": {parent: "00-zz", set: map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_always_off"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if spans, _ := exported(t, tc.parent, tc.set); len(spans) != tc.want {
				t.Errorf("%+v", spans)
			}
		})
	}
}

func TestNil_isOff(t *testing.T) {
	var p *Provider
	served := http.NewServeMux()
	if p.Handler("authorize", served) != http.Handler(served) {
		t.Error("a handler is wrapped")
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/authorize", nil)
	if id := TraceID(r); id != "" {
		t.Errorf("a request without a trace is of %q", id)
	}
	r.Header.Set("Traceparent", traceparent+"-00")
	if id := TraceID(r); id != theirTrace {
		t.Errorf("a request with a trace is of %q", id)
	}
}
