package policystore

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/attestation"
)

// Rule says which ACLs, Grants and Groups count. Without admission all do: who may write them is then for RBAC
// to say, and what it let in counts on when admission is turned on. With admission an object counts if its
// present generation was validated:
//
//   - its status says so, which only the operator writes, or
//   - it carries an attestation of admission for exactly this state, which every replica can verify at once, or
//   - an earlier version of the operator, which did not validate, found it in order.
//
// A Grant that was revoked, because its granter lost the authority over it, does not count. The answer depends
// on the object alone, so that all replicas agree.
type Rule struct {
	// Admission says that admission is on.
	Admission bool
	// Key verifies what admission attested.
	Key attestation.Key
}

// Counts reports whether the object is part of the policy.
func (r Rule) Counts(obj client.Object) bool {
	return r.Validated(obj) && !Revoked(obj)
}

// Validated reports whether the writer of the object was found to have the authority for it.
func (r Rule) Validated(obj client.Object) bool {
	if !r.Admission {
		return true
	}
	f := factsOf(obj)
	return (f.validated != 0 && f.validated == obj.GetGeneration()) || f.isFromBefore(obj.GetGeneration()) || r.Key.Holds(f.kind, obj, f.spec)
}

// Revoked reports whether the present generation of a Grant was revoked.
func Revoked(obj client.Object) bool {
	grant, ok := obj.(*v1alpha1.Grant)
	return ok && grant.Status.RevokedGeneration != 0 && grant.Status.RevokedGeneration == grant.Generation
}

// facts are what a rule looks at in an object.
type facts struct {
	kind       string
	spec       any
	grantedBy  *v1alpha1.Identity
	validated  int64
	conditions []metav1.Condition
}

func factsOf(obj client.Object) facts {
	switch o := obj.(type) {
	case *v1alpha1.ACL:
		return facts{"ACL", &o.Spec, o.Spec.GrantedBy, o.Status.ValidatedGeneration, o.Status.Conditions}
	case *v1alpha1.Grant:
		return facts{"Grant", &o.Spec, o.Spec.GrantedBy, o.Status.ValidatedGeneration, o.Status.Conditions}
	case *v1alpha1.Group:
		return facts{"Group", &o.Spec, o.Spec.GrantedBy, o.Status.ValidatedGeneration, o.Status.Conditions}
	}
	return facts{validated: -1}
}

// isFromBefore reports whether an earlier version, which knew no admission, has looked at this generation and
// taken it: its status has a Ready and no validated generation. This version writes the two together, unless
// it refuses.
func (f facts) isFromBefore(generation int64) bool {
	ready := meta.FindStatusCondition(f.conditions, v1alpha1.ConditionReady)
	return f.validated == 0 && f.grantedBy == nil && ready != nil &&
		ready.ObservedGeneration == generation && ready.Reason != v1alpha1.ReasonNotValidated
}
