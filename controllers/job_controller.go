package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
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

// runSettleTime is how long the changes of a Job's runs are gathered before the Job's summary of them is
// written. A run that is launched changes three times within a second; its Job says so once.
const runSettleTime = time.Second

// JobReconciler creates the runs that a Job's creation, its schedules and its dependencies bring about, keeps
// the history within its limits, and says in status whether the Job may be launched, how its runs went, and
// when it runs next.
type JobReconciler struct {
	client.Client
	// Live reads the API server, past the cache.
	Live    client.Reader
	Gate    *LaunchGate
	Clock   clock.PassiveClock
	Options batchjob.Options

	due dueTimes
}

var _ reconcile.Reconciler = (*JobReconciler)(nil)

// SetupWithManager makes the manager run the reconciler. It needs the indexes of runs and of dependencies.
func (r *JobReconciler) SetupWithManager(mgr ctrl.Manager, concurrency int) error {
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.Job{}).
		Watches(&v1alpha1.JobRun{}, jobOfRun()).
		Watches(&v1alpha1.Job{}, dependentsOf(r)).
		WatchesRawSource(r.due.source(r.Clock)).
		WatchesRawSource(policySource{store: r.Gate.Policy, clock: r.Gate.Clock, affected: r.affectedByPolicy, every: groupsCheck}).
		WithOptions(options(concurrency)).
		Complete(r)
}

// jobOfRun maps a run to its Job, after the time in which more is likely to follow.
func jobOfRun() handler.EventHandler {
	later := func(run client.Object, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		key := client.ObjectKey{Namespace: run.GetNamespace(), Name: run.(*v1alpha1.JobRun).Spec.Job}
		queue.AddAfter(reconcile.Request{NamespacedName: key}, runSettleTime)
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			later(e.Object, q)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			later(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			later(e.Object, q)
		},
	}
}

// +kubebuilder:rbac:groups=grantry.dev,resources=jobs,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=grantry.dev,resources=jobs/status,verbs=patch
// +kubebuilder:rbac:groups=grantry.dev,resources=jobs/finalizers,verbs=update
// +kubebuilder:rbac:groups=grantry.dev,resources=jobruns,verbs=get;list;watch;create;delete

