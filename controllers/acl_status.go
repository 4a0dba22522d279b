package controllers

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/conditions"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/policystore"
)

// setACLStatus says whether the ACL is in force and what it protects, and counts who uses it. Without
// a snapshot the counts stay as they are: a count that is not known is not 0. invalid says why it is not
// validated, if it is not.
func setACLStatus(acl *v1alpha1.ACL, snapshot *effective.Snapshot, invalid string, now time.Time) {
	status := &acl.Status
	status.ObservedGeneration = acl.Generation
	if snapshot != nil {
		stats := snapshot.ACLStats(acl.Name)
		status.Grants, status.Subjects = int32(stats.Grants), int32(stats.Subjects)
	}
	summary := conditions.Summary{Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonInForce}
	if served, err := policystore.ACLOf(acl); err != nil {
		status.Resource = ""
		summary = conditions.Summary{
			Status:  metav1.ConditionFalse,
			Reason:  v1alpha1.ReasonResourceMalformed,
			Message: sentence(err.Error()) + " Delete this ACL and create it with a resource that can be read.",
			Stalled: true,
		}
	} else {
		status.Resource = served.Resource.Canonical()
		summary.Message = "Protects " + served.Resource.Describe() + "."
	}
	if invalid == "" {
		status.ValidatedGeneration = acl.Generation
	} else {
		summary = conditions.Summary{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotValidated, Message: notValidated("acls", acl, invalid), Stalled: true}
	}
	conditions.Summarize(&status.Conditions, summary, acl.Generation, now)
}
