package admission

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/schedule"
)

// Cluster reads Jobs. What is cached may be milliseconds old: rules that it can mislead into a refusal look
// again, live. What it misleads into letting through, the controllers report.
type Cluster interface {
	// Job is a Job from the cache, or nil. It is shared: it must not be changed.
	Job(namespace, name string) (*v1alpha1.Job, error)
	// LiveJob is a Job as the API server has it, or nil.
	LiveJob(namespace, name string) (*v1alpha1.Job, error)
	// Dependents lists from the cache the Jobs that depend on one, directly.
	Dependents(namespace, name string) ([]v1alpha1.Job, error)
}

// checkSchedule refuses schedules that never come and dependencies that can't be met, by the rules that the
// Job's own condition follows. What an update leaves as it was is not asked about: it must not keep the rest
// from being mended.
func (r *Request) checkSchedule(old, job *v1alpha1.Job) error {
	if job.DeletionTimestamp != nil {
		return nil
	}
	var errs field.ErrorList
	if old == nil || !equality.Semantic.DeepEqual(old.Spec.Schedules, job.Spec.Schedules) {
		errs = schedule.Validate(job)
	}
	advice := ""
	if len(job.Spec.Dependencies) > 0 && (old == nil || !equality.Semantic.DeepEqual(old.Spec.Dependencies, job.Spec.Dependencies)) {
		wrong, unreadable, err := r.validateDependencies(old, job)
		if err != nil {
			return err
		}
		errs = append(errs, wrong...)
		if len(unreadable) > 0 {
			advice = fmt.Sprintf("; a Job that %s may not read counts as none: ask for a Grant of read on an ACL that covers %s",
				r.who(), permission.JobResource(job.Namespace, unreadable[0]))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	texts := make([]string, len(errs))
	for i, err := range errs {
		texts[i] = err.Error()
	}
	return invalid("%s%s", strings.Join(texts, "; "), advice)
}

// validateDependencies applies the rule to what the requester may know of: a Job that is newly depended on, and
// that the requester may not read, is as good as none, so that the answer does not tell whether it exists.
func (r *Request) validateDependencies(old, job *v1alpha1.Job) (wrong field.ErrorList, unreadable []string, err error) {
	if unreadable, err = r.unreadable(old, job); err != nil {
		return nil, nil, err
	}
	jobs, err := schedule.Gather(job, func(id string) (*v1alpha1.Job, error) {
		if slices.Contains(unreadable, id) {
			return nil, nil
		}
		found, err := r.Cluster.Job(job.Namespace, id)
		if err == nil && found == nil && slices.Contains(job.Spec.Dependencies, v1alpha1.Dependency{ID: id}) {
			return r.Cluster.LiveJob(job.Namespace, id) // kubectl apply creates a Job, and at once what depends on it
		}
		return found, err
	})
	if err != nil {
		return nil, nil, unavailable("spec.dependencies: the Jobs can't be looked up now: %v", err)
	}
	return schedule.ValidateDependencies(job, func(id string) *v1alpha1.Job { return jobs[id] }), unreadable, nil
}

// unreadable lists the Jobs that a Job newly depends on and the requester may not read: by no grant, and by
// nothing else that the API server goes by. The Job itself is not among them.
func (r *Request) unreadable(old, job *v1alpha1.Job) (ids []string, err error) {
	for _, d := range job.Spec.Dependencies {
		isOld := old != nil && slices.Contains(old.Spec.Dependencies, d)
		if !isOld && d.ID != job.Name && !r.Holds(permission.Read, permission.JobResource(job.Namespace, d.ID)) {
			ids = append(ids, d.ID)
		}
	}
	if len(ids) == 0 || slices.Contains(r.By.Groups, mastersGroup) {
		return nil, nil
	}
	may := Question{Verb: "get", Group: apiGroup, Resource: "jobs", Namespace: job.Namespace}
	if all, err := r.asked(may); err != nil || all {
		return nil, err
	}
	unread := ids[:0]
	for _, may.Name = range ids {
		ok, err := r.asked(may)
		if err != nil {
			return nil, err
		}
		if !ok {
			unread = append(unread, may.Name)
		}
	}
	return unread, nil
}

// checkDeletion refuses to delete a Job that others depend on. It rests on one that the API server still has:
// who deletes a Job, and at once the one that it depended on, does not wait for the cache.
func (r *Request) checkDeletion(job *v1alpha1.Job) error {
	if r.IsOperator() || job.DeletionTimestamp != nil {
		return nil
	}
	dependents, err := r.Cluster.Dependents(job.Namespace, job.Name)
	if err != nil {
		return unavailable("the Jobs that depend on %s can't be looked up now: %v", job.Name, err)
	}
	for i := range dependents {
		live, err := r.Cluster.LiveJob(job.Namespace, dependents[i].Name)
		if err != nil {
			return unavailable("the Jobs that depend on %s can't be looked up now: %v", job.Name, err)
		}
		if live == nil || schedule.ValidateDeletion(job, []v1alpha1.Job{*live}) == nil {
			continue
		}
		others := append([]v1alpha1.Job{*live}, dependents[i+1:]...)
		return invalid("%v", schedule.ValidateDeletion(job, others))
	}
	return nil
}