// Reconcile brings one Job up to date.
func (r *JobReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	job := &v1alpha1.Job{}
	if err := r.Get(ctx, req.NamespacedName, job); err != nil {
		r.due.forget(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !job.DeletionTimestamp.IsZero() {
		r.due.forget(req.NamespacedName)
		return ctrl.Result{}, nil // its runs go with it, by owner reference
	}
	result, err := r.serve(ctx, job)
	// Last, as a write that the status' optimistic lock would not know of; and whatever became of the rest.
	if err = errors.Join(err, labelAncestors(ctx, r.Client, jobKind, job, job.Name)); err != nil {
		return ctrl.Result{}, err
	}
	return result, nil
}

// serve does for a Job what its times, its runs and its status need.
func (r *JobReconciler) serve(ctx context.Context, job *v1alpha1.Job) (ctrl.Result, error) {
	in, err := r.observe(ctx, job)
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := planJob(in)
	if len(plan.Due) > 0 {
		// What was dealt with is in the status, and the cache may have an old one.
		live := &v1alpha1.Job{}
		if err = r.Live.Get(ctx, client.ObjectKeyFromObject(job), live); err != nil || !live.DeletionTimestamp.IsZero() {
			return ctrl.Result{}, client.IgnoreNotFound(err)
		}
		if in, err = r.observe(ctx, live); err != nil {
			return ctrl.Result{}, err
		}
		plan = planJob(in)
	}
	return r.carryOut(ctx, in, plan)
}

// carryOut does what was planned, and writes the status.
func (r *JobReconciler) carryOut(ctx context.Context, in jobInput, plan jobPlan) (ctrl.Result, error) {
	job, before := in.Job, in.Job.DeepCopy()
	if err := r.apply(ctx, job, plan); err != nil {
		return ctrl.Result{}, err
	}
	setJobStatus(job, in, plan)
	if err := patchStatus(ctx, r.Client, before, job); err != nil {
		return unlessConflict(err)
	}
	r.due.set(client.ObjectKeyFromObject(job), plan.Wake)
	return ctrl.Result{}, r.deleteHistory(ctx, plan)
}

// observe reads, from the cache, everything that a plan for a Job needs.
func (r *JobReconciler) observe(ctx context.Context, job *v1alpha1.Job) (jobInput, error) {
	runs := &v1alpha1.JobRunList{}
	if err := r.List(ctx, runs, client.InNamespace(job.Namespace), client.MatchingFields{index.RunJob: job.Name}); err != nil {
		return jobInput{}, fmt.Errorf("list runs: %w", err)
	}
	jobs, err := r.dependenciesOf(ctx, job)
	if err != nil {
		return jobInput{}, err
	}
	in := jobInput{Job: job, Runs: runs.Items, Jobs: jobs, Verdict: r.Gate.verdict(job), Now: r.Clock.Now()}
	in.Invalid = slices.Concat(batchjob.Validate(job, r.Options), schedule.Validate(job), schedule.ValidateDependencies(job, in.lookup))
	return in, nil
}

// apply stops and creates runs. Status comes after it: it remembers that they were created, and must not do
// so before they were.
func (r *JobReconciler) apply(ctx context.Context, job *v1alpha1.Job, plan jobPlan) error {
	for _, run := range plan.Stop {
		if err := r.deleteRun(ctx, run); err != nil {
			return fmt.Errorf("stop run %s, which another replaces: %w", run.Name, err)
		}
	}
	var errs []error
	if plan.Create != nil {
		if err := r.createRun(ctx, job, plan.Create); err != nil {
			errs = append(errs, fmt.Errorf("create the run of the Job's creation: %w", err))
		}
	}
	for _, run := range plan.Due {
		if err := r.createRun(ctx, job, run); err != nil {
			errs = append(errs, fmt.Errorf("create run %s: %w", run.Name, err))
		}
	}
	return errors.Join(errs...)
}

// deleteHistory deletes the runs beyond the limits. It comes after the status, which remembers of them what
// has to outlive them: for which times and after which runs they were, and how they ended.
func (r *JobReconciler) deleteHistory(ctx context.Context, plan jobPlan) error {
	var errs []error
	for i := range plan.Delete {
		if err := r.deleteRun(ctx, &plan.Delete[i]); err != nil {
			errs = append(errs, fmt.Errorf("delete run %s beyond the history limit: %w", plan.Delete[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

func (r *JobReconciler) deleteRun(ctx context.Context, run *v1alpha1.JobRun) error {
	err := r.Delete(ctx, run, client.Preconditions{UID: &run.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	return client.IgnoreNotFound(err)
}

// createRun creates a run, unless it is there already, and makes it the one that is there. One of its name
// that is not the Job's is an error: the Job would wait for ever for a run that is another's.
func (r *JobReconciler) createRun(ctx context.Context, job *v1alpha1.Job, run *v1alpha1.JobRun) error {
	if err := ctrl.SetControllerReference(job, run, r.Scheme()); err != nil {
		return err
	}
	err := r.Create(ctx, run)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	existing := &v1alpha1.JobRun{}
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(run), existing); err != nil {
		return client.IgnoreNotFound(err)
	}
	if existing.Spec.Job != job.Name || belonging(existing, job) == belongsToAnother {
		return fmt.Errorf("JobRun %s/%s exists and is not the Job's: delete it", existing.Namespace, existing.Name)
	}
	existing.DeepCopyInto(run)
	return nil
}

// affectedByPolicy finds the Jobs whose verdict is not what their status says any more.
func (r *JobReconciler) affectedByPolicy(ctx context.Context) ([]ctrl.Request, error) {
	jobs := &v1alpha1.JobList{}
	if err := r.List(ctx, jobs, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Jobs: %w", err)
	}
	var requests []ctrl.Request
	for i := range jobs.Items {
		job := &jobs.Items[i]
		if differs(job.Status.Conditions, authorizedReport(r.Gate.verdict(job))) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(job)})
		}
	}
	return requests, nil
}
