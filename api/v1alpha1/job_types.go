package v1alpha1

import (
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Job is a job definition. Its name is the job id: dev.batch.job1 is job1 in the group dev.batch.
// Each execution is a JobRun, which owns one batch/v1 Job. A run is launched only while the grants of
// the Job's owner allow it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Namespaced,categories=grantry,shortName=gjob
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner.name`,description="Whose grants decide"
// +kubebuilder:printcolumn:name="Authorized",type=string,JSONPath=`.status.conditions[?(@.type=="Authorized")].status`,description="Whether the owner's grants allow a launch"
// +kubebuilder:printcolumn:name="Suspend",type=boolean,JSONPath=`.spec.suspend`,description="Whether new runs are held back"
// +kubebuilder:printcolumn:name="Active",type=integer,JSONPath=`.status.activeRuns`,description="Runs that are not finished"
// +kubebuilder:printcolumn:name="Last run",type=date,JSONPath=`.status.lastRun.createdAt`,description="How long ago the latest run was created"
// +kubebuilder:printcolumn:name="State",type=string,JSONPath=`.status.lastRun.state`,description="How the latest run stands or ended"
// +kubebuilder:printcolumn:name="Next run",type=string,JSONPath=`.status.nextRunAt`,description="When a schedule runs the Job next"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the definition is accepted"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Succeeded",type=integer,priority=1,JSONPath=`.status.successCount`,description="How many runs have succeeded"
// +kubebuilder:printcolumn:name="Failed",type=integer,priority=1,JSONPath=`.status.failureCount`,description="How many runs have failed"
// +kubebuilder:printcolumn:name="Last success",type=date,priority=1,JSONPath=`.status.lastSuccessAt`,description="When a run last succeeded"
// +kubebuilder:printcolumn:name="Grant",type=string,priority=1,JSONPath=`.status.grant`,description="The Grant that allows a launch"
// +kubebuilder:printcolumn:name="Last message",type=string,priority=1,JSONPath=`.status.lastRun.message`,description="What the latest run waits for, or how it failed"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,description="What is wrong, and where"
// +kubebuilder:validation:XValidation:rule="self.metadata.name.matches('^[a-z0-9]+(-+[a-z0-9]+)*([.][a-z0-9]+(-+[a-z0-9]+)*)*$')",message="a job id is made of lower-case letters, digits and inner dashes, in segments separated by single dots: dev.batch.job1"
type Job struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata. The name is the job id.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is what runs, when, and on whose grants.
	// +required
	Spec JobSpec `json:"spec"`

	// status is what Grantry found. Only Grantry writes it.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1,"activeRuns":0}
	Status JobStatus `json:"status,omitempty"` //nolint:kubeapilinter // counts of 0 are shown
}

// StartPolicy says when a Job without schedule and dependency runs.
// +kubebuilder:validation:Enum=OnCreate;OnDemand
type StartPolicy string

const (
	// StartOnCreate runs the Job once when it is created.
	StartOnCreate StartPolicy = "OnCreate"
	// StartOnDemand runs the Job when a JobRun is created, and else not.
	StartOnDemand StartPolicy = "OnDemand"
)

// RevokePolicy says what happens to running work when the owner's permission goes.
// +kubebuilder:validation:Enum=Finish;Suspend;Delete
type RevokePolicy string

const (
	// RevokeFinish lets the run finish; the next one is not launched.
	RevokeFinish RevokePolicy = "Finish"
	// RevokeSuspend suspends the run's batch/v1 Job, and resumes it when permission is back.
	RevokeSuspend RevokePolicy = "Suspend"
	// RevokeDelete deletes the run's batch/v1 Job; the run has failed.
	RevokeDelete RevokePolicy = "Delete"
)

// JobSpec is a job definition, with what runs in one of two forms: template or run.
// +kubebuilder:validation:XValidation:rule="has(self.template) != has(self.run)",message="give either template (a batch/v1 Job template) or run (Metronome's short form), and not both"
// +kubebuilder:validation:XValidation:rule="!(has(self.schedules) && size(self.schedules) > 0 && has(self.dependencies) && size(self.dependencies) > 0)",message="a Job has either schedules or dependencies, and not both"
type JobSpec struct {
	// description says what the Job does, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`

	// owner is the subject whose grants decide whether the Job may be launched: it needs run, update,
	// create or full on the Job's resource. A Job without owner is not launched. Unset is whoever creates
	// the Job. Whoever changes what runs, or when, becomes the owner. Another subject may be named by those
	// who may act as it: members of a group, those who may impersonate it, and superusers.
	// +optional
	Owner *Subject `json:"owner,omitempty"`

	// ownerGroups are the groups that the owner was in when it last wrote the Job, as the API server
	// reported them. Grants to these groups count for a launch, up to a maximum age. Admission writes
	// them, whatever is given here. Unset for owners that are no users, and where somebody else wrote the
	// Job for its owner.
	// +optional
	OwnerGroups *ReportedGroups `json:"ownerGroups,omitempty"`

	// startPolicy is OnCreate (run once when the Job is created) or OnDemand (run when a JobRun is
	// created). Unset is OnCreate for a Job that has neither schedules nor dependencies, else OnDemand.
	// +optional
	StartPolicy StartPolicy `json:"startPolicy,omitempty"`

	// suspend holds new runs back while it is true, and creates none by schedule or dependency; runs that
	// were launched go on. Default is false.
	// +optional
	Suspend bool `json:"suspend,omitempty"` //nolint:kubeapilinter // mirrors batch/v1

	// schedules are the times at which the Job runs.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=16
	Schedules []Schedule `json:"schedules,omitempty"`

	// dependencies are Jobs of the same namespace: this Job runs when the latest run of each of them has
	// succeeded since this Job's own last success, and none of this Job's runs is active. Each such state of
	// the others runs it once.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=64
	Dependencies []Dependency `json:"dependencies,omitempty"`

	// onRevoke says what happens to running work when the owner's permission goes: Finish lets it end,
	// Suspend suspends it until permission is back, Delete ends it. Unset is Finish.
	// +optional
	OnRevoke RevokePolicy `json:"onRevoke,omitempty"`

	// successfulRunsHistoryLimit is how many succeeded runs are kept, the latest ones. Unset is 3.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	SuccessfulRunsHistoryLimit *int32 `json:"successfulRunsHistoryLimit,omitempty"`

	// failedRunsHistoryLimit is how many failed runs are kept, the latest ones. Unset is 3.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000
	FailedRunsHistoryLimit *int32 `json:"failedRunsHistoryLimit,omitempty"`

	// ttlSecondsAfterFinished is how long a run is kept after its end; then it is deleted, whatever the
	// limits say. Unset is without limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=315360000
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`

	// template is the batch/v1 Job of each run, for people who know Kubernetes.
	// +optional
	Template *batchv1.JobTemplateSpec `json:"template,omitempty"`

	// run is the same in Metronome's short form, for people who come from DC/OS: the "run" of a
	// Metronome job file, as it is.
	// +optional
	Run *RunSpec `json:"run,omitempty"`
}

// ReportedGroups are the groups of a user at a time.
type ReportedGroups struct {
	// names are the groups, without those that every user is in.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Names []string `json:"names"`

	// reportedAt is when.
	// +required
	ReportedAt metav1.Time `json:"reportedAt"`
}

// Dependency is a Job that another one waits for.
type Dependency struct {
	// id is the name of a Job in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ID string `json:"id"`
}

// JobStatus is what Grantry found out about a Job.
type JobStatus struct {
	// observedGeneration is the generation that the rest of the status speaks of; -1 until the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready (the definition is accepted), Authorized (the owner's grants allow a launch),
	// and Stalled while a person must act.
	// Possible reasons of Ready: Accepted, SpecInvalid, OwnerMissing.
	// Possible reasons of Authorized: Granted, GatingDisabled, OwnerMissing, NotGranted, PolicyNotSynced.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// grant is the name of the Grant that allows a launch now.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Grant string `json:"grant,omitempty"`

	// firstAcceptedGeneration is the generation in which the definition was first accepted. A Job whose
	// start policy was OnCreate then runs then; a later edit does not count as its creation.
	// +optional
	FirstAcceptedGeneration int64 `json:"firstAcceptedGeneration,omitempty"`

	// creationRun is the name of the run that the Job's creation brought about.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	CreationRun string `json:"creationRun,omitempty"`

	// activeRuns is how many runs are not finished, waiting ones included.
	// +optional
	ActiveRuns int32 `json:"activeRuns"` //nolint:kubeapilinter // none is shown as 0

	// lastRun is the run that was created last.
	// +optional
	LastRun *RunSummary `json:"lastRun,omitempty"`

	// nextRunAt is the earliest time at which a schedule runs the Job next. Unset for a Job that is
	// suspended, or has no schedule with a time to come.
	// +optional
	NextRunAt *metav1.Time `json:"nextRunAt,omitempty"`

	// schedules are what became of the schedules. The order is that of spec.schedules.
	// +optional
	// +listType=map
	// +listMapKey=id
	// +kubebuilder:validation:MaxItems=16
	Schedules []ScheduleStatus `json:"schedules,omitempty"`

	// dependencies are the parents' runs by which this Job was last run.
	// +optional
	Dependencies *DependencyStatus `json:"dependencies,omitempty"`

	// lastSuccessAt is when a run last succeeded.
	// +optional
	LastSuccessAt *metav1.Time `json:"lastSuccessAt,omitempty"`

	// lastFailureAt is when a run last failed.
	// +optional
	LastFailureAt *metav1.Time `json:"lastFailureAt,omitempty"`

	// successCount is how many runs have succeeded since the Job was created, those that are not kept
	// included. A run that is deleted before it ended counts as neither.
	// +optional
	// +kubebuilder:validation:Minimum=0
	SuccessCount int64 `json:"successCount,omitempty"`

	// failureCount is how many runs have failed; rejected and revoked ones are among them, and those whose
	// starting deadline passed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	FailureCount int64 `json:"failureCount,omitempty"`

	// countedRuns are the runs that are still kept and are in the counts: the beginning of their UIDs.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=13
	CountedRuns []string `json:"countedRuns,omitempty"`
}

// RunSummary is a run in one line.
type RunSummary struct {
	// name of the JobRun.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// state is the reason of the run's Succeeded condition, with Active for a run that is being launched.
	// +required
	// +kubebuilder:validation:MaxLength=64
	State string `json:"state"`

	// uid of the JobRun; unset for one that was only just created.
	// +optional
	UID types.UID `json:"uid,omitempty"`

	// createdAt is when the run was created; unset for one that was only just created.
	// +optional
	CreatedAt *metav1.Time `json:"createdAt,omitempty"`

	// finishedAt is when the run ended.
	// +optional
	FinishedAt *metav1.Time `json:"finishedAt,omitempty"`

	// message says what the run waits for, or how it failed; unset while it is at work, and for a success.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}

// DependencyStatus remembers for which runs of the parents a run was created.
type DependencyStatus struct {
	// runs identifies the parents' runs: a hash over their UIDs.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Runs string `json:"runs"`

	// succeededAt is when the last of them succeeded.
	// +required
	SucceededAt metav1.Time `json:"succeededAt"`
}

// Reasons of a Job's conditions.
const (
	// ReasonAccepted says that the definition can be launched.
	ReasonAccepted = "Accepted"
	// ReasonSpecInvalid says that a field can't be honoured; the message says which and why.
	ReasonSpecInvalid = "SpecInvalid"

	// ReasonGranted says that a Grant allows the launch; the message names it.
	ReasonGranted = "Granted"
	// ReasonGatingDisabled says that security mode "disabled" launches without asking.
	ReasonGatingDisabled = "GatingDisabled"
	// ReasonOwnerMissing says that the Job has no owner, so that nobody's grants can allow it.
	ReasonOwnerMissing = "OwnerMissing"
	// ReasonNotGranted says that no Grant allows the launch; the message says what comes closest.
	ReasonNotGranted = "NotGranted"
	// ReasonPolicyNotSynced says that Grantry has not read all ACLs, Grants and Groups yet.
	ReasonPolicyNotSynced = "PolicyNotSynced"
)

// JobList is a list of Jobs.
// +kubebuilder:object:root=true
type JobList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Job `json:"items"`
}
