package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// JobRun is one execution of a Job. Creating one runs the Job ("Run Now"). Setting spec.stop stops the run; deleting
// it stops the run and removes it from the history.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,categories=grantry,shortName=jrun
// +kubebuilder:printcolumn:name="Job",type=string,JSONPath=`.spec.job`,description="The Job that runs"
// +kubebuilder:printcolumn:name="Trigger",type=string,JSONPath=`.spec.trigger`,description="What brought the run about"
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.conditions[?(@.type=="Succeeded")].reason`,description="How it stands or ended"
// +kubebuilder:printcolumn:name="Authorized",type=string,JSONPath=`.status.conditions[?(@.type=="Authorized")].status`,description="Whether the owner's grants allow it"
// +kubebuilder:printcolumn:name="Started",type=date,JSONPath=`.status.startedAt`,description="When work began"
// +kubebuilder:printcolumn:name="Finished",type=date,JSONPath=`.status.finishedAt`,description="When it ended"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Requested by",type=string,priority=1,JSONPath=`.spec.requestedBy.name`,description="Who created the run"
// +kubebuilder:printcolumn:name="Exit",type=integer,priority=1,JSONPath=`.status.exitCode`,description="Exit code of the container that failed last, or 0"
// +kubebuilder:printcolumn:name="Child",type=string,priority=1,JSONPath=`.status.child.name`,description="The batch/v1 Job"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Succeeded")].message`,description="What it waits for, or how it ended"
type JobRun struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec says which Job runs and why. It can't be changed, but for stop.
	// +required
	Spec JobRunSpec `json:"spec"`

	// status is what Grantry found. Only Grantry writes it.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status JobRunStatus `json:"status,omitempty"`
}

// RunTrigger says what brought a run about.
// +kubebuilder:validation:Enum=User;Creation;Schedule;Dependency
type RunTrigger string

const (
	// TriggerUser is a person or program that created the JobRun.
	TriggerUser RunTrigger = "User"
	// TriggerCreation is the creation of a Job whose start policy is OnCreate.
	TriggerCreation RunTrigger = "Creation"
	// TriggerSchedule is a schedule of the Job.
	TriggerSchedule RunTrigger = "Schedule"
	// TriggerDependency is the success of the Jobs that the Job depends on.
	TriggerDependency RunTrigger = "Dependency"
)

// JobRunSpec says which Job runs, and why.
// +kubebuilder:validation:XValidation:rule="self.job == oldSelf.job && has(self.trigger) == has(oldSelf.trigger) && (!has(self.trigger) || self.trigger == oldSelf.trigger) && has(self.requestedBy) == has(oldSelf.requestedBy) && (!has(self.requestedBy) || self.requestedBy == oldSelf.requestedBy) && has(self.schedule) == has(oldSelf.schedule) && (!has(self.schedule) || self.schedule == oldSelf.schedule) && has(self.scheduledAt) == has(oldSelf.scheduledAt) && (!has(self.scheduledAt) || self.scheduledAt == oldSelf.scheduledAt) && has(self.startingDeadlineSeconds) == has(oldSelf.startingDeadlineSeconds) && (!has(self.startingDeadlineSeconds) || self.startingDeadlineSeconds == oldSelf.startingDeadlineSeconds)",message="the spec of a JobRun is immutable, but for stop: create another JobRun"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.stop) || !oldSelf.stop || (has(self.stop) && self.stop && has(self.stoppedBy) == has(oldSelf.stoppedBy) && (!has(self.stoppedBy) || self.stoppedBy == oldSelf.stoppedBy))",message="stop can't be taken back: create another JobRun"
// +kubebuilder:validation:XValidation:rule="!has(self.stoppedBy) || (has(self.stop) && self.stop)",message="stoppedBy says who has set stop: leave it out"
type JobRunSpec struct {
	// job is the name of a Job in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Job string `json:"job"`

	// trigger is what brought the run about. Leave it unset: User. Only Grantry creates runs of another.
	// +optional
	// +kubebuilder:default=User
	Trigger RunTrigger `json:"trigger,omitempty"`

	// requestedBy is who created the run. Unset is the user who does. Another subject may be named by those
	// who may act as it.
	// +optional
	RequestedBy *Subject `json:"requestedBy,omitempty"`

	// schedule is the id of the schedule that the run is for. Only Grantry sets it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Schedule string `json:"schedule,omitempty"`

	// scheduledAt is the time of the schedule that the run is for. Only Grantry sets it.
	// +optional
	ScheduledAt *metav1.Time `json:"scheduledAt,omitempty"`

	// startingDeadlineSeconds is how long after scheduledAt, or else after its creation, the run may still
	// be launched, when it has to wait for a grant or for a suspended Job. Unset is without limit.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=31536000
	StartingDeadlineSeconds *int64 `json:"startingDeadlineSeconds,omitempty"`

	// stop ends the run: its pods get SIGTERM and the time that they have to end, and the run has failed, as
	// Stopped, once they are gone. A run that was not launched ends at once. It can't be taken back, and changes
	// nothing in a run that has ended. Default is false.
	// +optional
	Stop bool `json:"stop,omitempty"` //nolint:kubeapilinter // mirrors suspend of batch/v1

	// stoppedBy is who set stop. Unset is the user who does. Another subject may be named by those who may act as
	// it.
	// +optional
	StoppedBy *Subject `json:"stoppedBy,omitempty"`
}

