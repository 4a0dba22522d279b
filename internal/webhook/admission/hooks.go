package admission

import (
	"encoding/json"
	"errors"
	"fmt"

	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	rules "github.com/grantry/grantry/internal/admission"
)

// phase is mutating or validating admission.
type phase uint8

const (
	mutate phase = iota + 1
	validate
)

// String is the name of the phase, as a span has it.
func (p phase) String() string {
	if p == mutate {
		return "mutate"
	}
	return "validate"
}

// outcome is what came of a request that is not refused.
type outcome struct {
	patch    []jsonpatch.JsonPatchOperation
	warnings []string
}

// reviewer has the rules of a kind.
type reviewer interface {
	review(p phase, r *rules.Request, raw *webhook.AdmissionRequest) (outcome, error)
}

// hooks are the rules of one kind. old is nil at create, object at delete. stamp writes labels, annotations and
// the spec; a nil one leaves objects as they are.
type hooks[T any, P interface {
	*T
	client.Object
}] struct {
	stamp func(r *rules.Request, old, object P) (warnings []string, err error)
	check func(r *rules.Request, old, object P) (warnings []string, err error)
}

// errUndecodable says that a request holds no object of the kind. The API server never sends that.
var errUndecodable = errors.New("the object can't be read")

func (h hooks[T, P]) review(p phase, r *rules.Request, raw *webhook.AdmissionRequest) (out outcome, err error) {
	old, err := decode[T, P](raw.OldObject.Raw, raw.Namespace)
	if err != nil {
		return out, err
	}
	object, err := decode[T, P](raw.Object.Raw, raw.Namespace)
	if err != nil {
		return out, err
	}
	if (old == nil) != (r.Operation == rules.Create) || (object == nil) != (r.Operation == rules.Delete) {
		return out, errUndecodable
	}
	if p == validate {
		out.warnings, err = h.check(r, old, object)
		return out, err
	}
	if h.stamp == nil || object == nil || !hasSpec(object, raw.Object.Raw) {
		return out, nil
	}
	before := object.DeepCopyObject().(P)
	if out.warnings, err = h.stamp(r, old, object); err != nil {
		return out, err
	}
	out.patch, err = patchOf(before, object)
	return out, err
}

// decode reads an object, or returns nil for none.
func decode[T any, P interface {
	*T
	client.Object
}](raw []byte, namespace string) (P, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	object := P(new(T))
	if err := json.Unmarshal(raw, object); err != nil {
		return nil, fmt.Errorf("%w: %w", errUndecodable, err)
	}
	if object.GetNamespace() == "" {
		object.SetNamespace(namespace)
	}
	return object, nil
}

// operationOf is the rules' name of an operation, or 0.
func operationOf(o admissionv1.Operation) rules.Operation {
	switch o {
	case admissionv1.Create:
		return rules.Create
	case admissionv1.Update:
		return rules.Update
	case admissionv1.Delete:
		return rules.Delete
	case admissionv1.Connect:
	}
	return 0
}
