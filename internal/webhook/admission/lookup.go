package admission

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	rules "github.com/grantry/grantry/internal/admission"
	"github.com/grantry/grantry/internal/index"
)

// liveACL reads past the cache.
func (d *dispatcher) liveACL(ctx context.Context) func(string) (*v1alpha1.ACL, error) {
	return func(name string) (*v1alpha1.ACL, error) {
		acl := &v1alpha1.ACL{}
		if err := d.live.Get(ctx, types.NamespacedName{Name: name}, acl); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		return acl, nil
	}
}

// jobs lists from the cache.
func (d *dispatcher) jobs(ctx context.Context) func(string) ([]v1alpha1.Job, error) {
	return func(namespace string) ([]v1alpha1.Job, error) {
		var jobs v1alpha1.JobList
		err := d.cached.List(ctx, &jobs, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)
		return jobs.Items, err
	}
}

// cluster reads Jobs for one request.
type cluster struct {
	ctx          context.Context //nolint:containedctx // of the request, for which a cluster is made
	cached, live client.Reader
}

var _ rules.Cluster = cluster{}

func (c cluster) Job(namespace, name string) (*v1alpha1.Job, error) {
	return readJob(c.ctx, c.cached, namespace, name, client.UnsafeDisableDeepCopy)
}

func (c cluster) LiveJob(namespace, name string) (*v1alpha1.Job, error) {
	return readJob(c.ctx, c.live, namespace, name)
}

// Dependents needs the index of dependencies.
func (c cluster) Dependents(namespace, name string) ([]v1alpha1.Job, error) {
	var jobs v1alpha1.JobList
	err := c.cached.List(c.ctx, &jobs, client.InNamespace(namespace), client.MatchingFields{index.JobDependency: name}, client.UnsafeDisableDeepCopy)
	return jobs.Items, err
}

func readJob(ctx context.Context, from client.Reader, namespace, name string, options ...client.GetOption) (*v1alpha1.Job, error) {
	job := &v1alpha1.Job{}
	if err := from.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, job, options...); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return job, nil
}
