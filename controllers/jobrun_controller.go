package controllers

import (
	"context"
	"errors"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
	"github.com/grantry/grantry/internal/index"
)

// JobRunReconciler launches runs, follows their batch/v1 Jobs, and applies revocation to them.
type JobRunReconciler struct {
	client.Client
	// Live reads the API server, past the cache.
	Live     client.Reader
	Gate     *LaunchGate
	Clock    clock.PassiveClock
	Recorder events.EventRecorder
	Options  batchjob.Options

	launched launchedRuns
	pods     runPods
	progress progressPace
}

var _ reconcile.Reconciler = (*JobRunReconciler)(nil)

// SetupWithManager makes the manager run the reconciler. It needs the indexes of runs.
func (r *JobRunReconciler) SetupWithManager(mgr ctrl.Manager, concurrency int) error {
	if err := r.pods.prepare(mgr); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		For(&v1alpha1.JobRun{}).
		Owns(&batchv1.Job{}).
		// The status of a Job is not the concern of its runs: it changes with each of them.
		Watches(&v1alpha1.Job{}, handler.EnqueueRequestsFromMapFunc(r.unfinishedRunsOf), builder.WithPredicates(specChanged)).
		WatchesRawSource(&r.pods).
		WatchesRawSource(policySource{store: r.Gate.Policy, clock: r.Gate.Clock, affected: r.affectedByPolicy, every: groupsCheck}).
		WithOptions(options(concurrency)).
		Complete(r)
}

// +kubebuilder:rbac:groups=grantry.dev,resources=jobruns,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=grantry.dev,resources=jobruns/status,verbs=patch
// +kubebuilder:rbac:groups=grantry.dev,resources=jobruns/finalizers,verbs=update
// +kubebuilder:rbac:groups=grantry.dev,resources=jobs,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile moves one run on.
func (r *JobRunReconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	run := &v1alpha1.JobRun{}
	if err := r.Get(ctx, req.NamespacedName, run); err != nil {
		r.launched.forget(req.NamespacedName)
		r.pods.forget(req.NamespacedName)
		r.progress.forget(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !run.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its batch/v1 Job goes with it, by owner reference
	}
	result, err := r.moveOn(ctx, run)
	// Last, as a write that the status' optimistic lock would not know of; and whatever became of the rest.
	if err = errors.Join(err, labelAncestors(ctx, r.Client, runKind, run, run.Spec.Job)); err != nil {
		return ctrl.Result{}, err
	}
	return result, nil
}

// moveOn does what the run's state asks for.
func (r *JobRunReconciler) moveOn(ctx context.Context, run *v1alpha1.JobRun) (ctrl.Result, error) {
	in, err := r.observe(ctx, run)
	if err != nil {
		return ctrl.Result{}, err
	}
	plan := planRun(in)
	if plan.Act == actConfirm {
		if in.Live, err = r.confirm(ctx, in); err != nil {
			return ctrl.Result{}, r.told(ctx, in, err)
		}
		plan = planRun(in)
	}
	if plan.Act == actLaunch {
		refused, err := r.launch(ctx, in)
		switch {
		case err != nil:
			return ctrl.Result{}, r.told(ctx, in, err)
		case refused == nil:
			return ctrl.Result{}, nil // the child's own events bring the status
		}
		plan = *refused
	}
	before := run.DeepCopy()
	setRunStatus(run, plan, in.Now)
	if plan.Act == actNothing && isProgress(before, run) {
		if wait := r.progress.wait(client.ObjectKeyFromObject(run), in.Now); wait > 0 {
			return ctrl.Result{RequeueAfter: wait}, nil
		}
	}
	// The status goes first: a run that is Revoked is deleted again if the operator stops in between,
	// a deleted child whose run does not know why is reported as lost.
	if err := patchStatus(ctx, r.Client, before, run); err != nil {
		return unlessConflict(err)
	}
	if err := r.apply(ctx, in, plan); err != nil {
		return unlessConflict(err)
	}
	r.written(run, in)
	r.tell(before, run, in)
	return ctrl.Result{RequeueAfter: plan.RequeueAfter}, nil
}

// written forgets what is remembered for the sake of a status that tells of it now.
func (r *JobRunReconciler) written(run *v1alpha1.JobRun, in runInput) {
	key := client.ObjectKeyFromObject(run)
	r.progress.forget(key)
	if isFinished(run) {
		r.pods.forget(key)
		return
	}
	r.pods.told(key, in.Pods)
}

// told writes into the status of a run that waits to be launched why that failed, and returns the failure
// for the retry. Without it, a person would see that nothing happens, and only the log would say why.
func (r *JobRunReconciler) told(ctx context.Context, in runInput, cause error) error {
	if in.Child != nil || in.Run.Status.Child != nil || in.Launched {
		return cause
	}
	before := in.Run.DeepCopy()
	setRunStatus(in.Run, failingPlan(in, cause), in.Now)
	if err := patchStatus(ctx, r.Client, before, in.Run); err != nil {
		return fmt.Errorf("%w (and its status: %w)", cause, err)
	}
	return cause
}

// observe reads, from the caches, everything that a plan needs.
func (r *JobRunReconciler) observe(ctx context.Context, run *v1alpha1.JobRun) (runInput, error) {
	in := runInput{Run: run, Launched: r.launched.has(run), Now: r.Clock.Now()}
	job := &v1alpha1.Job{}
	switch err := r.Get(ctx, types.NamespacedName{Namespace: run.Namespace, Name: run.Spec.Job}, job); {
	case err == nil && job.DeletionTimestamp.IsZero():
		in.Job = job
	case client.IgnoreNotFound(err) != nil:
		return in, fmt.Errorf("read the Job: %w", err)
	}
	// A foreign child is none: creating ours is refused by its name, and the run is rejected then.
	child, err := r.childOf(ctx, r.Client, run)
	if err != nil && !errors.Is(err, errForeignChild) {
		return in, err
	}
	in.Child = child
	if child != nil && in.Job != nil && belonging(run, in.Job) != belongsToJob {
		in.Job = nil // another Job of that name: its owner has no say in work that is not its own
	}
	if run.Status.Child != nil {
		r.launched.forget(client.ObjectKeyFromObject(run))
	}
	if in.Job != nil {
		in.Verdict = r.Gate.verdict(in.Job)
		if child == nil { // else it was launched, by whatever its definition was then
			in.Invalid = invalidMessage(batchjob.Validate(in.Job, r.Options))
		}
	}
	if asksKueue(in) {
		in.Queue = r.askKueue(ctx, child)
	}
	if !isFinished(run) {
		in.Pods, err = r.podsOf(ctx, run, child)
	}
	return in, err
}

// errForeignChild says that an object of the child's name belongs to somebody else.
var errForeignChild = errors.New("a batch/v1 Job of the child's name exists and does not belong to the run")

// childOf returns the run's batch/v1 Job as a reader shows it, or nil.
func (r *JobRunReconciler) childOf(ctx context.Context, reader client.Reader, run *v1alpha1.JobRun) (*batchv1.Job, error) {
	child := &batchv1.Job{}
	err := reader.Get(ctx, types.NamespacedName{Namespace: run.Namespace, Name: batchjob.ChildName(run)}, child)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the batch/v1 Job: %w", err)
	case !metav1.IsControlledBy(child, run):
		return nil, fmt.Errorf("%w: %s/%s", errForeignChild, child.Namespace, child.Name)
	}
	return child, nil
}

