package admission

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/grantry/grantry/internal/permission"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/internal/webhook/certificates"
)

// TestRotation_losesNoRequest makes a new CA and certificate while requests run. Each request that validating
// and mutating admission must answer is answered, before, while and after both are replaced.
func TestRotation_losesNoRequest(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, settle: 2 * time.Second})
	g := NewWithT(t)
	before := w.bundle(t)
	served := w.certificates.Served()

	const writers = 4
	var group sync.WaitGroup
	var sent, sentAfter atomic.Int64
	var rotated atomic.Bool
	stop := make(chan struct{})
	failures := make(chan error, writers)
	for range writers {
		c := w.as(t, "writer", "system:masters")
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := c.Create(t.Context(), newJob("dev.load"), client.DryRunAll); err != nil {
					failures <- err
					return
				}
				sent.Add(1)
				if rotated.Load() {
					sentAfter.Add(1)
				}
			}
		})
	}
	g.Eventually(sent.Load).WithTimeout(waitFor).Should(BeNumerically(">", 50), "requests run")

	secret := &corev1.Secret{}
	key := types.NamespacedName{Namespace: "grantry-system", Name: w.secret}
	g.Expect(w.admin.Get(t.Context(), key, secret)).To(Succeed())
	old := secret.Data["ca.crt"]
	g.Expect(w.admin.Patch(t.Context(), secret, client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/ca.crt"}]`)))).To(Succeed())

	g.Eventually(func() []byte { return w.bundle(t) }).WithTimeout(waitFor).ShouldNot(Equal(before), "the new CA is in the bundle")
	g.Expect(bytes.Contains(w.bundle(t), old)).To(BeTrue(), "the old CA is still in it")
	g.Expect(w.certificates.ReadyCheck(nil)).To(Succeed(), "the replica stays in service")
	g.Eventually(func() []byte { return w.certificates.Served() }).WithTimeout(waitFor).ShouldNot(Equal(served), "the new certificate is served")

	// As when the overlap is over: the API server forgets its connections, and trusts the new CA alone.
	g.Expect(w.admin.Get(t.Context(), key, secret)).To(Succeed())
	w.trustOnly(t, secret.Data["ca.crt"])
	rotated.Store(true)
	g.Eventually(sentAfter.Load).WithTimeout(waitFor).Should(BeNumerically(">", 50), "requests go on")
	close(stop)
	group.Wait()
	close(failures)
	var errs []error
	for err := range failures {
		errs = append(errs, err)
	}
	g.Expect(errors.Join(errs...)).NotTo(HaveOccurred(), "a request was lost")
	t.Logf("%d requests, %d of them with the new certificate", sent.Load(), sentAfter.Load())
}

// TestReady_withoutAdmission: replicas that run, and those that start, are in service while admission is taken away, because
// authorization may need them; once it is back they are trusted.
func TestReady_withoutAdmission(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive, certificate: foreignCertificate(t, time.Hour)})
	g := NewWithT(t)
	mutating, validating := &admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{}
	for _, configuration := range []client.Object{mutating, validating} {
		g.Expect(w.admin.Get(t.Context(), types.NamespacedName{Name: "grantry"}, configuration)).To(Succeed())
		g.Expect(w.admin.Delete(t.Context(), configuration)).To(Succeed())
		configuration.SetResourceVersion("")
		configuration.SetUID("")
	}
	started := w.follow(t)
	g.Eventually(func() error { return started.ReadyCheck(nil) }).WithTimeout(waitFor).Should(Succeed(), "one that starts")
	g.Consistently(func() error { return w.certificates.ReadyCheck(nil) }).WithTimeout(time.Second).Should(Succeed(), "one that runs")

	for i := range mutating.Webhooks {
		mutating.Webhooks[i].ClientConfig.CABundle = nil
	}
	for i := range validating.Webhooks {
		validating.Webhooks[i].ClientConfig.CABundle = nil
	}
	g.Expect(w.admin.Create(t.Context(), validating)).To(Succeed())
	g.Expect(w.admin.Create(t.Context(), mutating)).To(Succeed())
	w.awaitWebhooks(t) // by the bundle, which is put in again
	g.Expect(w.certificates.ReadyCheck(nil)).To(Succeed())
}

// TestRotation_bySomethingElse: where cert-manager, say, keeps the Secret up to date, Grantry trusts and serves what it
// finds, and makes nothing itself.
func TestRotation_bySomethingElse(t *testing.T) {
	// An issuer may have been there for long when its turn comes.
	first, second := foreignCertificate(t, time.Hour), foreignCertificate(t, 300*24*time.Hour)
	w := start(t, options{mode: permission.ModePermissive, settle: time.Second, certificate: first})
	g := NewWithT(t)
	g.Expect(w.certificates.Served()).To(Equal(first["tls.crt"]))
	g.Expect(w.bundle(t)).To(Equal(first["ca.crt"]))
	g.Expect(w.admin.Create(t.Context(), newJob("dev.one"))).To(Succeed())

	w.provide(t, second)
	g.Eventually(func() bool { return bytes.Contains(w.bundle(t), second["ca.crt"]) }).WithTimeout(waitFor).Should(BeTrue(), "it is trusted")
	g.Expect(bytes.Contains(w.bundle(t), first["ca.crt"])).To(BeTrue(), "so is what is still served")
	g.Eventually(w.certificates.Served).WithTimeout(waitFor).Should(Equal(second["tls.crt"]))
	w.trustOnly(t, second["ca.crt"])
	g.Expect(w.admin.Create(t.Context(), newJob("dev.two"))).To(Succeed())

	secret := &corev1.Secret{}
	g.Expect(w.admin.Get(t.Context(), types.NamespacedName{Namespace: "grantry-system", Name: w.secret}, secret)).To(Succeed())
	for name, want := range second {
		g.Expect(secret.Data[name]).To(Equal(want), name)
	}
	g.Expect(secret.Data).NotTo(HaveKey("ca.key"))
}

