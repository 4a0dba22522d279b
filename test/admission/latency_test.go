//go:build e2e

package admission

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sync/errgroup"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/api/v1alpha1"
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

	added := compare(t, rounds, warmUp,
		func(i int) error { return alice.Create(t.Context(), newJob(fmt.Sprintf("dev.batch.n%d", i))) },
		func(i int) error { return alice.Create(t.Context(), plainJob(fmt.Sprintf("dev.batch.n%d", i))) })
	if added >= bar {
		t.Errorf("admission adds %v to the p99 of a create, want less than %v", added, bar)
	}
}

// compare does two things in turn, and returns what the first takes more than the second, at the p99.
func compare(t *testing.T, rounds, warmUp int, one, other func(i int) error) (added time.Duration) {
	t.Helper()
	with, without := make([]time.Duration, 0, rounds), make([]time.Duration, 0, rounds)
	for i := range rounds + warmUp {
		began := time.Now()
		if err := one(i); err != nil {
			t.Fatal(err)
		}
		middle := time.Now()
		if err := other(i); err != nil {
			t.Fatal(err)
		}
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
	return at(with, 99) - at(without, 99)
}

// TestGrantLatency measures what admission adds to the creation of a Grant among as many as GRANTS says, 100,000
// unless set: a tenant creates Grants in turn that the webhooks are called for and that they are not, on one
// API server. There is no bar for it.
func TestGrantLatency(t *testing.T) {
	const (
		rounds  = 1000
		warmUp  = 100
		perACL  = 100
		writers = 32
		plain   = "example.com/plain"
	)
	grants := 100_000
	if text, ok := os.LookupEnv("GRANTS"); ok {
		var err error
		if grants, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	w := start(t, options{mode: permission.ModePermissive})
	g := NewWithT(t)
	alice := w.users(t, options{mode: permission.ModePermissive})[0].client
	w.role(t, "alice", policyVerbs)
	w.unregister(t)
	fill := func(n int, object func(i int) client.Object) {
		var group errgroup.Group
		group.SetLimit(writers)
		for i := range n {
			group.Go(func() error { return w.admin.Create(t.Context(), object(i)) })
		}
		g.Expect(group.Wait()).To(Succeed())
	}
	fill(grants/perACL+1, func(i int) client.Object {
		return newACL(fmt.Sprintf("team%d", i), fmt.Sprintf("%steam%d", allJobs, i))
	})
	fill(grants, func(i int) client.Object {
		return newGrant(fmt.Sprintf("g%d", i), fmt.Sprintf("team%d", i/perACL), fmt.Sprintf("user%d", i%(grants/5+1)), v1alpha1.ActionRead)
	})
	g.Eventually(func() int { return w.store.Snapshot().Counts().Grants }).WithTimeout(5*time.Minute).Should(BeNumerically(">=", grants), "the policy is read")
	w.register(t)
	w.awaitWebhooks(t)
	w.narrow(t, nil, &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: plain, Operator: metav1.LabelSelectorOpDoesNotExist}}})
	create := func(name string, labels map[string]string) (*v1alpha1.Grant, error) {
		grant := newGrant(name, "dev-batch", name, v1alpha1.ActionRead)
		grant.Labels = labels
		return grant, alice.Create(t.Context(), grant)
	}
	g.Eventually(func() *v1alpha1.Identity {
		probe := newGrant("probe", "dev-batch", "probe", v1alpha1.ActionRead)
		probe.Labels = map[string]string{plain: ""}
		g.Expect(w.admin.Create(t.Context(), probe, client.DryRunAll)).To(Succeed())
		return probe.Spec.GrantedBy
	}).WithTimeout(waitFor).Should(BeNil(), "the API server has learnt of the selector")
	t.Logf("%d Grants", w.store.Snapshot().Counts().Grants)
	compare(t, rounds, warmUp,
		func(i int) error {
			grant, err := create(fmt.Sprintf("with%d", i), nil)
			if err == nil && grant.Spec.GrantedBy == nil {
				return errors.New("admission was not asked")
			}
			return err
		},
		func(i int) error {
			_, err := create(fmt.Sprintf("without%d", i), map[string]string{plain: ""})
			return err
		})
}

// skip leaves a namespace out of what the webhooks are called for.
func (w *world) skip(t *testing.T, namespace string) {
	t.Helper()
	w.narrow(t, &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{namespace}},
	}}, nil)
}

// narrow has the webhooks called for some namespaces and some objects only.
func (w *world) narrow(t *testing.T, namespaces, objects *metav1.LabelSelector) {
	t.Helper()
	w.reconfigure(t, func(mutating *admissionregistrationv1.MutatingWebhook) {
		mutating.NamespaceSelector, mutating.ObjectSelector = namespaces, objects
	}, func(validating *admissionregistrationv1.ValidatingWebhook) {
		validating.NamespaceSelector, validating.ObjectSelector = namespaces, objects
	})
}
