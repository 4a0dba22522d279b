// Package v1alpha1 is the API of Grantry: who may do what with which jobs, and the jobs themselves.
//
// An ACL declares a resource, a Grant gives subjects actions on it, a Group adds members to a group.
// A Job is a definition whose dotted name makes the hierarchy that ACLs speak of; a JobRun is one
// execution of it and owns one batch/v1 Job. The package holds types, conditions, reasons and keys,
// and no logic.
//
// +kubebuilder:object:generate=true
// +groupName=grantry.dev
package v1alpha1