// TestRotation_changesHands: while an upgrade changes who makes the certificate, replicas with the one and with the other
// answer, and the API server trusts both, though the issuer's CA is much the older one.
func TestRotation_changesHands(t *testing.T) {
	w := start(t, options{mode: permission.ModePermissive})
	g := NewWithT(t)
	own, theirs := w.bundle(t), foreignCertificate(t, 300*24*time.Hour)
	w.secret = "grantry-admission-certificate"
	g.Expect(w.admin.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "grantry-system", Name: w.secret}})).To(Succeed())
	after := w.follow(t)
	g.Consistently(func() error { return after.ReadyCheck(nil) }).WithTimeout(time.Second).Should(HaveOccurred(), "there is none yet")
	w.provide(t, map[string][]byte{"tls.crt": theirs["tls.crt"], "tls.key": theirs["tls.key"]})
	g.Consistently(func() error { return after.ReadyCheck(nil) }).WithTimeout(time.Second).Should(HaveOccurred(), "nobody could trust it")
	w.provide(t, theirs)
	g.Eventually(func() error { return after.ReadyCheck(nil) }).WithTimeout(waitFor).Should(Succeed())

	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	g.Expect(w.admin.Get(t.Context(), types.NamespacedName{Name: "grantry"}, configuration)).To(Succeed())
	for i := range 50 {
		g.Expect(w.admin.Create(t.Context(), newJob("dev.load"), client.DryRunAll)).To(Succeed(), "request %d, to a replica with its own certificate", i)
		for _, ca := range [][]byte{own, theirs["ca.crt"]} {
			g.Expect(bytes.Contains(w.bundle(t), ca)).To(BeTrue(), "both are trusted")
		}
	}
	settled := configuration.ResourceVersion
	g.Expect(w.admin.Get(t.Context(), types.NamespacedName{Name: "grantry"}, configuration)).To(Succeed())
	g.Expect(configuration.ResourceVersion).To(Equal(settled), "the replicas leave each other's alone")
}

// follow lets another replica serve what something else keeps in the Secret.
func (w *world) follow(t *testing.T) *certificates.Certificates {
	t.Helper()
	mgr, err := ctrl.NewManager(w.config(t, operator, "system:serviceaccounts", "system:serviceaccounts:grantry-system"), ctrl.Options{
		Scheme: grantrytesting.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: ctrlconfig.Controller{SkipNameValidation: new(true)},
	})
	if err != nil {
		t.Fatal(err)
	}
	followed := &certificates.Certificates{}
	if err := followed.Setup(mgr, certificates.Settings{
		Secret: types.NamespacedName{Namespace: "grantry-system", Name: w.secret}, Configuration: "grantry",
		DNSNames: []string{"localhost"}, Clock: clock.RealClock{}, Foreign: true,
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the other replica ended with: %v", err)
		}
	})
	return followed
}

// foreignCertificate is what cert-manager puts into a Secret, by a CA of some age.
func foreignCertificate(t *testing.T, age time.Duration) map[string][]byte {
	t.Helper()
	maker := &rotator.CertRotator{
		CAName: "elsewhere", CAOrganization: "elsewhere", DNSName: "localhost", ExtKeyUsages: &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	begin := time.Now().Add(-time.Hour)
	ca, err := maker.CreateCACert(time.Now().Add(-age), begin.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := maker.CreateCertPEM(ca, begin, begin.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"ca.crt": ca.CertPEM, "tls.crt": certificate, "tls.key": key}
}

// provide puts a certificate into the Secret.
func (w *world) provide(t *testing.T, data map[string][]byte) {
	t.Helper()
	secret := &corev1.Secret{}
	if err := w.admin.Get(t.Context(), types.NamespacedName{Namespace: "grantry-system", Name: w.secret}, secret); err != nil {
		t.Fatal(err)
	}
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	maps.Copy(secret.Data, data)
	if err := w.admin.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
}

// bundle is what the API server trusts for validation.
func (w *world) bundle(t *testing.T) []byte {
	t.Helper()
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := w.admin.Get(t.Context(), types.NamespacedName{Name: "grantry"}, configuration); err != nil {
		t.Fatal(err)
	}
	return configuration.Webhooks[0].ClientConfig.CABundle
}

// trustOnly makes a CA the only one that the API server trusts.
func (w *world) trustOnly(t *testing.T, ca []byte) {
	t.Helper()
	w.reconfigure(t,
		func(mutating *admissionregistrationv1.MutatingWebhook) { mutating.ClientConfig.CABundle = ca },
		func(validating *admissionregistrationv1.ValidatingWebhook) { validating.ClientConfig.CABundle = ca })
}
