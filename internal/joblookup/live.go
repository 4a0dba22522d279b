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

// liveTimeout bounds all that is read from the API server for one request, which waits for it. It is less than the
// 3 s that the API server waits for an answer (config/authorization), so that this is the answer, and not its failure.
const liveTimeout = 2 * time.Second

// readWay goes a way with live reads. Whoever asks for the same meanwhile waits for the same reads; that one of them
// goes away fails none of the others. What began before somebody asked proves to them that an object is there, but
// not that it isn't: then they read it anew.
func (l *Lookup) readWay(ctx context.Context, key string, all func(context.Context, way) (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	for again := false; ; again = true {
		began := false
		read := l.underWay.DoChan(key, func() (any, error) {
			began = true
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), liveTimeout)
			defer cancel()
			return all(ctx, way{Lookup: l, live: true})
		})
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("find the Job of %s: %w", key, context.Cause(ctx))
		case result := <-read:
			if result.Err != nil && !began && !again {
				continue
			}
			job, _ := result.Val.(string)
			return job, result.Err
		}
	}
}

// readLive reads an object from the API server, once. It is counted, and a span in the trace of the request
// that began it.
func (l *Lookup) readLive(ctx context.Context, name types.NamespacedName, into client.Object) error {
	what, result := labelOf(into), "found"
	timer := prometheus.NewTimer(prometheus.ObserverFunc(func(seconds float64) {
		metrics.LiveReadSeconds.WithLabelValues(what, result).Observe(seconds)
	}))
	defer timer.ObserveDuration()
	ctx, span := trace.SpanFromContext(ctx).TracerProvider().Tracer("github.com/grantry/grantry/internal/joblookup").
		Start(ctx, "read "+what, trace.WithSpanKind(trace.SpanKindClient))
	defer span.End()

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
