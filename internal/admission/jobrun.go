package admission

import (
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

// StampRun makes a JobRun that is created or updated say who asked for it and who stopped it, and where in the
// hierarchy its Job is. old is nil at create.
func StampRun(r *Request, old, run *v1alpha1.JobRun) (warnings []string, err error) {
	if r.IsOperator() {
		return nil, nil // it knows better
	}
	if err := checkLength("spec.job", run.Spec.Job, permission.MaxJobPath); err != nil {
		return nil, err
	}
	if r.Operation == Update {
		if err := r.needForRun(old, run); err != nil {
			return nil, err
		}
	}
	stampLabels(run, rightLabels(run.Spec.Job, labelsOf(old)))
	if r.Operation == Create {
		if run.Spec.RequestedBy, warnings, err = r.answerable("spec.requestedBy", run.Spec.RequestedBy); err != nil {
			return nil, err
		}
	}
	if stops(old, run) {
		by, more, err := r.answerable("spec.stoppedBy", run.Spec.StoppedBy)
		if err != nil {
			return nil, err
		}
		run.Spec.StoppedBy, warnings = by, append(warnings, more...)
	}
	return warnings, nil
}

// answerable is the subject that is wanted for a field, if the requester may act as it, or else the requester.
func (r *Request) answerable(field string, wanted *v1alpha1.Subject) (*v1alpha1.Subject, []string, error) {
	if wanted == nil {
		return r.subject(), nil, nil
	}
	ok, err := r.mayActAs(*wanted)
	if err != nil || ok {
		return wanted, nil, err
	}
	return r.subject(), []string{field + ": set to " + describe(*r.subject()) + "; " + r.notAs(*wanted)}, nil
}

// stops reports whether a request stops a run.
func stops(old, run *v1alpha1.JobRun) bool {
	return run.Spec.Stop && (old == nil || !old.Spec.Stop)
}

// CheckRun refuses a request on a JobRun that the requester may not make. Whether the Job is there is not
// asked, so that nobody learns it: what counts is the right to run a Job of that name. old is nil at create,
// run at delete.
func CheckRun(r *Request, old, run *v1alpha1.JobRun) error {
	if r.IsOperator() {
		return nil // creates, adopts, labels and deletes runs
	}
	if err := r.needForRun(old, run); err != nil || r.Operation == Delete {
		return err
	}
	if err := checkLabels(run, rightLabels(run.Spec.Job, labelsOf(old)), labelsOf(old)); err != nil {
		return err
	}
	if stops(old, run) {
		if err := r.checkAnswerable("spec.stoppedBy", "who stops a run", run.Spec.StoppedBy); err != nil {
			return err
		}
	}
	if r.Operation == Create {
		return r.checkOrigin(run)
	}
	if disowns(old, run) {
		return invalid("metadata.ownerReferences: only Grantry says which Job a run belongs to; leave them as they are")
	}
	return nil
}

// needForRun asks for the right to run the run's Job.
func (r *Request) needForRun(old, run *v1alpha1.JobRun) error {
	if r.Operation == Delete {
		run = old
	}
	if r.Operation == Update && equality.Semantic.DeepEqual(old.Spec, run.Spec) && isBeside(old, run) {
		return nil
	}
	object := Object{Resource: "jobruns", Namespace: run.Namespace, Name: run.Name}
	return r.Need(permission.Run, permission.JobResource(run.Namespace, run.Spec.Job), object)
}

// checkOrigin refuses a new run that says of its origin what is not so.
func (r *Request) checkOrigin(run *v1alpha1.JobRun) error {
	if run.Spec.Trigger != v1alpha1.TriggerUser && run.Spec.Trigger != "" {
		return invalid("spec.trigger: only Grantry creates runs with trigger %s; leave it out", run.Spec.Trigger)
	}
	if run.Spec.Schedule != "" {
		return invalid("spec.schedule: only Grantry sets it; leave it out")
	}
	if run.Spec.ScheduledAt != nil {
		return invalid("spec.scheduledAt: only Grantry sets it; leave it out")
	}
	if len(run.OwnerReferences) > 0 {
		return invalid("metadata.ownerReferences: only Grantry says which Job a run belongs to; leave them out")
	}
	return r.checkAnswerable("spec.requestedBy", "who asks for a run", run.Spec.RequestedBy)
}

// checkAnswerable refuses a field that does not say whom the requester may act as.
func (r *Request) checkAnswerable(field, says string, subject *v1alpha1.Subject) error {
	if subject == nil {
		return invalid("%s: it must say %s; set it to %s", field, says, describe(*r.subject()))
	}
	ok, err := r.mayActAs(*subject)
	if err != nil {
		return err
	}
	if !ok {
		return forbidden("%s: %s", field, r.notAs(*subject))
	}
	return nil
}

// isBeside reports whether an update leaves an object as it is, or comes while the object is on its way out:
// finalizers must be able to go.
func isBeside(old, object metav1.Object) bool {
	if object.GetDeletionTimestamp() != nil {
		return true
	}
	return equality.Semantic.DeepEqual(old.GetLabels(), object.GetLabels()) &&
		equality.Semantic.DeepEqual(old.GetAnnotations(), object.GetAnnotations()) &&
		equality.Semantic.DeepEqual(old.GetFinalizers(), object.GetFinalizers()) && !disowns(old, object)
}

// disowns reports whether an update changes what an object is deleted with.
func disowns(old, object metav1.Object) bool {
	return !equality.Semantic.DeepEqual(old.GetOwnerReferences(), object.GetOwnerReferences())
}

// labelsOf are the labels of an object that may be absent.
func labelsOf[T any, P interface {
	*T
	metav1.Object
}](object P) map[string]string {
	if object == nil {
		return nil
	}
	return object.GetLabels()
}
