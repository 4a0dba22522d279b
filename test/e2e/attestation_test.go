//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

// TestAttestationKey_isLost: two replicas share the key by which admission attests. When it is lost, and one of
// them has made another, neither believes the other, and what admission let in counts at both again as soon as
// a leader has validated it: nothing has to be written anew.
func TestAttestationKey_isLost(t *testing.T) {
	cluster, admin, binary := start(t)
	args, err := cluster.Admission(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lead := []string{"--leader-elect=true", "--leader-election-namespace=grantry-system"}
	asked := slices.Concat(args, lead)
	beside := append([]string{"--admission-bind-address=" + grantrytesting.FreeAddress(t), "--admission-dns-names=localhost"}, lead...)
	g := NewWithT(t)
	count := func(o *harness.Operator) func() float64 {
		return func() float64 { return value(t, o, "grantry_policy_objects", "kind=grant") }
	}

	// The first leader makes certificates and key, and validates the ACL. Then nobody leads.
	first := cluster.RunOperator(t, binary, asked...)
	create(t, admin, namespace("metronome"), jobACL("dev", "metronome", "dev"))
	acl := &v1alpha1.ACL{}
	g.Eventually(func() int64 {
		g.Expect(admin.Get(t.Context(), client.ObjectKey{Name: "dev"}, acl)).To(Succeed())
		return acl.Status.ValidatedGeneration
	}).WithTimeout(exportedWithin).Should(Equal(int64(1)))
	first.Stop()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "grantry-system", Name: "grantry.dev"}}
	g.Expect(admin.Get(t.Context(), client.ObjectKeyFromObject(lease), lease)).To(Succeed())
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = new("nobody"), new(int32(3600))
	lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
	g.Expect(admin.Update(t.Context(), lease)).To(Succeed())

	one, other := cluster.RunOperator(t, binary, asked...), cluster.RunOperator(t, binary, beside...)
	create(t, admin, grant("shared", "dev", "bob"))
	g.Eventually(count(one)).WithTimeout(exportedWithin).Should(Equal(1.0))
	g.Eventually(count(other)).WithTimeout(exportedWithin).Should(Equal(1.0), "the key is shared, and no leader has to say so")

	other.Stop()
	secret := &corev1.Secret{}
	g.Expect(admin.Get(t.Context(), client.ObjectKey{Namespace: "grantry-system", Name: "grantry-admission"}, secret)).To(Succeed())
	lost := secret.Data["attestation.key"]
	delete(secret.Data, "attestation.key")
	g.Expect(admin.Update(t.Context(), secret)).To(Succeed())
	other = cluster.RunOperator(t, binary, beside...)
	g.Expect(admin.Get(t.Context(), client.ObjectKeyFromObject(secret), secret)).To(Succeed())
	g.Expect(secret.Data["attestation.key"]).To(And(HaveLen(len(lost)), Not(Equal(lost))), "it has made another")

	late := grant("late", "dev", "ann")
	create(t, admin, late)
	g.Eventually(count(one)).WithTimeout(exportedWithin).Should(Equal(2.0))
	g.Eventually(func() float64 { return value(t, other, "grantry_policy_resource_version", "kind=grant") }).WithTimeout(exportedWithin).
		Should(BeNumerically(">=", version(t, late)), "the other has seen it")
	g.Expect(count(other)()).To(BeZero(), "what only another key attests does not count")

	g.Expect(admin.Delete(t.Context(), lease)).To(Succeed())
	for name, operator := range map[string]*harness.Operator{"the one": one, "the other": other} {
		g.Eventually(count(operator)).WithTimeout(2*time.Minute).Should(Equal(2.0), name)
	}
	g.Expect(admin.Get(t.Context(), client.ObjectKeyFromObject(late), late)).To(Succeed())
	g.Expect(late.Generation).To(Equal(int64(1)), "nobody had to write it again")
}

// version is an object's place in the order of all writes.
func version(t *testing.T, object client.Object) (n int64) {
	t.Helper()
	if _, err := fmt.Sscan(object.GetResourceVersion(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}
