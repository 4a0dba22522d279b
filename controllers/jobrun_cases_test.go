package controllers

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
)

// String names an act in the output of tests.
func (a runAct) String() string {
	return [...]string{"nothing", "adopt", "confirm", "launch", "suspend", "resume", "delete", "stop"}[a]
}

// makeJob is a Job that asks for nothing special. Its UID follows from its name.
func makeJob(namespace, name string, edits ...func(*v1alpha1.Job)) *v1alpha1.Job {
	job := &v1alpha1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.JobSpec{
			Owner: &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "alice"},
			Run:   &v1alpha1.RunSpec{Cmd: "sleep 1000"},
		},
	}
	for _, edit := range edits {
		edit(job)
	}
	return job
}

// makeRun is a run as a user creates it.
func makeRun(namespace, name, job string, edits ...func(*v1alpha1.JobRun)) *v1alpha1.JobRun {
	run := &v1alpha1.JobRun{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       v1alpha1.JobRunSpec{Job: job},
	}
	for _, edit := range edits {
		edit(run)
	}
	return run
}

// plannedJob, plannedRun and plannedChild are the objects of the tests of plans. The run belongs to the Job.
func plannedJob(edits ...func(*v1alpha1.Job)) *v1alpha1.Job {
	job := makeJob("metronome", "dev.batch.job1")
	job.UID, job.Generation = "job-uid", 1
	for _, edit := range edits {
		edit(job)
	}
	return job
}

func plannedRun(edits ...func(*v1alpha1.JobRun)) *v1alpha1.JobRun {
	run := makeRun("metronome", "run1", "dev.batch.job1")
	run.UID, run.Generation, run.CreationTimestamp = "run-uid", 1, *at(-time.Minute)
	run.OwnerReferences = []metav1.OwnerReference{
		*metav1.NewControllerRef(plannedJob(), v1alpha1.GroupVersion.WithKind("Job")),
	}
	for _, edit := range edits {
		edit(run)
	}
	return run
}

func plannedChild(edits ...func(*batchv1.Job)) *batchv1.Job {
	child := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "metronome", Name: "run1-child", UID: "child-uid", CreationTimestamp: *at(-30 * time.Second),
		Annotations: map[string]string{v1alpha1.AnnotationGrant: "alice-dev"},
	}}
	for _, edit := range edits {
		edit(child)
	}
	return child
}

// in puts a run into a state.
func inState(status metav1.ConditionStatus, state string) func(*v1alpha1.JobRun) {
	return func(run *v1alpha1.JobRun) {
		run.Status.Conditions = append(run.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionSucceeded, Status: status, Reason: state, LastTransitionTime: *at(-time.Second),
		})
	}
}

func withDeadline(seconds int64) func(*v1alpha1.JobRun) {
	return func(run *v1alpha1.JobRun) { run.Spec.StartingDeadlineSeconds = &seconds }
}

func sawChild(run *v1alpha1.JobRun) {
	run.Status.Child = &v1alpha1.ChildReference{Name: "run1-child", UID: "child-uid"}
}

func stopRequested(run *v1alpha1.JobRun) {
	run.Spec.Stop, run.Spec.StoppedBy = true, &v1alpha1.Subject{Kind: v1alpha1.UserSubject, Name: "bob"}
}

// exited, working and waitingPodFor are pods of the run.
func exited(name string, code int32, reason string) *runPod {
	state := v1alpha1.TaskFailed
	if code == 0 {
		state = v1alpha1.TaskSucceeded
	}
	return &runPod{ObjectMeta: metav1.ObjectMeta{Name: name}, task: v1alpha1.RunTask{
		Name: name, State: state, StartedAt: at(-20 * time.Second), FinishedAt: at(-10 * time.Second), ExitCode: &code, Reason: reason,
	}}
}

func working(name string) *runPod {
	return &runPod{ObjectMeta: metav1.ObjectMeta{Name: name}, task: v1alpha1.RunTask{Name: name, State: v1alpha1.TaskRunning, StartedAt: at(-20 * time.Second)}}
}

func waitingPodFor(name, what string) *runPod {
	return &runPod{ObjectMeta: metav1.ObjectMeta{Name: name}, task: v1alpha1.RunTask{Name: name, State: v1alpha1.TaskWaiting}, waits: what}
}

func unowned(run *v1alpha1.JobRun) { run.OwnerReferences = nil }

func ofEarlierJob(run *v1alpha1.JobRun) { run.OwnerReferences[0].UID = "earlier" }

func onRevoke(policy v1alpha1.RevokePolicy) func(*v1alpha1.Job) {
	return func(job *v1alpha1.Job) { job.Spec.OnRevoke = policy }
}

func active(child *batchv1.Job) {
	child.Status.Active, child.Status.StartTime = 1, at(-20*time.Second)
}

func suspendedChild(child *batchv1.Job) { child.Spec.Suspend = new(true) }

func revokedChild(child *batchv1.Job) {
	child.Annotations[v1alpha1.AnnotationSuspendedByRevocation] = wasAtWork
}

func ended(kind batchv1.JobConditionType, reason, message string) func(*batchv1.Job) {
	return func(child *batchv1.Job) {
		child.Status.Conditions = []batchv1.JobCondition{
			{Type: batchv1.JobSuspended, Status: corev1.ConditionFalse},
			{Type: kind, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastTransitionTime: *at(-5 * time.Second)},
		}
	}
}

var (
	granted    = verdict{Allowed: true, Reason: v1alpha1.ReasonGranted, Message: "Allowed by Grant alice-dev on ACL dev", Grant: "alice-dev", ACL: "dev"}
	notGranted = verdict{Reason: v1alpha1.ReasonNotGranted, Message: "user alice may not: no grant comes near"}
	notSynced  = verdict{Reason: v1alpha1.ReasonPolicyNotSynced, Message: "not read yet"}
	liveYes    = &liveFacts{Verdict: granted}
	liveNo     = &liveFacts{Verdict: verdict{Reason: v1alpha1.ReasonNotGranted, Message: "Grant alice-dev no longer allows it"}}
	liveMoved  = &liveFacts{Verdict: granted, RunChanged: true}
	liveChild  = &liveFacts{Verdict: granted, ChildExists: true}
)
