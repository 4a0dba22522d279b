// Package otlp is a collector of traces for tests: it receives OpenTelemetry's protocol over gRPC on
// loopback, as a real one does, and keeps what came.
package otlp

import (
	"context"
	"encoding/hex"
	"net"
	"slices"
	"sync"
	"testing"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// Span is a span that was received.
type Span struct {
	Service, Name string
	// TraceID, SpanID and ParentID are in hexadecimal; ParentID is empty for the first span of a trace.
	TraceID, SpanID, ParentID string
	Attributes                map[string]string
}

// Collector keeps spans. Use Start.
type Collector struct {
	collectorv1.UnimplementedTraceServiceServer

	// Address is where it listens: host and port.
	Address string

	mu    sync.Mutex
	spans []Span
}

// Start runs a collector until the test ends.
func Start(t *testing.T) *Collector {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Collector{Address: listener.Addr().String()}
	server := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(server, c)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Errorf("the collector ended with: %v", err)
		}
	})
	return c
}

// Export receives spans.
func (c *Collector) Export(_ context.Context, r *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range r.GetResourceSpans() {
		service := texts(of.GetResource().GetAttributes())["service.name"]
		for _, scope := range of.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans = append(c.spans, spanOf(service, span))
			}
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

// Spans returns those of a service that have come so far, in the order in which they came.
func (c *Collector) Spans(service string) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.spans), func(s Span) bool { return s.Service != service })
}

func spanOf(service string, span *tracev1.Span) Span {
	return Span{
		Service: service, Name: span.GetName(), Attributes: texts(span.GetAttributes()),
		TraceID: hex.EncodeToString(span.GetTraceId()), SpanID: hex.EncodeToString(span.GetSpanId()), ParentID: hex.EncodeToString(span.GetParentSpanId()),
	}
}

// texts are the attributes that are text.
func texts(attributes []*commonv1.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range attributes {
		if text, ok := a.GetValue().GetValue().(*commonv1.AnyValue_StringValue); ok {
			all[a.GetKey()] = text.StringValue
		}
	}
	return all
}
