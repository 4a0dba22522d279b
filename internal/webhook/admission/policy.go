package admission

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	rules "github.com/grantry/grantry/internal/admission"
	"github.com/grantry/grantry/internal/attestation"
	"github.com/grantry/grantry/internal/delegation"
	"github.com/grantry/grantry/internal/effective"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
)

// policyKind is what admission knows of an ACL, a Grant or a Group.
type policyKind[T any, P interface {
	*T
	client.Object
}] struct {
	Settings
	name string
	// part are the parts of an object: its spec, and in that who wrote it.
	part func(P) (spec any, by **v1alpha1.Identity)
	// judge says whether a request may turn before into after; nil is none. own says that the requester wrote
	// before.
	judge func(r delegation.Request, before, after P, own bool) (delegation.Decision, error)
	// warn says what a change that is let in does; nil says nothing.
	warn func(r *rules.Request, before, after P) []string
}

func (k policyKind[T, P]) hooks() reviewer {
	return hooks[T, P]{stamp: k.stamp, check: k.check}
}

// stamp makes an object say who wrote it, and, if they may, that admission has let it in. What is refused is
// for check to refuse: in between, other webhooks may change it.
func (k policyKind[T, P]) stamp(r *rules.Request, old, object P) (warnings []string, err error) {
	_, by := k.part(object)
	annotations := object.GetAnnotations()
	approves, err := k.approves(old, object)
	if err != nil {
		return nil, err
	}
	delete(annotations, v1alpha1.AnnotationApprove)
	delete(annotations, v1alpha1.AnnotationAdmitted)
	if old != nil && !approves && k.isSameSpec(old, object) {
		_, wasBy := k.part(old)
		*by = *wasBy
		if was, ok := old.GetAnnotations()[v1alpha1.AnnotationAdmitted]; ok {
			setAnnotation(object, v1alpha1.AnnotationAdmitted, was)
		}
		return nil, nil
	}
	*by = identityOf(r)
	if err := k.need(r, old, object); err != nil {
		return nil, nil //nolint:nilerr // check refuses it, if it still comes to that
	}
	if value, ok := k.Rule.Key.Attest(k.stateOf(old, object), r.At); ok {
		setAnnotation(object, v1alpha1.AnnotationAdmitted, value)
	}
	return nil, nil
}

// stateOf is the state that the object will have once it is stored. A spec that changes, as this one does,
// gets the next generation.
func (k policyKind[T, P]) stateOf(old, object P) attestation.State {
	spec, _ := k.part(object)
	s := attestation.State{Kind: k.name, Name: object.GetName(), Generation: 1, Spec: spec}
	if old != nil {
		s.UID, s.Generation = old.GetUID(), old.GetGeneration()+1
	}
	return s
}

// check refuses what the requester may not do, and what says of its writer what is not so.
func (k policyKind[T, P]) check(r *rules.Request, old, object P) (warnings []string, err error) {
	switch {
	case object == nil:
		return k.warnings(r, old, object), k.need(r, old, object)
	case old != nil && (!old.GetDeletionTimestamp().IsZero() || k.isSameObject(old, object)):
		return nil, nil // it counts no more, or its metadata are written
	}
	_, by := k.part(object)
	if want := identityOf(r); !equality.Semantic.DeepEqual(*by, want) {
		return nil, &rules.Refusal{Cause: rules.Invalid, Text: fmt.Sprintf(
			"spec.grantedBy: it must be who writes this %s, user %s with the groups that the API server reports; leave it out, and admission sets it",
			k.name, r.By.Name)}
	}
	if err := k.need(r, old, object); err != nil {
		return nil, err
	}
	return k.warnings(r, old, object), nil
}

func (k policyKind[T, P]) warnings(r *rules.Request, old, object P) []string {
	if k.warn == nil || r.Snapshot == nil {
		return nil
	}
	return k.warn(r, k.counted(old), object)
}

// isSameSpec compares what was wanted: all but who wrote it, which requests leave out or copy.
func (k policyKind[T, P]) isSameSpec(old, object P) bool {
	was, is := old.DeepCopyObject().(P), object.DeepCopyObject().(P)
	_, wasBy := k.part(was)
	_, isBy := k.part(is)
	*wasBy, *isBy = nil, nil
	return k.isSameObject(was, is)
}

func (k policyKind[T, P]) isSameObject(old, object P) bool {
	was, _ := k.part(old)
	is, _ := k.part(object)
	return equality.Semantic.DeepEqual(was, is)
}

// approves reports whether the request approves an object that waits for it: as if the requester had written it.
// An approval that was there before has come in past admission, as the object did: whoever adds a label to the
// object does not mean it.
func (k policyKind[T, P]) approves(old, object P) (bool, error) {
	value, ok := object.GetAnnotations()[v1alpha1.AnnotationApprove]
	if !ok || old == nil || k.Rule.Validated(old) {
		return false, nil
	}
	if was, ok := old.GetAnnotations()[v1alpha1.AnnotationApprove]; ok && was == value {
		return false, nil
	}
	if have := strconv.FormatInt(old.GetGeneration(), 10); strings.TrimSpace(value) != have {
		return false, &rules.Refusal{Cause: rules.Invalid, Text: fmt.Sprintf(
			"%s: the present generation of %s %q is %s; look at what it says now, and approve that", v1alpha1.AnnotationApprove, k.name, old.GetName(), have)}
	}
	return true, nil
}