// JobRunStatus is what Grantry found out about a run.
type JobRunStatus struct {
	// observedGeneration is the generation that the rest of the status speaks of; -1 until the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready (the run was launched), Authorized (the owner's grants allow it), Succeeded
	// (Unknown until the run has ended), and Stalled while a person must act.
	// Possible reasons of Ready: Launched, Waiting, Rejected, Stopped.
	// Possible reasons of Authorized: those of a Job.
	// Possible reasons of Succeeded: Pending, Queued, Starting, Active, Suspended, Success, Failed,
	// StartingDeadlineExceeded, Stopped, Revoked, Rejected.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// child is the batch/v1 Job that does the work.
	// +optional
	Child *ChildReference `json:"child,omitempty"`

	// grant is the name of the Grant that allowed the launch.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Grant string `json:"grant,omitempty"`

	// startedAt is when work began.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// finishedAt is when the run ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`

	// failedAttempts is how many pods of the run failed.
	// +optional
	FailedAttempts int32 `json:"failedAttempts,omitempty"`

	// exitCode is the exit code of the container that ended the run, where a pod was left to tell it.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty"`

	// exitReason is why that container ended, as the node reported it: Completed, Error, OOMKilled.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	ExitReason string `json:"exitReason,omitempty"`

	// tasks are the pods that did the work, in the order of their creation: the latest 16. They stay when the pods
	// go. While the run is at work they may lag behind; its end has them all.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Tasks []RunTask `json:"tasks,omitempty"`
}

// TaskState says how far a pod of a run is.
// +kubebuilder:validation:Enum=Waiting;Running;Succeeded;Failed;Lost
type TaskState string

const (
	// TaskWaiting is a pod that waits for a node, for its image, for what it fetches, or to start again.
	TaskWaiting TaskState = "Waiting"
	// TaskRunning is a pod at work.
	TaskRunning TaskState = "Running"
	// TaskSucceeded is a pod whose work has ended well.
	TaskSucceeded TaskState = "Succeeded"
	// TaskFailed is a pod whose work has ended badly, or that the cluster took away.
	TaskFailed TaskState = "Failed"
	// TaskLost is a pod that was gone before Grantry had seen how it ended.
	TaskLost TaskState = "Lost"
)

// RunTask is a pod of a run.
type RunTask struct {
	// name of the pod, in the namespace of the run.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// state is Waiting, Running, Succeeded, Failed or Lost.
	// +required
	State TaskState `json:"state"`

	// node is where the pod is or was; unset if it had none.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`

	// createdAt is when the pod was created.
	// +optional
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`

	// startedAt is when its first container started.
	// +optional
	StartedAt *metav1.Time `json:"startedAt,omitempty"`

	// finishedAt is when its last container ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`

	// exitCode is that of the container that failed last, or 0 if none did.
	// +optional
	ExitCode *int32 `json:"exitCode,omitempty"`

	// reason is why the pod is in its state, in the words of Kubernetes: Completed, Error, OOMKilled,
	// EvictionByEvictionAPI, ImagePullBackOff, Unschedulable.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`

	// restarts is how often the node has started a container again; unset is never.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Restarts int32 `json:"restarts,omitempty"`
}

// ChildReference points at a batch/v1 Job in the namespace of the run.
type ChildReference struct {
	// name of the batch/v1 Job.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// uid of the batch/v1 Job.
	// +required
	UID types.UID `json:"uid"`
}

// ConditionSucceeded is Unknown until a run has ended; its reason is the run's state.
const ConditionSucceeded = "Succeeded"

// Reasons of a JobRun's Ready condition.
const (
	// ReasonLaunched says that the child was created.
	ReasonLaunched = "Launched"
	// ReasonWaiting says that the run has not been launched yet; Succeeded says what it waits for.
	ReasonWaiting = "Waiting"
	// ReasonRejected says that the run can never be launched.
	ReasonRejected = "Rejected"
	// ReasonStopped says that the run was stopped before it was launched.
	ReasonStopped = "Stopped"
)

// Reasons of a JobRun's Succeeded condition: the states of a run.
const (
	// StatePending: not launched; the message says what the run waits for.
	StatePending = "Pending"
	// StateQueued: the child was created, and waits in a queue of Kueue; the message says for what.
	StateQueued = "Queued"
	// StateStarting: the child was created, and no pod of it runs yet; the message says what the pod waits for.
	StateStarting = "Starting"
	// StateActive: at work.
	StateActive = "Active"
	// StateSuspended: the child is suspended, because the owner's permission went or by somebody else.
	StateSuspended = "Suspended"
	// StateSuccess: ended well.
	StateSuccess = "Success"
	// StateFailed: ended badly; the message says how.
	StateFailed = "Failed"
	// StateStartingDeadlineExceeded: not launched in time, and not to be launched any more.
	StateStartingDeadlineExceeded = "StartingDeadlineExceeded"
	// StateStopped: ended by somebody who set spec.stop.
	StateStopped = "Stopped"
	// StateRevoked: ended by Grantry, because the owner's permission went and onRevoke is Delete.
	StateRevoked = "Revoked"
	// StateRejected: never launched, because it can't be: the Job is invalid, or the API server refused the child.
	StateRejected = "Rejected"
)

// JobRunList is a list of JobRuns.
// +kubebuilder:object:root=true
type JobRunList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []JobRun `json:"items"`
}
