package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Grant gives subjects actions on the resource of an ACL and on everything below it. Grants only add
// up; there is no entry that denies. Deleting a Grant takes its actions away, unless another Grant
// still gives them.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,categories=grantry
// +kubebuilder:printcolumn:name="ACL",type=string,JSONPath=`.spec.acl`,description="The ACL whose resource is granted"
// +kubebuilder:printcolumn:name="Subjects",type=string,JSONPath=`.spec.subjects[*].name`,description="Who receives the actions"
// +kubebuilder:printcolumn:name="Actions",type=string,JSONPath=`.spec.actions[*]`,description="What they may do"
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expiresAt`,description="When it ends; empty is never"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`,description="Whether the Grant is in force"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,description="Why, or why not"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Resource",type=string,priority=1,JSONPath=`.status.resource`,description="The resource that is granted"
// +kubebuilder:printcolumn:name="Message",type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,description="What is wrong, and where"
type Grant struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is who receives which actions on what, and when.
	// +required
	Spec GrantSpec `json:"spec"`

	// status is what Grantry found. Only Grantry writes it.
	// +optional
	// +kubebuilder:default={"observedGeneration":-1}
	Status GrantStatus `json:"status,omitempty"`
}

// GrantSpec gives each subject every listed action on one ACL, within a window of time.
// +kubebuilder:validation:XValidation:rule="!has(self.notBefore) || !has(self.expiresAt) || timestamp(self.notBefore) < timestamp(self.expiresAt)",message="expiresAt must be later than notBefore: this window never opens",fieldPath=".expiresAt"
type GrantSpec struct {
	// acl is the name of the ACL whose resource is granted. The Grant may be there first; it counts once
	// the ACL exists.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ACL string `json:"acl"`

	// subjects are who receive the actions: users, groups and service accounts.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1000
	Subjects []Subject `json:"subjects"`

	// actions are what the subjects may do. full stands for every action; update stands for run, too.
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=6
	Actions []Action `json:"actions"`

	// notBefore is when the Grant starts to count. Unset is at once.
	// +optional
	NotBefore *metav1.Time `json:"notBefore,omitempty"`

	// expiresAt is when the Grant stops to count, exclusive. Unset is never.
	// +optional
	ExpiresAt *metav1.Time `json:"expiresAt,omitempty"`

	// grantedBy is who wrote this spec, and on whose authority it counts. Admission sets it, whatever the
	// request says.
	// +optional
	GrantedBy *Identity `json:"grantedBy,omitempty"`
}

// GrantStatus is what Grantry found out about a Grant.
type GrantStatus struct {
	// observedGeneration is the generation that the rest of the status speaks of; -1 until the first look.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Ready, and Stalled while a person must act.
	// Possible reasons of Ready: InForce, ACLNotFound, ACLNotReady, NotYetInForce, Expired, SubjectEmpty,
	// ActionIgnored, NotValidated, Revoked. GranterLostAuthority is there while it is True: Reported, Revoked.
	// Possible reasons of Propagated: Enforced, Spreading.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// resource is the resource of the ACL, in canonical form.
	// +optional
	// +kubebuilder:validation:MaxLength=1100
	Resource string `json:"resource,omitempty"`

	// effectiveUntil is when a Grant that is in force stops to be. Unset while it is in force is never.
	// +optional
	EffectiveUntil *metav1.Time `json:"effectiveUntil,omitempty"`

	// validatedGeneration is the latest generation whose writer was found to have the authority for it. With
	// admission on, no other generation counts, unless admission has just let it in.
	// +optional
	ValidatedGeneration int64 `json:"validatedGeneration,omitempty"`

	// revokedGeneration is the generation that does not count, because its granter lost the authority over it.
	// +optional
	RevokedGeneration int64 `json:"revokedGeneration,omitempty"`
}

// Reasons of a Grant's conditions, besides ReasonInForce.
const (
	// ReasonACLNotFound says that no ACL of the named name exists (yet).
	ReasonACLNotFound = "ACLNotFound"
	// ReasonACLNotReady says that the named ACL is there and can't be used; its own status says why.
	ReasonACLNotReady = "ACLNotReady"
	// ReasonNotYetInForce says that the Grant waits for its notBefore.
	ReasonNotYetInForce = "NotYetInForce"
	// ReasonExpired says that the Grant's expiresAt has passed.
	ReasonExpired = "Expired"
	// ReasonSubjectEmpty says that a subject has no usable name.
	ReasonSubjectEmpty = "SubjectEmpty"
	// ReasonActionIgnored says that the resource's family knows none of the actions, so that the Grant
	// gives nothing: an adminrouter resource knows full alone.
	ReasonActionIgnored = "ActionIgnored"
)

// GrantList is a list of Grants.
// +kubebuilder:object:root=true
type GrantList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Grant `json:"items"`
}