// counted is an old object if it counts, else nothing: what does not count comes anew with a change.
func (k policyKind[T, P]) counted(old P) P {
	if old != nil && k.Rule.Counts(old) {
		return old
	}
	return nil
}

// need refuses a change unless the requester has the authority for it, by its grants or by the RBAC verb.
func (k policyKind[T, P]) need(r *rules.Request, old, object P) error {
	before := old
	if object != nil {
		before = k.counted(old)
	}
	request := delegation.Request{
		Requester: delegation.Requester{User: effective.UserSubject(r.By.Name), Groups: r.By.Groups, At: r.At},
		Policy:    r.Snapshot,
	}
	own := old != nil && k.isBy(old, r.By.Name)
	d, err := k.judge(request, before, object, own)
	if err != nil {
		return &rules.Refusal{Cause: rules.Invalid, Text: err.Error()}
	}
	if found := k.unseen(r, d); len(found) > 0 {
		request.Policy = request.Policy.Apply(found...)
		if d, err = k.judge(request, before, object, own); err != nil {
			return err
		}
	}
	k.say(r, d)
	if d.Allowed() {
		return nil
	}
	if d.AllowedByVerb() {
		may, err := delegation.HoldsVerb(d, func(acl string) (bool, error) {
			q := rules.Question{Verb: delegation.Verb, Group: v1alpha1.GroupVersion.Group, Resource: "acls", Name: acl}
			yes, err := r.Ask(q)
			if yes {
				r.Basis.HasVerb(q)
			}
			return yes, err
		})
		if err != nil {
			return &rules.Refusal{Cause: rules.Unavailable, Text: fmt.Sprintf("%s; the API server can't be asked for the verb now: %v", d, err)}
		}
		if may {
			return nil
		}
	}
	if r.Snapshot == nil {
		return &rules.Refusal{Cause: rules.Unavailable, Text: fmt.Sprintf("%v, and allows nothing until it has: try again in a moment", r.Unavailable)}
	}
	return &rules.Refusal{Cause: rules.Forbidden, Text: d.String()}
}

// say tells what a decision rests on.
func (k policyKind[T, P]) say(r *rules.Request, d delegation.Decision) {
	for _, held := range d.Held {
		r.Basis.Answered(rules.Answer{Resource: held.Resource, AnyOf: permission.Full, By: held.By})
	}
	for _, missing := range d.Missing {
		if !missing.ACLMissing {
			r.Basis.Answered(rules.Answer{Resource: missing.Resource, AnyOf: permission.Full})
		}
	}
}

// unseen are the ACLs that a decision misses, as the API server has them: kubectl apply creates an ACL and its
// Grant within milliseconds, before the cache has seen the first. What can't be read stays missing.
func (k policyKind[T, P]) unseen(r *rules.Request, d delegation.Decision) (found []effective.Change) {
	for _, missing := range d.Missing {
		if !missing.ACLMissing || len(found) >= maxUnseen {
			continue
		}
		acl, err := r.LiveACL(missing.ACL)
		if err != nil || acl == nil || !k.Rule.Counts(acl) {
			continue
		}
		if served, err := policystore.ACLOf(acl); err == nil {
			found = append(found, effective.SetACL(served))
		}
	}
	return found
}

// maxUnseen bounds how many ACLs one request makes admission read.
const maxUnseen = 4

func (k policyKind[T, P]) isBy(object P, user string) bool {
	_, by := k.part(object)
	return *by != nil && (*by).Username == user
}

// maxGroups and maxGroupName are how many groups are stored, and how long: the API takes no more.
const maxGroups, maxGroupName = 256, 512

// identityOf is who makes a request, as it is stored: without the groups that everybody is in, and those that
// every service account is in.
func identityOf(r *rules.Request) *v1alpha1.Identity {
	isAccount := strings.HasPrefix(r.By.Name, serviceaccount.ServiceAccountUsernamePrefix)
	groups := slices.DeleteFunc(slices.Clone(r.By.Groups), func(g string) bool {
		return g == "" || len(g) > maxGroupName || g == user.AllAuthenticated ||
			(isAccount && (g == serviceaccount.AllServiceAccountsGroup || strings.HasPrefix(g, serviceaccount.ServiceAccountGroupPrefix)))
	})
	slices.SortFunc(groups, cmp.Compare[string])
	groups = slices.Compact(groups)
	if len(groups) == 0 {
		groups = nil
	}
	return &v1alpha1.Identity{Username: r.By.Name, Groups: groups[:min(len(groups), maxGroups)]}
}

func setAnnotation(object client.Object, key, value string) {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	object.SetAnnotations(annotations)
}
