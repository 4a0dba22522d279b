package joblookup

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/metrics"
)

// liveTimeout bounds what is read from the API server for one request, which waits for it.
const liveTimeout = 2 * time.Second

// readLive reads an object from the API server, once. It is counted, and a span in the trace of the request
// that waits for it.
func (l *Lookup) readLive(ctx context.Context, name types.NamespacedName, into client.Object) error {
	what, result := labelOf(into), "found"
	timer := prometheus.NewTimer(prometheus.ObserverFunc(func(seconds float64) {
		metrics.LiveReadSeconds.WithLabelValues(what, result).Observe(seconds)
	}))
	defer timer.ObserveDuration()
	ctx, span := trace.SpanFromContext(ctx).TracerProvider().Tracer("github.com/grantry/grantry/internal/joblookup").
		Start(ctx, "read "+what, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()

	err := l.Live.Get(ctx, name, into)
	switch {
	case apierrors.IsNotFound(err):
		result, err = "not_found", l.NotFound
	case err != nil:
		result, err = "error", fmt.Errorf("read %T %s: %w", into, name, err)
		span.SetStatus(codes.Error, "the API server could not be asked")
	}
	span.SetAttributes(attribute.String("grantry.result", result))
	return err
}

// labelOf names a kind for metrics and spans.
func labelOf(object client.Object) string {
	if _, ok := object.(*v1alpha1.JobRun); ok {
		return "jobrun"
	}
	return strings.ToLower(object.GetObjectKind().GroupVersionKind().Kind)
}
