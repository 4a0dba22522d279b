package admission

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
)

// StampJob makes a Job that is created or updated say whose it is, and where in the hierarchy. The warnings
// are for the requester. An update that the requester may not make is refused before it is corrected: what is
// left of it might be nothing, and look like a success. old is nil at create.
func StampJob(r *Request, old, job *v1alpha1.Job) (warnings []string, err error) {
	if r.IsOperator() {
		return nil, nil // it knows better
	}
	if err := checkLength("metadata.name", job.Name, permission.MaxJobPath); err != nil {
		return nil, err
	}
	if r.Operation == Update {
		if err := r.needForJob(old, job); err != nil {
			return nil, err
		}
	}
	stampLabels(job, rightLabels(job.Name, labelsOf(old)))
	owner, warning, err := r.ownerOf(old, job)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		warnings = append(warnings, warning)
	}
	job.Spec.Owner = owner
	job.Spec.OwnerGroups = r.ownerGroups(old, job)
	return warnings, nil
}

// ownerOf is who owns a Job after a request. Who names an owner that it may not act as gets what naming
// none would have given, and a warning.
func (r *Request) ownerOf(old, job *v1alpha1.Job) (owner *v1alpha1.Subject, warning string, err error) {
	fallback := r.subject()
	wanted := job.Spec.Owner
	if old != nil {
		changes := changesWhatRuns(old, job)
		if !changes {
			fallback = old.Spec.Owner
		}
		if wanted == nil {
			wanted = old.Spec.Owner
		}
		if !changes && equality.Semantic.DeepEqual(wanted, old.Spec.Owner) {
			return wanted, "", nil
		}
	}
	if wanted == nil {
		return fallback, "", nil
	}
	ok, err := r.mayActAs(*wanted)
	if err != nil || ok {
		return wanted, "", err
	}
	if fallback == nil {
		return nil, "spec.owner: left unset; " + r.notAs(*wanted), nil
	}
	return fallback, "spec.owner: set to " + describe(*fallback) + "; " + r.notAs(*wanted), nil
}

func (r *Request) subject() *v1alpha1.Subject {
	s := SubjectOf(r.By.Name)
	return &s
}

// changesWhatRuns reports whether an update changes what runs, or when. A field that is not known to do
// neither is taken to do so.
func changesWhatRuns(old, job *v1alpha1.Job) bool {
	return !equality.Semantic.DeepEqual(whatRuns(old.Spec), whatRuns(job.Spec))
}

// whatRuns leaves out what only describes a Job, holds it back, or says what becomes of its runs.
func whatRuns(s v1alpha1.JobSpec) v1alpha1.JobSpec {
	s.Owner, s.OwnerGroups, s.Description = nil, nil, ""
	s.Suspend, s.OnRevoke = false, ""
	s.SuccessfulRunsHistoryLimit, s.FailedRunsHistoryLimit = nil, nil
	return s
}

const (
	// maxReported is how many groups are stored, by name: the API takes no more.
	maxReported, maxGroupName = 128, 256
	// refreshAfter is how old stored groups may be before the owner's next write stores them anew, though
	// they are the same: an apply that changes nothing shall change nothing most of the time.
	refreshAfter = time.Hour
	// maxSkew is how far the clocks of two replicas may be apart, and how long a request may take.
	maxSkew = 2 * time.Minute
	// everyone is the group that every authenticated user is in.
	everyone = "system:authenticated"
)

// ownerGroups are what is stored about the groups of a Job's owner after a request.
func (r *Request) ownerGroups(old, job *v1alpha1.Job) *v1alpha1.ReportedGroups {
	owner := job.Spec.Owner
	if owner == nil || owner.Kind != v1alpha1.UserSubject {
		return nil
	}
	var stored *v1alpha1.ReportedGroups
	if old != nil && equality.Semantic.DeepEqual(old.Spec.Owner, owner) {
		stored = old.Spec.OwnerGroups
	}
	if !r.isRequester(*owner) {
		return stored
	}
	names := r.reported()
	switch {
	case len(names) == 0:
		return nil
	case stored != nil && slices.Equal(stored.Names, names) && r.At.Sub(stored.ReportedAt.Time) < refreshAfter:
		return stored
	}
	return &v1alpha1.ReportedGroups{Names: names, ReportedAt: metav1.NewTime(r.At.Truncate(time.Second))}
}

