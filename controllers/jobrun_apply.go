package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/batchjob"
)

// mayLaunch says whether the plan that asks for confirmation is about launching. Creating a child that
// exists is refused by its name, so that it need not be looked for first.
func (in runInput) mayLaunch() bool {
	left, limited := startingTimeLeft(in)
	return in.Run.Status.Child == nil && !in.Launched && !in.Run.Spec.Stop &&
		in.Job != nil && in.Invalid == "" && in.Verdict.Allowed && (!limited || left > 0)
}

// launch creates the child. A refusal is a plan for the run that has none, now or ever; an error is worth
// a retry.
func (r *JobRunReconciler) launch(ctx context.Context, in runInput) (refused *runPlan, err error) {
	input := batchjob.Input{
		Job: in.Job, Run: in.Run, Owner: ownerSubject(in.Job),
		Grant: in.Live.Verdict.Grant, ACL: in.Live.Verdict.ACL, Options: r.Options,
	}
	if batchjob.NeedsNodeLabels(in.Job) {
		if input.NodeLabels, err = r.nodeLabels(ctx); err != nil {
			return nil, err
		}
	}
	child, err := batchjob.Child(input)
	switch {
	case errors.Is(err, batchjob.ErrNoNodeMatches):
		return waitingPlan(in, err.Error(), nodeRetry), nil
	case err != nil:
		return rejectedPlan(in, err.Error()), nil
	}
	err = r.Create(ctx, child)
	switch {
	case apierrors.IsAlreadyExists(err):
		// Created before, by this operator before it stopped or by another that led; or not ours at all.
		var ours *batchv1.Job
		switch ours, err = r.childOf(ctx, r.Live, in.Run); {
		case errors.Is(err, errForeignChild):
			return rejectedPlan(in, err.Error()), nil
		case err != nil:
			return nil, err
		case ours != nil:
			r.launched.add(in.Run)
		}
		// Its own events bring the status, unless it went before the cache saw it.
		return &runPlan{RequeueAfter: staleCacheRetry}, nil
	case apierrors.IsForbidden(err):
		return waitingPlan(in, "The API server forbids the batch/v1 Job: "+err.Error(), forbiddenRetry), nil
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return rejectedPlan(in, "The API server refused the batch/v1 Job: "+err.Error()), nil
	case err != nil:
		return nil, fmt.Errorf("create the batch/v1 Job: %w", err)
	}
	r.launched.add(in.Run)
	ctrl.LoggerFrom(ctx).Info("Launched run", "job", in.Job.Name, "child", child.Name, "grant", input.Grant)
	return nil, nil
}

func ownerSubject(job *v1alpha1.Job) v1alpha1.Subject {
	if job.Spec.Owner == nil {
		return v1alpha1.Subject{} // only in security mode disabled
	}
	return *job.Spec.Owner
}

// nodeLabels reads the labels of every node, for constraints that match them by expression.
func (r *JobRunReconciler) nodeLabels(ctx context.Context) ([]map[string]string, error) {
	nodes := &metav1.PartialObjectMetadataList{}
	nodes.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NodeList"))
	if err := r.Live.List(ctx, nodes); err != nil {
		return nil, fmt.Errorf("list nodes for LIKE and UNLIKE constraints: %w", err)
	}
	labels := make([]map[string]string, len(nodes.Items))
	for i, n := range nodes.Items {
		labels[i] = n.Labels
	}
	return labels, nil
}

// apply does what a plan says, besides launching.
func (r *JobRunReconciler) apply(ctx context.Context, in runInput, plan runPlan) error {
	switch plan.Act {
	case actAdopt:
		return r.adopt(ctx, in)
	case actSuspend:
		return r.patchChild(ctx, in.Child, suspendedByRevocation)
	case actResume:
		return r.patchChild(ctx, in.Child, resumed)
	case actDelete:
		if isFinished(in.Run) { // no state and no event will tell of it
			ctrl.LoggerFrom(ctx).Info("Deleting a batch/v1 Job that works although its run has ended", "job", in.Child.Name, "uid", in.Child.UID, "state", runState(in.Run))
		}
		return r.deleteChild(ctx, in.Child, metav1.DeletePropagationBackground)
	case actStop: // the child stays until its pods have ended
		return r.deleteChild(ctx, in.Child, metav1.DeletePropagationForeground)
	case actNothing, actConfirm, actLaunch:
	}
	return nil
}

func (r *JobRunReconciler) deleteChild(ctx context.Context, child *batchv1.Job, policy metav1.DeletionPropagation) error {
	err := r.Delete(ctx, child, client.Preconditions{UID: &child.UID}, client.PropagationPolicy(policy))
	return client.IgnoreNotFound(err)
}

// adopt gives a run that a user created its Job as owner, so that it goes with the Job, and the labels by
// which it is found.
func (r *JobRunReconciler) adopt(ctx context.Context, in runInput) error {
	before := in.Run.DeepCopy()
	if err := ctrl.SetControllerReference(in.Job, in.Run, r.Scheme()); err != nil {
		return err
	}
	if in.Run.Labels == nil {
		in.Run.Labels = map[string]string{}
	}
	maps.DeleteFunc(in.Run.Labels, func(key, _ string) bool { return strings.HasPrefix(key, v1alpha1.AncestorLabelPrefix) })
	maps.Copy(in.Run.Labels, batchjob.RunLabels(in.Job))
	if err := r.Patch(ctx, in.Run, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("adopt the run: %w", err)
	}
	return nil
}

func (r *JobRunReconciler) patchChild(ctx context.Context, child *batchv1.Job, change func(*batchv1.Job)) error {
	changed := child.DeepCopy()
	change(changed)
	if err := r.Patch(ctx, changed, client.MergeFrom(child)); err != nil {
		return fmt.Errorf("suspend or resume the batch/v1 Job: %w", err)
	}
	return nil
}

// What AnnotationSuspendedByRevocation says about the time before.
const (
	wasAtWork    = "true"
	wasSuspended = "was-suspended" // by somebody else, who is the one to resume it
)

func suspendedByRevocation(child *batchv1.Job) {
	before := wasAtWork
	if isSuspended(child) {
		before = wasSuspended
	}
	yes := true
	child.Spec.Suspend = &yes
	if child.Annotations == nil {
		child.Annotations = map[string]string{}
	}
	child.Annotations[v1alpha1.AnnotationSuspendedByRevocation] = before
}

// resumed gives a child back as it was before suspendedByRevocation. One that has a queue waits in it again:
// whether there is quota now is for Kueue to say, which starts what it has admitted as soon as the mark is gone.
func resumed(child *batchv1.Job) {
	if child.Annotations[v1alpha1.AnnotationSuspendedByRevocation] != wasSuspended && batchjob.Queue(child) == "" {
		no := false
		child.Spec.Suspend = &no
	}
	delete(child.Annotations, v1alpha1.AnnotationSuspendedByRevocation)
}
