package controllers

import (
	"context"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/index"
	"github.com/grantry/grantry/internal/schedule"
)

// followDependencies plans the run that the success of a Job's parents brings about.
func (p *jobPlan) followDependencies(in jobInput) {
	p.Dependencies = in.Job.Status.Dependencies
	if len(in.Job.Spec.Dependencies) == 0 {
		p.Dependencies = nil
		return
	}
	if len(in.Invalid) > 0 {
		return
	}
	own := schedule.OwnRuns{Unfinished: len(in.unfinished()), LastSuccess: in.Job.Status.LastSuccessAt}
	for i := range in.Runs {
		if run := &in.Runs[i]; runState(run) == v1alpha1.StateSuccess {
			own.LastSuccess = later(own.LastSuccess, run.Status.FinishedAt)
		}
	}
	succeeded := schedule.AfterParents(in.Job, own, in.lookup)
	if succeeded == nil {
		return
	}
	p.Dependencies = succeeded
	p.Due = append(p.Due, &v1alpha1.JobRun{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: in.Job.Namespace, Name: batchjob.DependencyRunName(in.Job, succeeded.Runs), Labels: batchjob.RunLabels(in.Job),
		},
		Spec: v1alpha1.JobRunSpec{Job: in.Job.Name, Trigger: v1alpha1.TriggerDependency},
	})
}

// lookup finds a Job among those that were gathered.
func (in jobInput) lookup(id string) *v1alpha1.Job { return in.Jobs[id] }

// dependenciesOf gathers the Jobs that a Job depends on, be it by way of others.
func (r *JobReconciler) dependenciesOf(ctx context.Context, job *v1alpha1.Job) (map[string]*v1alpha1.Job, error) {
	return schedule.Gather(job, func(id string) (*v1alpha1.Job, error) {
		found := &v1alpha1.Job{}
		if err := r.Get(ctx, types.NamespacedName{Namespace: job.Namespace, Name: id}, found); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		return found, nil
	})
}

// dependentsOf maps a Job to those that depend on it: to all, if what it is or depends on has changed, and
// to the next ones, if only its latest run has.
func dependentsOf(r *JobReconciler) handler.EventHandler {
	type requests = workqueue.TypedRateLimitingInterface[reconcile.Request]
	all := func(ctx context.Context, job client.Object, q requests) { r.enqueueDependents(ctx, job, q, true) }
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q requests) { all(ctx, e.Object, q) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q requests) { all(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q requests) {
			switch was, is := e.ObjectOld.(*v1alpha1.Job), e.ObjectNew.(*v1alpha1.Job); {
			case specChanged.Update(e):
				all(ctx, is, q)
			case !equality.Semantic.DeepEqual(was.Status.LastRun, is.Status.LastRun):
				r.enqueueDependents(ctx, is, q, false)
			}
		},
	}
}

// enqueueDependents asks for a look at the Jobs that depend on one, each once.
func (r *JobReconciler) enqueueDependents(ctx context.Context, job client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request], transitively bool) {
	seen := map[string]bool{}
	for open := []string{job.GetName()}; len(open) > 0; {
		jobs := &v1alpha1.JobList{}
		err := r.List(ctx, jobs, client.InNamespace(job.GetNamespace()), client.MatchingFields{index.JobDependency: open[0]}, client.UnsafeDisableDeepCopy)
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "List dependent Jobs") // the cache has the index, or the manager would not have started
			return
		}
		open = open[1:]
		for i := range jobs.Items {
			name := jobs.Items[i].Name
			if seen[name] {
				continue
			}
			seen[name] = true
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&jobs.Items[i])})
			if transitively {
				open = append(open, name)
			}
		}
	}
}
