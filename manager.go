package main

import (
	"crypto/tls"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/freshness"
)

// managerOptions are what the manager caches and serves. The view follows what it caches. It is no part of the election:
// see lead.
func (o *options) managerOptions(view *freshness.Monitor) ctrl.Options {
	metrics := metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.metricsSecure}
	if o.metricsSecure {
		metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
		metrics.TLSOpts = []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }}
	}
	return ctrl.Options{
		Scheme: scheme, Metrics: metrics, HealthProbeBindAddress: o.probeAddress,
		Cache: cache.Options{
			NewInformer:      view.NewInformer,
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&batchv1.Job{}: {Label: ofRuns(), Transform: slimChild},
			},
		},
	}
}

// ofRuns selects the batch/v1 Jobs of runs: no others are cached.
func ofRuns() labels.Selector {
	ours, err := labels.NewRequirement(v1alpha1.LabelRun, selection.Exists, nil)
	utilruntime.Must(err) // the key is a constant
	return labels.NewSelector().Add(*ours)
}

// slimChild drops what no decision looks at: a pod template is most of a batch/v1 Job.
func slimChild(object any) (any, error) {
	if child, ok := object.(*batchv1.Job); ok {
		child.ManagedFields = nil
		child.Spec.Template = corev1.PodTemplateSpec{}
	}
	return object, nil
}
