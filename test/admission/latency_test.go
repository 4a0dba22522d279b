//go:build e2e

package admission

import (
	"fmt"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/internal/permission"
)

// TestCreateLatency measures what admission adds to the creation of a Job: a user creates Jobs in turn in a
// namespace that the webhooks are called for and in one that they are not, on one API server.
func TestCreateLatency(t *testing.T) {
	const (
		rounds = 2000
		warmUp = 200
		bar    = 10 * time.Millisecond // the design's
	)
	w := start(t, options{mode: permission.ModePermissive})
	g := NewWithT(t)
	alice := w.users(t, options{mode: permission.ModePermissive})[0].client
	g.Expect(w.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "plain"}})).To(Succeed())
	w.skip(t, "plain")
	plainJob := func(name string) client.Object {
		job := newJob(name)
		job.Namespace = "plain"
		return job
	}
	g.Eventually(func() error { return alice.Create(t.Context(), plainJob("ops.seen"), client.DryRunAll) }).WithTimeout(waitFor).
		Should(Succeed(), "the API server has learnt of the selector")

	with, without := make([]time.Duration, 0, rounds), make([]time.Duration, 0, rounds)
	for i := range rounds + warmUp {
		name := fmt.Sprintf("dev.batch.n%d", i)
		began := time.Now()
		g.Expect(alice.Create(t.Context(), newJob(name))).To(Succeed())
		middle := time.Now()
		g.Expect(alice.Create(t.Context(), plainJob(name))).To(Succeed())
		if i >= warmUp {
			with, without = append(with, middle.Sub(began)), append(without, time.Since(middle))
		}
	}
	at := func(of []time.Duration, percent int) time.Duration {
		slices.Sort(of)
		return of[len(of)*percent/100]
	}
	for _, percent := range []int{50, 90, 99} {
		t.Logf("p%d of a create: %v with admission, %v without, %v added", percent, at(with, percent), at(without, percent), at(with, percent)-at(without, percent))
	}
	if added := at(with, 99) - at(without, 99); added >= bar {
		t.Errorf("admission adds %v to the p99 of a create, want less than %v", added, bar)
	}
}

// skip leaves a namespace out of what the webhooks are called for.
func (w *world) skip(t *testing.T, namespace string) {
	t.Helper()
	selector := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{namespace}},
	}}
	mutating, validating := &admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{}
	for _, configuration := range []client.Object{mutating, validating} {
		if err := w.admin.Get(t.Context(), types.NamespacedName{Name: "grantry"}, configuration); err != nil {
			t.Fatal(err)
		}
	}
	for i := range mutating.Webhooks {
		mutating.Webhooks[i].NamespaceSelector = selector
	}
	for i := range validating.Webhooks {
		validating.Webhooks[i].NamespaceSelector = selector
	}
	for _, configuration := range []client.Object{mutating, validating} {
		if err := w.admin.Update(t.Context(), configuration); err != nil {
			t.Fatal(err)
		}
	}
}
