package controllers

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/conditions"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/policystore"
)

// setGroupStatus says whom the Group makes members. A Group without members is in force: it is what
// remains when the last one leaves. Only a Group of which no listed member can be one is not, and one that
// is not validated: invalid says why.
func setGroupStatus(group *v1alpha1.Group, invalid string, now time.Time) {
	served, problems := policystore.GroupOf(group)
	members := map[effective.Subject]struct{}{}
	for _, m := range served.Members {
		members[m] = struct{}{}
	}
	status := &group.Status
	status.ObservedGeneration = group.Generation
	status.Members = int32(len(members))

	summary := conditions.Summary{
		Status:  metav1.ConditionTrue,
		Reason:  v1alpha1.ReasonInForce,
		Message: fmt.Sprintf("Adds %s.", count(len(members), "member")) + leftOut(problems),
	}
	if len(members) == 0 && len(problems) > 0 {
		summary = conditions.Summary{
			Status:  metav1.ConditionFalse,
			Reason:  v1alpha1.ReasonSubjectEmpty,
			Message: "Adds nobody." + leftOut(problems),
			Stalled: true,
		}
	}
	if invalid == "" {
		status.ValidatedGeneration = group.Generation
	} else {
		summary = conditions.Summary{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotValidated, Message: notValidated("groups", group, invalid), Stalled: true}
	}
	conditions.Summarize(&status.Conditions, summary, group.Generation, now)
}