// confirm asks the API server itself about the run, its child, and what decides.
func (r *JobRunReconciler) confirm(ctx context.Context, in runInput) (*liveFacts, error) {
	live := &v1alpha1.JobRun{}
	switch err := r.Live.Get(ctx, client.ObjectKeyFromObject(in.Run), live); {
	case apierrors.IsNotFound(err):
		return &liveFacts{RunChanged: true}, nil
	case err != nil:
		return nil, fmt.Errorf("read the run: %w", err)
	}
	facts := &liveFacts{
		RunChanged: live.UID != in.Run.UID || !live.DeletionTimestamp.IsZero() || isFinished(live) ||
			live.Spec.Stop != in.Run.Spec.Stop || (live.Status.Child != nil && in.Run.Status.Child == nil),
		Verdict: in.Verdict,
	}
	if facts.RunChanged {
		return facts, nil
	}
	if in.Child == nil && !in.mayLaunch() {
		child, err := r.childOf(ctx, r.Live, in.Run)
		if err != nil && !errors.Is(err, errForeignChild) {
			return nil, err
		}
		facts.ChildExists = child != nil
		return facts, nil
	}
	var err error
	facts.Verdict, err = r.Gate.confirm(ctx, in.Verdict)
	return facts, err
}

// unfinishedRunsOf maps a Job to its runs that can still change.
func (r *JobRunReconciler) unfinishedRunsOf(ctx context.Context, job client.Object) []ctrl.Request {
	runs := &v1alpha1.JobRunList{}
	if err := r.List(ctx, runs, client.InNamespace(job.GetNamespace()), client.MatchingFields{index.RunUnfinishedOfJob: job.GetName()}); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "List unfinished runs") // the cache has the index, or the manager would not have started
		return nil
	}
	requests := make([]ctrl.Request, len(runs.Items))
	for i := range runs.Items {
		requests[i] = ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&runs.Items[i])}
	}
	return requests
}

// affectedByPolicy finds the unfinished runs whose verdict is not what their status says any more.
func (r *JobRunReconciler) affectedByPolicy(ctx context.Context) ([]ctrl.Request, error) {
	runs := &v1alpha1.JobRunList{}
	if err := r.List(ctx, runs, client.MatchingFields{index.RunUnfinished: "true"}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list unfinished runs: %w", err)
	}
	verdicts := map[types.NamespacedName]*report{}
	var requests []ctrl.Request
	for i := range runs.Items {
		run := &runs.Items[i]
		key := types.NamespacedName{Namespace: run.Namespace, Name: run.Spec.Job}
		now, known := verdicts[key]
		if !known {
			now = r.reportOf(ctx, key)
			verdicts[key] = now
		}
		if now != nil && differs(run.Status.Conditions, *now) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(run)})
		}
	}
	return requests, nil
}

// reportOf is what the Authorized condition of a Job's runs should say, or nil if there is no such Job.
func (r *JobRunReconciler) reportOf(ctx context.Context, key types.NamespacedName) *report {
	job := &v1alpha1.Job{}
	if err := r.Get(ctx, key, job); err != nil {
		return nil
	}
	now := authorizedReport(r.Gate.verdict(job))
	return &now
}
