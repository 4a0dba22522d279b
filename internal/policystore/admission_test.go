package policystore_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/attestation"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
)

// status writes the status of an object, as the operator does.
func (w *world) status(t *testing.T, obj client.Object, edit func()) {
	t.Helper()
	w.Expect(w.Get(t.Context(), client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	edit()
	w.Expect(w.Status().Update(t.Context(), obj)).To(Succeed())
}

func TestStore_withAdmissionCountsWhatWasValidated(t *testing.T) {
	w := newWorld(t)
	w.rule = policystore.Rule{Admission: true, Key: ruleKey}
	w.startSynced(t)
	dev, bob := acl("dev", "dev"), grant("bob", "dev", user("bob"), v1alpha1.ActionRead)
	w.create(t, dev, bob)
	w.status(t, dev, func() { dev.Status.ValidatedGeneration = dev.Generation })
	w.Consistently(w.may("bob", "dev", permission.Read)).Should(BeFalse(), "nobody has validated it")

	w.status(t, bob, func() { bob.Status.ValidatedGeneration = bob.Generation })
	w.Eventually(w.may("bob", "dev", permission.Read)).Should(BeTrue(), "the status says that it is validated")

	w.status(t, bob, func() { bob.Status.RevokedGeneration = bob.Generation })
	w.Eventually(w.may("bob", "dev", permission.Read)).Should(BeFalse(), "it is revoked")
	w.status(t, bob, func() { bob.Status.RevokedGeneration = 0 })
	w.Eventually(w.may("bob", "dev", permission.Read)).Should(BeTrue(), "it is no longer revoked")

	bob.Spec.Subjects[0].Name = "eve"
	w.Expect(w.Update(t.Context(), bob)).To(Succeed())
	w.Eventually(w.may("bob", "dev", permission.Read)).Should(BeFalse(), "another generation is there")
	w.Consistently(w.may("eve", "dev", permission.Read)).Should(BeFalse(), "that one was not validated")
}

func TestStore_anAttestedStateCountsAtOnce(t *testing.T) {
	w := newWorld(t)
	w.rule = policystore.Rule{Admission: true, Key: ruleKey}
	w.startSynced(t)
	dev, bob := acl("dev", "dev"), grant("bob", "dev", user("bob"), v1alpha1.ActionRead)
	attest := func(kind string, obj client.Object, spec any, generation int64) {
		value, ok := ruleKey.Attest(attestation.State{Kind: kind, Name: obj.GetName(), UID: obj.GetUID(), Generation: generation, Spec: spec}, time.Now())
		w.Expect(ok).To(BeTrue())
		obj.SetAnnotations(map[string]string{v1alpha1.AnnotationAdmitted: value})
	}
	attest("ACL", dev, dev.Spec, 1)
	attest("Grant", bob, bob.Spec, 1)
	w.create(t, dev, bob)
	w.Eventually(w.may("bob", "dev", permission.Read)).Should(BeTrue())

	bob.Spec.Subjects[0].Name = "eve"
	attest("Grant", bob, bob.Spec, bob.Generation+1)
	w.Expect(w.Update(t.Context(), bob)).To(Succeed())
	w.Eventually(w.may("eve", "dev", permission.Read)).Should(BeTrue())
	w.Expect(w.may("bob", "dev", permission.Read)()).To(BeFalse())

	delete(bob.Annotations, v1alpha1.AnnotationAdmitted)
	w.Expect(w.Update(t.Context(), bob)).To(Succeed())
	w.Eventually(w.may("eve", "dev", permission.Read)).Should(BeFalse(), "the attestation is gone, and no status is there")
}
