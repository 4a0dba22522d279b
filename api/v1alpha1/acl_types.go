package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ACL declares a protected resource. It gives nobody anything: a Grant does, by naming the ACL. A
// resource covers everything below it: dev.batch covers dev.batch.job1, and not dev.batchx.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=grantry
// +kubebuilder:printcolumn:name="Resource",type=string,JSONPath=`.status.resource`,description="The protected resource, as an id"
// +kubebuilder:printcolumn:name="Grants",type=integer,JSONPath=`.status.grants`,description="Grants that name this ACL"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the ACL is in force"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why, or why not"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,description="What is wrong, and where"
type ACL struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the resource that is protected. It can't be changed; make another ACL instead.
	// +required
	Spec ACLSpec `json:"spec"`

	// status is what Grantry found. Only Grantry writes it.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1,"grants":0,"subjects":0}
	Status ACLStatus `json:"status,omitempty"` //nolint:kubeapilinter // counts of 0 are shown
}

// ACLSpec is a protected resource, as a DC/OS permission string or in the typed form for jobs.
// +kubebuilder:validation:XValidation:rule="has(self.resource) != has(self.jobs)",message="give either resource or jobs, and not both"
// +kubebuilder:validation:XValidation:rule="has(self.resource) == has(oldSelf.resource) && (!has(self.resource) || self.resource == oldSelf.resource)",message="resource is immutable: delete this ACL and create another"
// +kubebuilder:validation:XValidation:rule="has(self.jobs) == has(oldSelf.jobs) && (!has(self.jobs) || self.jobs == oldSelf.jobs)",message="jobs is immutable: delete this ACL and create another"
type ACLSpec struct {
	// resource is a DC/OS permission string, for example
	// dcos:service:metronome:metronome:jobs:dev.batch. The third segment is a Metronome instance: a
	// namespace. It is kept as written, and compared by its segments.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Resource string `json:"resource,omitempty"`

	// jobs is the same for jobs, without the permission string: a namespace and a path in it.
	// +optional
	Jobs *JobsResource `json:"jobs,omitempty"`

	// description says what the resource is, for people.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Description string `json:"description,omitempty"`

	// onGranterLost is what becomes of a Grant on this ACL when the user who wrote it could not write it any
	// more: Report says so on the Grant, which goes on to count; Revoke also takes it out of force, until its
	// granter is back in authority or somebody who has it writes the Grant anew. Unset is Report.
	// +optional
	OnGranterLost GranterLostPolicy `json:"onGranterLost,omitempty"`

	// grantedBy is who wrote this spec, and on whose authority it counts. Admission sets it, whatever the
	// request says.
	// +optional
	GrantedBy *Identity `json:"grantedBy,omitempty"`
}

// GranterLostPolicy is what becomes of a Grant whose granter lost the authority over it.
// +kubebuilder:validation:Enum=Report;Revoke
type GranterLostPolicy string

const (
	// GranterLostReport says so on the Grant, which goes on to count.
	GranterLostReport GranterLostPolicy = "Report"
	// GranterLostRevoke takes the Grant out of force.
	GranterLostRevoke GranterLostPolicy = "Revoke"
)

// JobsResource names the Jobs of a namespace, or those at and below a path of it.
type JobsResource struct {
	// namespace of the Jobs.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Namespace string `json:"namespace"`

	// path covers the Job of that name and every Job below it: dev.batch covers dev.batch and
	// dev.batch.job1. Unset covers every Job in the namespace.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]+(-+[a-z0-9]+)*(\.[a-z0-9]+(-+[a-z0-9]+)*)*$`
	Path string `json:"path,omitempty"`
}

// ACLStatus is what Grantry found out about an ACL.
type ACLStatus struct {
	// observedGeneration is the generation that the rest of the status speaks of; -1 until the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, and Stalled while a person must act.
	// Possible reasons of Ready: InForce, ResourceMalformed, NotValidated.
	// Possible reasons of Propagated: Enforced, Spreading.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// resource is the resource id in canonical form, whichever way the spec names it.
	// +optional
	// +kubebuilder:validation:MaxLength=1100
	Resource string `json:"resource,omitempty"`

	// grants is how many Grants name this ACL, in force or not.
	// +optional
	Grants int32 `json:"grants"` //nolint:kubeapilinter // none is shown as 0

	// subjects is how many different subjects those Grants name.
	// +optional
	Subjects int32 `json:"subjects"` //nolint:kubeapilinter // none is shown as 0

	// validatedGeneration is the latest generation whose writer was found to have the authority for it. With
	// admission on, no other generation counts, unless admission has just let it in.
	// +optional
	ValidatedGeneration int64 `json:"validatedGeneration,omitempty"`
}

// Reasons of an ACL's conditions.
const (
	// ReasonInForce says that the object is accepted and counts.
	ReasonInForce = "InForce"
	// ReasonResourceMalformed says that the permission string can't be read; the message says where.
	ReasonResourceMalformed = "ResourceMalformed"
)

// ACLList is a list of ACLs.
// +kubebuilder:object:root=true
type ACLList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ACL `json:"items"`
}
