// Package batchjob makes the batch/v1 Job of a run out of our Job and JobRun.
//
// It decides what each field of spec.template and spec.run becomes, and refuses, with the path and the
// reason, what can't be honoured: nothing is dropped. It is pure: the same input gives the same child,
// the input is never changed, and the child shares no memory with it. It knows no client, no clock and no
// logger, and whether a launch is allowed is decided elsewhere.
//
// The admission webhooks and the Job controller call Validate, the JobRun controller calls Child.
package batchjob

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
)

// Options are the installation's settings.
type Options struct {
	// DefaultImage runs a cmd that has no image, and fetches artifacts. It needs sh, wget, find and what
	// unpacks the archives: tar, gunzip, unzip.
	DefaultImage string
	// GPUResource is the extended resource that gpus asks for, nvidia.com/gpu for example.
	GPUResource string
}

// Input is everything that a child is made from.
type Input struct {
	// Job is the definition.
	Job *v1alpha1.Job
	// Run is the run that will own the child.
	Run *v1alpha1.JobRun
	// Owner is the subject on whose grants the run is launched.
	Owner v1alpha1.Subject
	// Grant and ACL are what allowed the launch; empty when nothing was asked.
	Grant, ACL string
	// NodeLabels are the labels of each node; they count for a Job that NeedsNodeLabels.
	NodeLabels []map[string]string
	// Options are the installation's settings.
	Options Options
}

// ErrNoNodeMatches is in the error of Child when the definition is in order, and no node has a value that
// a LIKE constraint matches: the run waits for one, it is not rejected.
var ErrNoNodeMatches = errors.New("no node matches")

// Child is the batch/v1 Job of a run. An error is an aggregate of field errors, or wraps ErrNoNodeMatches.
func Child(in Input) (*batchv1.Job, error) {
	template, unmatched, errs := childTemplate(in.Job, in.Options, in.NodeLabels)
	if err := errs.ToAggregate(); err != nil {
		return nil, err
	}
	if len(unmatched) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoNodeMatches, strings.Join(unmatched, "; "))
	}
	child := &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Name:            ChildName(in.Run),
			Namespace:       in.Run.Namespace,
			Labels:          template.Labels,
			Annotations:     template.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(in.Run, v1alpha1.GroupVersion.WithKind("JobRun"))},
		},
		Spec: template.Spec,
	}
	stamp(child, in)
	enqueue(child, in.Job)
	return child, nil
}

// Validate refuses what can't be honoured, as far as the definition alone tells. Child refuses the same.
func Validate(job *v1alpha1.Job, o Options) field.ErrorList {
	_, _, errs := childTemplate(job, o, nil)
	return errs
}

// childTemplate is a child without its name, owner and stamps. Unmatched are the constraints that no
// node satisfies.
func childTemplate(job *v1alpha1.Job, o Options, nodes []map[string]string) (template batchv1.JobTemplateSpec, unmatched []string, errs field.ErrorList) {
	spec := field.NewPath("spec")
	switch {
	case (job.Spec.Template == nil) == (job.Spec.Run == nil):
		return batchv1.JobTemplateSpec{}, nil, field.ErrorList{field.Forbidden(spec,
			"give either template (a batch/v1 Job template) or run (Metronome's short form), and not both")}
	case job.Spec.Template != nil:
		template, errs = fromTemplate(job.Spec.Template, spec.Child("template"))
		return template, nil, errs
	default:
		m := mapping{job: job.Name, spec: job.Spec.Run, path: spec.Child("run"), options: o, nodes: nodes}
		return m.template(), m.unmatched, m.errs
	}
}

// stamp puts on what only Grantry may: it wins over what the template says.
func stamp(child *batchv1.Job, in Input) {
	labels := RunLabels(in.Job)
	labels[v1alpha1.LabelRun] = string(in.Run.UID)
	annotations := map[string]string{
		v1alpha1.AnnotationJob: in.Job.Name,
		v1alpha1.AnnotationRun: in.Run.Name,
	}
	pod := &child.Spec.Template
	pod.Labels = merged(pod.Labels, labels)
	selectOwnPods(child, in.Run)
	pod.Annotations = merged(pod.Annotations, annotations)

	for key, value := range map[string]string{
		v1alpha1.AnnotationOwner: SubjectText(&in.Owner),
		v1alpha1.AnnotationGrant: in.Grant,
		v1alpha1.AnnotationACL:   in.ACL,
	} {
		if value != "" {
			annotations[key] = value
		}
	}
	child.Labels = merged(child.Labels, labels)
	child.Annotations = merged(child.Annotations, annotations)
}

// selectOwnPods has the child select its pods by the run's label, which nobody else may put onto a pod. The selector
// that is generated otherwise asks for a label that anyone may set: the Job controller would adopt any pod that has
// it, and count it as the run's. The label with the child's name is what people select pods by.
func selectOwnPods(child *batchv1.Job, run *v1alpha1.JobRun) {
	child.Spec.ManualSelector = new(true)
	child.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.LabelRun: string(run.UID)}}
	child.Spec.Template.Labels[batchv1.JobNameLabel] = child.Name
}

// SubjectText is "User alice", "Group ops" or "ServiceAccount ns/name"; empty for nobody.
func SubjectText(s *v1alpha1.Subject) string {
	switch {
	case s == nil || s.Name == "":
		return ""
	case s.Namespace != "":
		return fmt.Sprintf("%s %s/%s", s.Kind, s.Namespace, s.Name)
	default:
		return fmt.Sprintf("%s %s", s.Kind, s.Name)
	}
}

// merged is a new map: what winners says, and else what base says.
func merged(base, winners map[string]string) map[string]string {
	out := make(map[string]string, len(base)+len(winners))
	maps.Copy(out, base)
	maps.Copy(out, winners)
	return out
}

// inDomain says whether a label or annotation key belongs to a domain or to one below it.
func inDomain(key, domain string) bool {
	prefix, _, found := strings.Cut(key, "/")
	return found && (prefix == domain || strings.HasSuffix(prefix, "."+domain))
}
