package batchjob

import (
	"maps"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
)

// fromTemplate takes spec.template as it is, except for what belongs to Grantry or can't be in a Job. A
// restartPolicy that is unset becomes Never: a Job must have one, and the default of pods, Always, is
// refused by the API server. Of its metadata a child has the labels and annotations. The API server
// judges the rest.
func fromTemplate(given *batchv1.JobTemplateSpec, path *field.Path) (batchv1.JobTemplateSpec, field.ErrorList) {
	template := *given.DeepCopy()
	errs := refuseIdentity(&template.ObjectMeta, path.Child("metadata"))
	errs = append(errs, refuseOwnKeys(&template.ObjectMeta, path.Child("metadata"))...)

	spec, path := &template.Spec, path.Child("spec")
	if spec.Suspend != nil && *spec.Suspend {
		errs = append(errs, field.Forbidden(path.Child("suspend"),
			"a run is suspended and resumed by Grantry alone: set spec.suspend of the Job to hold runs back"))
	}
	if spec.TTLSecondsAfterFinished != nil {
		// A child that vanishes by itself while the operator is away leaves no trace of its run having been
		// launched: it would be launched again.
		errs = append(errs, field.Forbidden(path.Child("ttlSecondsAfterFinished"),
			"a run keeps its batch/v1 Job for as long as the run is kept: use successfulRunsHistoryLimit and failedRunsHistoryLimit"))
	}
	if spec.ManualSelector != nil && *spec.ManualSelector {
		errs = append(errs, field.Forbidden(path.Child("manualSelector"), "runs would share pods: the selector of each is generated"))
	}
	if spec.Selector != nil {
		errs = append(errs, field.Forbidden(path.Child("selector"), "runs would share pods: the selector of each is generated"))
	}

	pod, path := &spec.Template, path.Child("template")
	errs = append(errs, refuseOwnKeys(&pod.ObjectMeta, path.Child("metadata"))...)
	errs = append(errs, refuseHolds(&pod.ObjectMeta, path.Child("metadata"))...)
	if len(pod.Spec.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("spec", "containers"), "a run has at least one container"))
	}
	if pod.Spec.RestartPolicy == "" {
		pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
	if !slices.Contains(jobRestartPolicies, pod.Spec.RestartPolicy) {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), pod.Spec.RestartPolicy, jobRestartPolicies))
	}
	return template, errs
}

// jobRestartPolicies are those that a batch/v1 Job may have.
var jobRestartPolicies = []corev1.RestartPolicy{corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure}

// refuseIdentity refuses metadata that a child gets from its run.
func refuseIdentity(meta *metav1.ObjectMeta, path *field.Path) (errs field.ErrorList) {
	const reason = "Grantry names a run's batch/v1 Job and owns it: only labels and annotations are taken over"
	for _, given := range []struct {
		name string
		set  bool
	}{
		{"name", meta.Name != ""},
		{"generateName", meta.GenerateName != ""},
		{"namespace", meta.Namespace != ""},
		{"finalizers", len(meta.Finalizers) > 0},
		{"ownerReferences", len(meta.OwnerReferences) > 0},
	} {
		if given.set {
			errs = append(errs, field.Forbidden(path.Child(given.name), reason))
		}
	}
	return errs
}

// refuseHolds refuses what would hold pods back from deletion, or have somebody else delete them. Kubernetes
// copies finalizers into each pod, and the static policy on pods lets nobody take them off again. A name, which
// manifests of pods have, it ignores.
func refuseHolds(meta *metav1.ObjectMeta, path *field.Path) (errs field.ErrorList) {
	if len(meta.Finalizers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("finalizers"), "nobody could take them off the pods of a run, which would never go"))
	}
	if len(meta.OwnerReferences) > 0 {
		errs = append(errs, field.Forbidden(path.Child("ownerReferences"), "the pods of a run belong to its batch/v1 Job"))
	}
	return errs
}

// refuseOwnKeys refuses labels and annotations that only Grantry writes.
func refuseOwnKeys(meta *metav1.ObjectMeta, path *field.Path) (errs field.ErrorList) {
	refuse := func(name string, given map[string]string) {
		for _, key := range slices.Sorted(maps.Keys(given)) {
			if inDomain(key, v1alpha1.GroupVersion.Group) {
				errs = append(errs, field.Forbidden(path.Child(name).Key(key), "keys of grantry.dev are written by Grantry alone"))
			}
		}
	}
	refuse("labels", meta.Labels)
	refuse("annotations", meta.Annotations)
	return errs
}
