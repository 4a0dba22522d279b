package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Group adds members to the group of its name, besides those that the authenticator reports. Groups
// are flat, as in DC/OS: a member is a user or a service account.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=grantry,shortName=ggroup
// +kubebuilder:printcolumn:name="Members",type=integer,JSONPath=`.status.members`,description="How many members the Group adds"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the Group is in force"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why, or why not"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Group struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata. The name is the name of the group.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is who belongs to the group.
	// +required
	Spec GroupSpec `json:"spec"`

	// status is what Grantry found. Only Grantry writes it.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1,"members":0}
	Status GroupStatus `json:"status,omitempty"` //nolint:kubeapilinter // counts of 0 are shown
}

// GroupSpec lists members.
type GroupSpec struct {
	// members are users and service accounts. A group can't be a member of a group.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:XValidation:rule="self.all(m, m.kind != 'Group')",message="a Group is flat: a member is a User or a ServiceAccount"
	Members []Subject `json:"members,omitempty"`

	// grantedBy is who wrote this spec, and on whose authority it counts. Admission sets it, whatever the
	// request says.
	// +optional
	GrantedBy *Identity `json:"grantedBy,omitempty"`
}

// GroupStatus is what Grantry found out about a Group.
type GroupStatus struct {
	// observedGeneration is the generation that the rest of the status speaks of; -1 until the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, and Stalled while a person must act.
	// Possible reasons of Ready: InForce, SubjectEmpty, NotValidated.
	// Possible reasons of Propagated: Enforced, Spreading.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// members is how many different members the Group adds.
	// +optional
	Members int32 `json:"members"` //nolint:kubeapilinter // none is shown as 0

	// validatedGeneration is the latest generation whose writer was found to have the authority for it. With
	// admission on, no other generation counts, unless admission has just let it in.
	// +optional
	ValidatedGeneration int64 `json:"validatedGeneration,omitempty"`
}

// GroupList is a list of Groups.
// +kubebuilder:object:root=true
type GroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Group `json:"items"`
}