// reported are the requester's groups as they are stored: sorted, and no more than there is room for.
func (r *Request) reported() []string {
	names := slices.Clone(r.By.Groups)
	names = slices.DeleteFunc(names, func(name string) bool { return name == everyone || name == "" || len(name) > maxGroupName })
	slices.Sort(names)
	names = slices.Compact(names)
	return names[:min(len(names), maxReported)]
}

// CheckJob refuses a request on a Job that the requester may not make, whose result says of somebody what is
// not so, or that leaves a Job that can't run when it is to. old is nil at create, job at delete.
func CheckJob(r *Request, old, job *v1alpha1.Job) error {
	if r.IsOperator() && r.Operation == Update && equality.Semantic.DeepEqual(old.Spec, job.Spec) {
		return nil // its labels
	}
	if err := r.needForJob(old, job); err != nil {
		return err
	}
	if r.Operation == Delete {
		return r.checkDeletion(old)
	}
	if err := r.needToDisown(old, job); err != nil {
		return err
	}
	if err := checkLabels(job, rightLabels(job.Name, labelsOf(old)), labelsOf(old)); err != nil {
		return err
	}
	if err := r.checkOwner(old, job); err != nil {
		return err
	}
	if err := r.checkOwnerGroups(old, job); err != nil {
		return err
	}
	return r.checkSchedule(old, job)
}

// needForJob asks for what the operation takes, by the name under which the Job is stored.
func (r *Request) needForJob(old, job *v1alpha1.Job) error {
	meta := metav1.Object(job)
	if r.Operation == Delete {
		meta = old
	}
	object := Object{Resource: "jobs", Namespace: meta.GetNamespace(), Name: meta.GetName()}
	resource := permission.JobResource(object.Namespace, object.Name)
	switch r.Operation {
	case Create:
		return r.Need(permission.Create, resource, object)
	case Delete:
		return r.Need(permission.Delete, resource, object)
	case Update:
	}
	if equality.Semantic.DeepEqual(old.Spec, job.Spec) && isBeside(old, job) {
		return nil
	}
	return r.Need(permission.Update, resource, object)
}

// needToDisown asks for the right to delete where an update changes what a Job is deleted with.
func (r *Request) needToDisown(old, job *v1alpha1.Job) error {
	if r.Operation != Update || job.DeletionTimestamp != nil || !disowns(old, job) {
		return nil
	}
	object := Object{Resource: "jobs", Namespace: job.Namespace, Name: job.Name}
	return r.Need(permission.Delete, permission.JobResource(job.Namespace, job.Name), object)
}

// checkOwner verifies what StampJob stamps: another webhook may have come later, or ours not at all.
func (r *Request) checkOwner(old, job *v1alpha1.Job) error {
	owner := job.Spec.Owner
	if old != nil && equality.Semantic.DeepEqual(owner, old.Spec.Owner) && !changesWhatRuns(old, job) {
		return nil
	}
	if owner == nil {
		return invalid("spec.owner: a Job needs an owner; set it to %s", describe(*r.subject()))
	}
	ok, err := r.mayActAs(*owner)
	if err != nil {
		return err
	}
	if !ok {
		return forbidden("spec.owner: %s", r.notAs(*owner))
	}
	return nil
}

// checkOwnerGroups refuses groups that the API server did not report: not now, and not when they were stored.
// None is always right.
func (r *Request) checkOwnerGroups(old, job *v1alpha1.Job) error {
	groups, owner := job.Spec.OwnerGroups, job.Spec.Owner
	if groups == nil {
		return nil
	}
	if old != nil && equality.Semantic.DeepEqual(owner, old.Spec.Owner) && equality.Semantic.DeepEqual(groups, old.Spec.OwnerGroups) {
		return nil
	}
	fresh := r.At.Sub(groups.ReportedAt.Time).Abs() <= maxSkew
	if owner == nil || owner.Kind != v1alpha1.UserSubject || !r.isRequester(*owner) || !fresh || !slices.Equal(groups.Names, r.reported()) {
		return invalid("spec.ownerGroups: only Grantry writes them; leave them out")
	}
	return nil
}
