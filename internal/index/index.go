// Package index names the fields by which cached objects are found, and says how each is read from an
// object. A manager and a fake client get the same indexes from the same list.
package index

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
)

// GrantACL finds the Grants that name an ACL, for client.MatchingFields.
const GrantACL = "spec.acl"

// RunJob finds the JobRuns of a Job.
const RunJob = "spec.job"

// RunUnfinished finds the JobRuns that can still change, by the value "true".
const RunUnfinished = "unfinished"

// RunUnfinishedOfJob finds the JobRuns of a Job that can still change.
const RunUnfinishedOfJob = "unfinished.job"

// JobDependency finds the Jobs that depend on a Job, directly.
const JobDependency = "spec.dependencies"

// Field is one index over one kind.
type Field struct {
	Object client.Object
	Name   string
	Values client.IndexerFunc
}

// Fields lists every index.
func Fields() []Field {
	return []Field{
		{Object: &v1alpha1.Grant{}, Name: GrantACL, Values: grantACL},
		{Object: &v1alpha1.Job{}, Name: JobDependency, Values: jobDependency},
		{Object: &v1alpha1.JobRun{}, Name: RunJob, Values: runJob},
		{Object: &v1alpha1.JobRun{}, Name: RunUnfinished, Values: unfinished(func(*v1alpha1.JobRun) string { return "true" })},
		{Object: &v1alpha1.JobRun{}, Name: RunUnfinishedOfJob, Values: unfinished(func(r *v1alpha1.JobRun) string { return r.Spec.Job })},
	}
}

// Register adds every index. Call it before the cache starts, once.
func Register(ctx context.Context, indexer client.FieldIndexer) error {
	for _, f := range Fields() {
		if err := indexer.IndexField(ctx, f.Object, f.Name, f.Values); err != nil {
			return fmt.Errorf("index %T by %s: %w", f.Object, f.Name, err)
		}
	}
	return nil
}

func grantACL(obj client.Object) []string {
	return []string{obj.(*v1alpha1.Grant).Spec.ACL}
}

func jobDependency(obj client.Object) []string {
	dependencies := obj.(*v1alpha1.Job).Spec.Dependencies
	ids := make([]string, len(dependencies))
	for i, d := range dependencies {
		ids[i] = d.ID
	}
	return ids
}

func runJob(obj client.Object) []string {
	return []string{obj.(*v1alpha1.JobRun).Spec.Job}
}

// unfinished indexes the runs that have not ended by a value, and no others: the ended ones are many.
func unfinished(value func(*v1alpha1.JobRun) string) client.IndexerFunc {
	return func(obj client.Object) []string {
		run := obj.(*v1alpha1.JobRun)
		c := meta.FindStatusCondition(run.Status.Conditions, v1alpha1.ConditionSucceeded)
		if c != nil && c.Status != metav1.ConditionUnknown {
			return nil
		}
		return []string{value(run)}
	}
}
