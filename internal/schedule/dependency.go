package schedule

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/grantry/grantry/api/v1alpha1"
)

// Lookup finds a Job by its id in the namespace at hand; nil if there is none.
type Lookup func(id string) *v1alpha1.Job

// Gather reads the Jobs that a Job depends on, be it by way of others, each once: what the rules below look
// at. read returns nil for a Job that does not exist. Those that are being deleted are none.
func Gather(job *v1alpha1.Job, read func(id string) (*v1alpha1.Job, error)) (map[string]*v1alpha1.Job, error) {
	if len(job.Spec.Dependencies) == 0 {
		return nil, nil
	}
	jobs := map[string]*v1alpha1.Job{}
	for open := []*v1alpha1.Job{job}; len(open) > 0; {
		from := open[len(open)-1]
		open = open[:len(open)-1]
		for _, d := range from.Spec.Dependencies {
			if _, seen := jobs[d.ID]; seen {
				continue
			}
			found, err := read(d.ID)
			if err != nil {
				return nil, fmt.Errorf("read dependency %s: %w", d.ID, err)
			}
			if found == nil || !found.DeletionTimestamp.IsZero() {
				jobs[d.ID] = nil
				continue
			}
			jobs[d.ID] = found
			open = append(open, found)
		}
	}
	return jobs, nil
}

// OwnRuns is what matters of a Job's own runs for whether its parents' bring about another.
type OwnRuns struct {
	// Unfinished is how many have not ended.
	Unfinished int
	// LastSuccess is when one last succeeded; nil if none has.
	LastSuccess *metav1.Time
}

// AfterParents says for which runs of its parents a Job is to be run now; nil if it is not. It is when the
// latest run of each parent has succeeded, not before the Job's own last success, and no run of the Job is
// unfinished. The same runs of the parents run a Job once, whatever has become of its run.
func AfterParents(job *v1alpha1.Job, own OwnRuns, parents Lookup) *v1alpha1.DependencyStatus {
	if len(job.Spec.Dependencies) == 0 || job.Spec.Suspend || own.Unfinished > 0 {
		return nil
	}
	var latest *metav1.Time
	runs := make([]string, len(job.Spec.Dependencies))
	for i, d := range job.Spec.Dependencies {
		parent := parents(d.ID)
		if parent == nil || !succeededSince(parent.Status.LastRun, own.LastSuccess) {
			return nil
		}
		run := parent.Status.LastRun
		runs[i] = fmt.Sprintf("%s/%s", parent.UID, run.UID)
		if latest == nil || latest.Before(run.FinishedAt) {
			latest = run.FinishedAt
		}
	}
	slices.Sort(runs)
	sum := sha256.Sum256([]byte(strings.Join(runs, "\n")))
	event := &v1alpha1.DependencyStatus{Runs: hex.EncodeToString(sum[:16]), SucceededAt: *latest}
	// Runs that succeeded before those that were dealt with are dealt with, too: a later run may have been
	// deleted since.
	if known := job.Status.Dependencies; known != nil && (known.Runs == event.Runs || latest.Before(&known.SucceededAt)) {
		return nil
	}
	return event
}

// succeededSince says whether a run has succeeded, not before a time. Times are whole seconds: what happened
// in the same second may have been later.
func succeededSince(run *v1alpha1.RunSummary, since *metav1.Time) bool {
	return run != nil && run.State == v1alpha1.StateSuccess && run.FinishedAt != nil && !run.FinishedAt.Before(since)
}

// ValidateDependencies says which dependencies of a Job do not exist, and which lead back to the Job. What
// others depend on is not named: the reader may not be allowed to see it.
func ValidateDependencies(job *v1alpha1.Job, jobs Lookup) field.ErrorList {
	var errs field.ErrorList
	for i, d := range job.Spec.Dependencies {
		path := field.NewPath("spec", "dependencies").Index(i).Child("id")
		switch {
		case d.ID == job.Name:
			errs = append(errs, field.Invalid(path, d.ID, "a Job can't depend on itself"))
		case jobs(d.ID) == nil:
			errs = append(errs, field.Invalid(path, d.ID, fmt.Sprintf("there is no such Job in namespace %s: create it first", job.Namespace)))
		case leadsTo(d.ID, job.Name, jobs):
			errs = append(errs, field.Invalid(path, d.ID, "it depends on this Job in turn, so that neither would ever run"))
		}
	}
	return errs
}

// leadsTo says whether a Job depends on another, be it by way of others. Each Job is looked at once.
func leadsTo(from, to string, jobs Lookup) bool {
	seen := map[string]bool{from: true}
	for open := []string{from}; len(open) > 0; {
		job := jobs(open[len(open)-1])
		open = open[:len(open)-1]
		if job == nil {
			continue
		}
		for _, d := range job.Spec.Dependencies {
			if d.ID == to {
				return true
			}
			if !seen[d.ID] {
				seen[d.ID] = true
				open = append(open, d.ID)
			}
		}
	}
	return false
}

// ValidateDeletion says why a Job can't be deleted: others of its namespace that are to stay depend on it.
// They are counted and not named: who deletes may not be allowed to see them.
func ValidateDeletion(job *v1alpha1.Job, inNamespace []v1alpha1.Job) error {
	n := 0
	for i := range inNamespace {
		other := &inNamespace[i]
		dependsOnIt := slices.ContainsFunc(other.Spec.Dependencies, func(d v1alpha1.Dependency) bool { return d.ID == job.Name })
		if dependsOnIt && other.Name != job.Name && other.DeletionTimestamp.IsZero() {
			n++
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 Job depends on %s: take it out of that Job's spec.dependencies, or delete that Job first", job.Name)
	default:
		return fmt.Errorf("%d Jobs depend on %s: take it out of their spec.dependencies, or delete them first", n, job.Name)
	}
}
