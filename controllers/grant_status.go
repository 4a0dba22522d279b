package controllers

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/conditions"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/policystore"
)

// standing is what is known of who wrote a Grant, and of its ACL.
type standing struct {
	invalid string // why they may not have written it; empty if they may
	lost    bool   // they could not write it any more

	aclWaits bool // the same is not settled for the ACL
}

// setGrantStatus says whether the Grant is in force, on what and until when. acl is the ACL that it
// names, or nil if there is none.
func setGrantStatus(grant *v1alpha1.Grant, acl *v1alpha1.ACL, by standing, now time.Time) {
	status := &grant.Status
	status.ObservedGeneration = grant.Generation
	if by.invalid == "" {
		status.ValidatedGeneration = grant.Generation
	}
	setGranterLost(grant, acl, by, now)
	status.Resource = ""
	status.EffectiveUntil = nil
	if acl != nil && acl.DeletionTimestamp.IsZero() {
		if served, err := policystore.ACLOf(acl); err == nil {
			status.Resource = served.Resource.Canonical()
		}
	}
	summary := summarizeGrant(grant, acl, now)
	switch {
	case by.invalid != "":
		summary = conditions.Summary{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonNotValidated, Message: notValidated("grants", grant, by.invalid), Stalled: true}
	case by.aclWaits && summary.Status == metav1.ConditionTrue:
		summary = conditions.Summary{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonACLNotReady, Message: fmt.Sprintf(
			"ACL %q protects nothing: nobody has validated it; its own status says how to approve it.", grant.Spec.ACL)}
	case policystore.Revoked(grant) && summary.Status == metav1.ConditionTrue:
		summary = conditions.Summary{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonRevoked, Message: granterLost(grant, true), Stalled: true}
	}
	if summary.Status == metav1.ConditionTrue {
		status.EffectiveUntil = grant.Spec.ExpiresAt.DeepCopy()
	}
	conditions.Summarize(&status.Conditions, summary, grant.Generation, now)
}

// setGranterLost says whether who wrote the Grant could still write it, and takes the Grant out of force if
// not and if its ACL wants that.
func setGranterLost(grant *v1alpha1.Grant, acl *v1alpha1.ACL, by standing, now time.Time) {
	status := &grant.Status
	status.RevokedGeneration = 0
	if !by.lost || grant.Spec.GrantedBy == nil {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionGranterLostAuthority)
		return
	}
	revoke := acl != nil && acl.Spec.OnGranterLost == v1alpha1.GranterLostRevoke
	reason := v1alpha1.ReasonReported
	if revoke {
		reason = v1alpha1.ReasonRevoked
		status.RevokedGeneration = grant.Generation
	}
	conditions.Set(&status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionGranterLostAuthority, Status: metav1.ConditionTrue, Reason: reason,
		Message: granterLost(grant, revoke), ObservedGeneration: grant.Generation,
	}, now)
}

func granterLost(grant *v1alpha1.Grant, revoke bool) string {
	then := "The Grant counts all the same."
	if revoke {
		then = "The Grant does not count until they do, or until somebody who does writes it anew."
	}
	return fmt.Sprintf("User %s, who wrote this Grant, holds \"full\" on what ACL %q protects no more for all of its time, nor "+
		"the RBAC verb \"grant\" on it. %s", grant.Spec.GrantedBy.Username, grant.Spec.ACL, then)
}

// summarizeGrant is the first that applies: what can never count again, what is wrong with the Grant,
// what it waits for. A Grant that waits for an ACL or for its time is not stalled: with GitOps the ACL
// may come a moment later, and nobody needs to act for an end that was planned.
func summarizeGrant(grant *v1alpha1.Grant, acl *v1alpha1.ACL, now time.Time) conditions.Summary {
	served, problems := policystore.GrantOf(grant)
	no := func(reason, format string, args ...any) conditions.Summary {
		return conditions.Summary{Status: metav1.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, args...)}
	}
	stalled := func(reason, format string, args ...any) conditions.Summary {
		s := no(reason, format, args...)
		s.Stalled = true
		return s
	}

	if !served.ExpiresAt.IsZero() && !now.Before(served.ExpiresAt) {
		return no(v1alpha1.ReasonExpired, "Expired at %s.", instant(served.ExpiresAt))
	}
	if !served.ExpiresAt.IsZero() && !served.NotBefore.Before(served.ExpiresAt) {
		return no(v1alpha1.ReasonExpired, "Never counts: it ends at %s, before it begins at %s.",
			instant(served.ExpiresAt), instant(served.NotBefore))
	}
	if len(served.Subjects) == 0 {
		return stalled(v1alpha1.ReasonSubjectEmpty, "Gives nothing to anybody: no subject can be used.%s", leftOut(problems))
	}
	if acl == nil {
		return no(v1alpha1.ReasonACLNotFound, "There is no ACL %q. This Grant counts as soon as there is: "+
			"create it with kubectl apply, or name one that kubectl get acls lists.", grant.Spec.ACL)
	}
	if !acl.DeletionTimestamp.IsZero() {
		return no(v1alpha1.ReasonACLNotFound, "ACL %q is being deleted and counts no more.", grant.Spec.ACL)
	}
	on, err := policystore.ACLOf(acl)
	if err != nil {
		return no(v1alpha1.ReasonACLNotReady, "ACL %q protects nothing: %s", grant.Spec.ACL, sentence(err.Error()))
	}
	if on.Resource.Effective(served.Actions) == 0 {
		return stalled(v1alpha1.ReasonActionIgnored, "Gives nothing: %s takes none of the actions %s.%s",
			on.Resource.Canonical(), served.Actions, leftOut(problems))
	}
	if now.Before(served.NotBefore) {
		return no(v1alpha1.ReasonNotYetInForce, "Counts from %s on.", instant(served.NotBefore))
	}
	return conditions.Summary{
		Status:  metav1.ConditionTrue,
		Reason:  v1alpha1.ReasonInForce,
		Message: describeGrant(served, on) + leftOut(problems),
	}
}

// describeGrant says what a Grant in force gives.
func describeGrant(g effective.Grant, on effective.ACL) string {
	// A resource takes all of the actions or none, which was told before.
	text := fmt.Sprintf("Gives %s on %s to %s", g.Actions, on.Resource.Describe(), count(len(g.Subjects), "subject"))
	if !g.ExpiresAt.IsZero() {
		text += " until " + instant(g.ExpiresAt)
	}
	return text + "."
}

// nextGrantEdge is how long it takes until the window of the Grant opens or closes; 0 is never.
func nextGrantEdge(grant *v1alpha1.Grant, now time.Time) time.Duration {
	for _, edge := range []*metav1.Time{grant.Spec.NotBefore, grant.Spec.ExpiresAt} {
		if edge != nil && edge.After(now) {
			return edge.Sub(now)
		}
	}
	return 0
}
