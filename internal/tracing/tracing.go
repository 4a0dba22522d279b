// Package tracing exports spans by OpenTelemetry's protocol (OTLP over gRPC).
//
// The standard environment variables of OpenTelemetry configure it: OTEL_EXPORTER_OTLP_ENDPOINT turns it on,
// the others of OTEL_EXPORTER_OTLP_*, OTEL_BSP_*, OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES mean what its specification says. A nil *Provider is off.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// ownTraces is the part of the requests that bring no trace of their own for which one begins, unless
// OTEL_TRACES_SAMPLER says otherwise. A request of a trace is part of it if its caller says so.
const ownTraces = 0.01

// Provider makes spans and exports them in the background.
type Provider struct{ sdk *sdktrace.TracerProvider }

// New returns a provider as the environment describes it, or nil if that names no endpoint. What can't be
// exported is logged, and lost.
func New(ctx context.Context, log logr.Logger) (*Provider, error) {
	if disabled, err := strconv.ParseBool(os.Getenv("OTEL_SDK_DISABLED")); err == nil && disabled {
		return nil, nil // off is not an error
	}
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil, nil // off is not an error
	}
	if err := checkProtocol(); err != nil {
		return nil, err
	}
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", "grantry")),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe this process for traces: %w", err)
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithBatcher(exporter), sdktrace.WithResource(about)}
	if os.Getenv("OTEL_TRACES_SAMPLER") == "" {
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ownTraces))))
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Info("Could not export traces", "error", err.Error()) }))
	return &Provider{sdktrace.NewTracerProvider(options...)}, nil
}

func checkProtocol() error {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := os.Getenv(name); protocol != "" && protocol != "grpc" {
			return fmt.Errorf("%s is %q: Grantry exports traces over grpc only", name, protocol)
		}
	}
	return nil
}

// Shutdown exports what waits.
func (p *Provider) Shutdown(ctx context.Context) error {
	if p == nil {
		return nil
	}
	if err := p.sdk.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("export the last traces: %w", err)
	}
	return nil
}

// Handler puts each request into a span of a name, which belongs to the trace that the caller sends, if it
// sends one.
func (p *Provider) Handler(name string, h http.Handler) http.Handler {
	if p == nil {
		return h
	}
	return otelhttp.NewHandler(h, name, otelhttp.WithTracerProvider(p.sdk), otelhttp.WithPropagators(propagation.TraceContext{}),
		otelhttp.WithSpanNameFormatter(func(operation string, _ *http.Request) string { return operation }))
}

// TraceID is the id of the trace that a request belongs to, or empty: that of its span or, without one,
// the one that its caller sent.
func TraceID(r *http.Request) string {
	span := trace.SpanContextFromContext(r.Context())
	if !span.IsValid() && r.Header.Get("Traceparent") != "" {
		span = trace.SpanContextFromContext(propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
	}
	if !span.IsValid() {
		return ""
	}
	return span.TraceID().String()
}
