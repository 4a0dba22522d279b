package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/policystore"
)

// validator says whether who wrote an ACL, a Grant or a Group has the authority for it. Admission asks the same
// of whoever writes one; what came in past it is asked here, before it counts.
type validator struct {
	store *policystore.Store
	clock clock.PassiveClock
	verbs verbAsker
}

// verbAsker asks whether somebody holds the RBAC verb "grant" on an ACL, or with an empty name on all.
type verbAsker interface {
	holdsGrant(ctx context.Context, who *v1alpha1.Identity, acl string) (bool, error)
}

// revalidation is how soon what waits is looked at again: RBAC and Grants may let it in without an event of
// its own.
const revalidation = time.Minute

// validate says nothing of an object whose present generation is validated, and else why it is not. A nil
// validator finds everything in order: it is that of an operator without admission.
func (v *validator) validate(ctx context.Context, obj client.Object, by *v1alpha1.Identity) (why string, err error) {
	if v == nil || v.store.Rule.Validated(obj) {
		return "", nil
	}
	if by == nil {
		return "who wrote it is not known", nil
	}
	d, err := judgeNew(v.requestOf(by), obj)
	if err != nil {
		return "", nil //nolint:nilerr // an ACL that can't be read protects nothing, and says so itself
	}
	if d.Allowed() {
		return "", nil
	}
	held, err := delegation.HoldsVerb(d, func(acl string) (bool, error) { return v.verbs.holdsGrant(ctx, by, acl) })
	if err != nil {
		return "", fmt.Errorf("ask whether %s holds the verb %s: %w", by.Username, delegation.Verb, err)
	}
	if held {
		return "", nil
	}
	return d.String(), nil
}

// counts reports whether an object is part of the policy.
func (v *validator) counts(obj client.Object) bool {
	return v == nil || v.store.Rule.Counts(obj)
}

func (v *validator) requestOf(by *v1alpha1.Identity) delegation.Request {
	return delegation.Request{
		Requester: delegation.Requester{User: effective.UserSubject(by.Username), Groups: groupsOf(by), At: v.clock.Now()},
		Policy:    v.store.Snapshot(),
	}
}

// judgeNew judges an object as if it had just been made.
func judgeNew(r delegation.Request, obj client.Object) (delegation.Decision, error) {
	switch o := obj.(type) {
	case *v1alpha1.ACL:
		served, err := policystore.ACLOf(o)
		return r.CreateACL(served), err
	case *v1alpha1.Grant:
		served, _ := policystore.GrantOf(o)
		return r.Grant(nil, &served, false), nil
	case *v1alpha1.Group:
		served, _ := policystore.GroupOf(o)
		return r.Group(nil, &served), nil
	}
	return delegation.Decision{}, fmt.Errorf("%T is no part of the policy", obj)
}

// groupsOf are the groups of somebody who wrote something: those that were reported, and those that go without
// saying.
func groupsOf(by *v1alpha1.Identity) []string {
	groups := append([]string{user.AllAuthenticated}, by.Groups...)
	if namespace, _, err := serviceaccount.SplitUsername(by.Username); err == nil { // a user's name has no such form
		groups = append(groups, serviceaccount.MakeGroupNames(namespace)...)
	}
	return groups
}

// notValidated is what an object says that waits, and how somebody approves it.
func notValidated(resource string, obj client.Object, why string) string {
	annotate := fmt.Sprintf("kubectl annotate %s.grantry.dev %s %s", resource, obj.GetName(), v1alpha1.AnnotationApprove)
	var first string
	if _, ok := obj.GetAnnotations()[v1alpha1.AnnotationApprove]; ok {
		// It came in past admission, too. To set it again to what it is would change nothing.
		first = annotate + "- && "
	}
	return fmt.Sprintf("Does not count: it came in past admission, and %s. To approve it, as somebody who may write it: %s%s=%d",
		why, first, annotate, obj.GetGeneration())
}
