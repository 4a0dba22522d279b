package v1alpha1

// SubjectKind says what a subject is.
// +kubebuilder:validation:Enum=User;Group;ServiceAccount
type SubjectKind string

const (
	// UserSubject is a user as the authenticator names it.
	UserSubject SubjectKind = "User"
	// GroupSubject is a group that the authenticator reports or a Group object adds members to.
	GroupSubject SubjectKind = "Group"
	// ServiceAccountSubject is a service account; it is the same subject as the user
	// system:serviceaccount:<namespace>:<name>.
	ServiceAccountSubject SubjectKind = "ServiceAccount"
)

// Subject is a user, a group or a service account, in the shape of an RBAC subject.
// +kubebuilder:validation:XValidation:rule="self.kind == 'ServiceAccount' ? has(self.__namespace__) : !has(self.__namespace__)",message="a ServiceAccount needs a namespace; a User or Group has none"
// +structType=atomic
type Subject struct {
	// kind is User, Group or ServiceAccount.
	// +required
	Kind SubjectKind `json:"kind"`

	// name is the name of the user, group or service account, as the authenticator reports it.
	// Names are compared exactly, including case.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// namespace of the service account. Set it for a ServiceAccount and for nothing else.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// Identity is who wrote something, as the API server authenticated them.
// +structType=atomic
type Identity struct {
	// username is the name of the user. A service account is system:serviceaccount:<namespace>:<name>.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Username string `json:"username"`

	// groups are those that the authenticator reported at the time, without the ones that every service
	// account is in.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	Groups []string `json:"groups,omitempty"`
}

// Action is what a subject may do with a resource. "full" satisfies every action, "update" satisfies "run".
// +kubebuilder:validation:Enum=create;read;update;delete;full;run
type Action string

const (
	// ActionCreate allows to create a Job of that name, and to bring its runs about.
	ActionCreate Action = "create"
	// ActionRead allows to see a Job and its runs.
	ActionRead Action = "read"
	// ActionUpdate allows to change a Job, and to start and stop its runs.
	ActionUpdate Action = "update"
	// ActionDelete allows to delete a Job.
	ActionDelete Action = "delete"
	// ActionFull allows everything.
	ActionFull Action = "full"
	// ActionRun allows to start and stop a Job without being able to change it. DC/OS has no such action.
	ActionRun Action = "run"
)

// Conditions that the kinds of this package share.
const (
	// ConditionReady says that the object is accepted and in force. It never says how the last run went.
	ConditionReady = "Ready"
	// ConditionStalled is present only while it is True: a person must act before the object can be Ready.
	ConditionStalled = "Stalled"
	// ConditionGranterLostAuthority, on a Grant, is present only while it is True: who wrote the Grant could not
	// write it any more.
	ConditionGranterLostAuthority = "GranterLostAuthority"
	// ConditionAuthorized says whether the owner's grants allow the Job to be launched, and by which Grant.
	ConditionAuthorized = "Authorized"
	// ConditionPropagated, on an ACL, a Grant or a Group, says that every replica decides by this generation. Until
	// then it is absent, speaks of an earlier generation or, after some seconds, is False. It has no part in Ready.
	ConditionPropagated = "Propagated"
)

// Reasons of Propagated.
const (
	// ReasonEnforced says that every replica decides by this generation.
	ReasonEnforced = "Enforced"
	// ReasonSpreading says that some replica is not known to.
	ReasonSpreading = "Spreading"
)

// On the Lease by which a replica says how far it has come.
const (
	// LabelReplica marks it.
	LabelReplica = "grantry.dev/replica"
	// AnnotationWatermarks holds the resource versions up to which the replica decides, by kind, in JSON.
	AnnotationWatermarks = "grantry.dev/watermarks"
)

// Reasons of ACLs, Grants and Groups, where admission is on.
const (
	// ReasonNotValidated says that the object does not count: it came in past admission, and who wrote it may not
	// write it, or is not known. The message says how to approve it.
	ReasonNotValidated = "NotValidated"
	// ReasonReported says that the Grant counts although its granter lost the authority over it.
	ReasonReported = "Reported"
	// ReasonRevoked says that the Grant does not count, because its granter lost the authority over it.
	ReasonRevoked = "Revoked"
)

// Label and annotation keys that Grantry writes. Nobody else may.
const (
	// LabelJob, on a JobRun, its child and pods, holds the UID of the Job; a name may be too long for a label.
	LabelJob = "grantry.dev/job-uid"
	// LabelRun, on a child and its pods, holds the UID of the JobRun.
	LabelRun = "grantry.dev/run-uid"
	// AncestorLabelPrefix begins one label for each ancestor of a job id and for itself, so that a label
	// selector picks a subtree: in.grantry.dev/dev, in.grantry.dev/dev.batch, in.grantry.dev/dev.batch.job1.
	AncestorLabelPrefix = "in.grantry.dev/"

	// AnnotationJob, on a child and its pods, holds the name of the Job.
	AnnotationJob = "grantry.dev/job"
	// AnnotationRun, on a child and its pods, holds the name of the JobRun.
	AnnotationRun = "grantry.dev/run"
	// AnnotationOwner, on a child, holds the owner on whose grants it was launched.
	AnnotationOwner = "grantry.dev/owner"
	// AnnotationAdmitted, on an ACL, Grant or Group, is how admission says that it has judged exactly this spec.
	AnnotationAdmitted = "grantry.dev/admitted"
	// AnnotationGrant, on a child, holds the name of the Grant that allowed the launch.
	AnnotationGrant = "grantry.dev/authorized-by-grant"
	// AnnotationACL, on a child, holds the name of the ACL that allowed the launch.
	AnnotationACL = "grantry.dev/authorized-by-acl"
	// AnnotationSuspendedByRevocation, on a child, says that Grantry suspended it because permission went.
	AnnotationSuspendedByRevocation = "grantry.dev/suspended-by-revocation"
)

// AnnotationApprove is how somebody who may write an ACL, Grant or Group that waits for validation approves it:
// the annotation's value is the generation that is approved. Admission takes it off again, and heeds none that was
// there before the request.
const AnnotationApprove = "grantry.dev/approve"
