package policystore_test

import (
	"bytes"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/attestation"
	"github.com/grantry/grantry/internal/policystore"
)

var (
	ruleNoon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	ruleKey  = attestation.Key(bytes.Repeat([]byte{1}, attestation.KeySize))
)

func ready(generation int64, reason string) []metav1.Condition {
	return []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: reason, ObservedGeneration: generation}}
}

func TestRule(t *testing.T) {
	t.Parallel()
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Generation: 3, UID: "u"}
	}
	mary := &v1alpha1.Identity{Username: "mary"}
	attest := func(kind string, obj client.Object, spec any) client.Object {
		value, ok := ruleKey.Attest(attestation.State{Kind: kind, Name: obj.GetName(), UID: "u", Generation: 3, Spec: spec}, ruleNoon)
		if !ok {
			t.Fatal("not attested")
		}
		obj.SetAnnotations(map[string]string{v1alpha1.AnnotationAdmitted: value})
		return obj
	}
	grant := func(status v1alpha1.GrantStatus, by *v1alpha1.Identity) client.Object {
		return &v1alpha1.Grant{ObjectMeta: meta("g"), Spec: v1alpha1.GrantSpec{GrantedBy: by}, Status: status}
	}
	acl, group := &v1alpha1.ACL{ObjectMeta: meta("a")}, &v1alpha1.Group{ObjectMeta: meta("b")}
	bare := &v1alpha1.Grant{ObjectMeta: meta("g")}
	cases := map[string]struct {
		obj                 client.Object
		off, counts, valid  bool
		withoutTheKeyToRead bool
	}{
		"without admission everything counts":               {obj: grant(v1alpha1.GrantStatus{}, nil), off: true, counts: true, valid: true},
		"without admission what was revoked does not":       {obj: grant(v1alpha1.GrantStatus{RevokedGeneration: 3}, nil), off: true, valid: true},
		"nothing says that it was validated":                {obj: grant(v1alpha1.GrantStatus{}, mary)},
		"the status says so":                                {obj: grant(v1alpha1.GrantStatus{ValidatedGeneration: 3}, mary), counts: true, valid: true},
		"the status says so of an older generation":         {obj: grant(v1alpha1.GrantStatus{ValidatedGeneration: 2}, mary)},
		"admission says so":                                 {obj: attest("Grant", bare.DeepCopy(), bare.Spec), counts: true, valid: true},
		"admission says so of an ACL":                       {obj: attest("ACL", acl.DeepCopy(), acl.Spec), counts: true, valid: true},
		"admission says so of a Group":                      {obj: attest("Group", group.DeepCopy(), group.Spec), counts: true, valid: true},
		"admission says so, and the key is not there":       {obj: attest("Grant", bare.DeepCopy(), bare.Spec), withoutTheKeyToRead: true},
		"it was revoked":                                    {obj: grant(v1alpha1.GrantStatus{ValidatedGeneration: 3, RevokedGeneration: 3}, mary), valid: true},
		"an older generation was revoked":                   {obj: grant(v1alpha1.GrantStatus{ValidatedGeneration: 3, RevokedGeneration: 2}, mary), counts: true, valid: true},
		"an earlier version took it":                        {obj: grant(v1alpha1.GrantStatus{Conditions: ready(3, v1alpha1.ReasonInForce)}, nil), counts: true, valid: true},
		"an earlier version took it, and it was changed":    {obj: grant(v1alpha1.GrantStatus{Conditions: ready(2, v1alpha1.ReasonInForce)}, nil)},
		"an earlier version took it; somebody put a name":   {obj: grant(v1alpha1.GrantStatus{Conditions: ready(3, v1alpha1.ReasonInForce)}, mary)},
		"this version refused it":                           {obj: grant(v1alpha1.GrantStatus{Conditions: ready(3, v1alpha1.ReasonNotValidated)}, nil)},
		"this version took an older generation":             {obj: grant(v1alpha1.GrantStatus{ValidatedGeneration: 2, Conditions: ready(3, v1alpha1.ReasonInForce)}, nil)},
		"an earlier version took the ACL":                   {obj: &v1alpha1.ACL{ObjectMeta: meta("a"), Status: v1alpha1.ACLStatus{Conditions: ready(3, v1alpha1.ReasonInForce)}}, counts: true, valid: true},
		"an earlier version took the Group":                 {obj: &v1alpha1.Group{ObjectMeta: meta("a"), Status: v1alpha1.GroupStatus{Conditions: ready(3, v1alpha1.ReasonInForce)}}, counts: true, valid: true},
		"the ACL's status says so":                          {obj: &v1alpha1.ACL{ObjectMeta: meta("a"), Status: v1alpha1.ACLStatus{ValidatedGeneration: 3}}, counts: true, valid: true},
		"the Group's status says so":                        {obj: &v1alpha1.Group{ObjectMeta: meta("a"), Status: v1alpha1.GroupStatus{ValidatedGeneration: 3}}, counts: true, valid: true},
		"a kind that is no part of the policy never counts": {obj: &v1alpha1.Job{ObjectMeta: meta("j")}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rule := policystore.Rule{Admission: !tc.off, Key: ruleKey}
			if tc.withoutTheKeyToRead {
				rule.Key = nil
			}
			if got := rule.Counts(tc.obj); got != tc.counts {
				t.Errorf("Counts() = %t, want %t", got, tc.counts)
			}
			if got := rule.Validated(tc.obj); got != tc.valid {
				t.Errorf("Validated() = %t, want %t", got, tc.valid)
			}
		})
	}
}
