package certificates

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// TestReady_withoutConfigurations: nobody calls webhooks that are not registered, and who asks the authorization webhook at
// the same replica must not lose it. Webhooks that are registered and trust somebody else are another matter.
func TestReady_withoutConfigurations(t *testing.T) {
	t.Parallel()
	refused := errors.New("a policy engine says no")
	var patched error
	c := fake.NewClientBuilder().WithScheme(grantrytesting.Scheme).WithObjects(secretOf(t)).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
			if patched != nil {
				return patched
			}
			return c.Patch(ctx, o, p, options...)
		},
	}).Build()
	served := &Certificates{}
	f := &follower{
		Settings: Settings{Secret: types.NamespacedName{Namespace: "default", Name: "followed"}, Configuration: "grantry", Clock: clock.RealClock{}},
		client:   c, state: &served.state,
	}
	var log bytes.Buffer
	ctx := ctrl.LoggerInto(t.Context(), zap.New(zap.WriteTo(&log)))
	look := func(when string, wantErr error) {
		t.Helper()
		if _, err := f.Reconcile(ctx, ctrl.Request{}); !errors.Is(err, wantErr) {
			t.Errorf("%s: %v", when, err)
		}
		if err := served.ReadyCheck(nil); (err != nil) != (wantErr != nil) {
			t.Errorf("%s: ready: %v", when, err)
		}
	}
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "grantry"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{{Name: "one"}, {Name: "two"}},
	}
	create := func() {
		configuration.ResourceVersion = ""
		if err := c.Create(t.Context(), configuration.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	remove := func() {
		if err := c.Delete(t.Context(), configuration.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}

	look("before they come", nil)
	create()
	look("when they come", nil)
	remove()
	look("when they are taken away", nil)
	look("while they are away", nil)
	patched = refused
	create()
	look("when they come back, and are not to be written", refused)
	remove()
	look("when those are taken away", nil)
	create()
	patched = nil
	look("when they come back", nil)
	if told := strings.Count(log.String(), "configurations are missing"); told != 6 { // once for each change; the mutating one never comes
		t.Errorf("it is said %d times that configurations are missing:\n%s", told, &log)
	}
}

// TestTrust_whatIsServed: where configurations and Secret are made anew, what is served stays trusted until that of the Secret is.
func TestTrust_whatIsServed(t *testing.T) {
	t.Parallel()
	first, second, empty := secretOf(t), secretOf(t), secretOf(t)
	empty.Data = nil
	c := fake.NewClientBuilder().WithScheme(grantrytesting.Scheme).WithObjects(first).Build()
	served, clk := &Certificates{}, clocktesting.NewFakeClock(time.Now())
	f := &follower{
		Settings: Settings{Secret: client.ObjectKeyFromObject(first), Configuration: "grantry", Clock: clk, Settle: time.Minute},
		client:   c, state: &served.state,
	}
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "grantry"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{{Name: "one"}},
	}
	look := func(when string, serves *corev1.Secret, trusts ...*corev1.Secret) {
		t.Helper()
		result, err := f.Reconcile(t.Context(), ctrl.Request{})
		if err != nil || served.ReadyCheck(nil) != nil {
			t.Errorf("%s: %v, ready: %v", when, err, served.ReadyCheck(nil))
		}
		if !bytes.Equal(served.Served(), serves.Data["tls.crt"]) {
			t.Errorf("%s: another certificate is served", when)
		}
		got := &admissionregistrationv1.ValidatingWebhookConfiguration{}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(configuration), got); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
		for _, secret := range trusts {
			if !bytes.Contains(got.Webhooks[0].ClientConfig.CABundle, secret.Data["ca.crt"]) {
				t.Errorf("%s: a CA is not in the bundle", when)
			}
		}
		if len(trusts) > 1 && result.RequeueAfter == 0 {
			t.Errorf("%s: nobody looks again", when)
		}
	}
	replace := func(secret *corev1.Secret) {
		secret.ResourceVersion = ""
		if err := c.Update(t.Context(), secret.DeepCopy()); err != nil {
			t.Fatal(err)
		}
	}
	look("at first", first)
	replace(empty)
	if err := c.Create(t.Context(), configuration.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	look("while the Secret is empty", first, first)
	if err := errors.Join(c.Delete(t.Context(), configuration.DeepCopy()), c.Create(t.Context(), configuration.DeepCopy())); err != nil {
		t.Fatal(err)
	}
	replace(second)
	look("with another CA", first, first, second)
	clk.Step(time.Minute)
	look("once that is known", second, first, second)
	clk.Step(time.Second)
	look("and later", second, first, second)
	clk.Step(overlap)
	look("a day later", second, second)
	bundle := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(configuration), bundle); err != nil || bytes.Contains(bundle.Webhooks[0].ClientConfig.CABundle, first.Data["ca.crt"]) {
		t.Errorf("the old CA is in the bundle for ever: %v", err)
	}
}

// secretOf is a Secret with a certificate.
func secretOf(t *testing.T) *corev1.Secret {
	t.Helper()
	maker := &rotator.CertRotator{
		CAName: "ca", CAOrganization: "grantry", DNSName: "localhost", ExtKeyUsages: &[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	begin := time.Now().Add(-time.Hour)
	ca, err := maker.CreateCACert(begin, begin.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := maker.CreateCertPEM(ca, begin, begin.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "followed"},
		Data:       map[string][]byte{"ca.crt": ca.CertPEM, "tls.crt": certificate, "tls.key": key},
	}
}

// TestIsOvertaken: what is wrong with the configuration is wrong the next time, too.
func TestIsOvertaken(t *testing.T) {
	t.Parallel()
	kind := schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"a failed test of a patch": {fmt.Errorf("patch: %w", apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", "", 0, false)), true},
		"an invalid object":        {apierrors.NewInvalid(kind, "grantry", field.ErrorList{field.Invalid(field.NewPath("webhooks"), 0, "no")}), false},
		"a conflict":               {apierrors.NewConflict(schema.GroupResource{}, "grantry", errors.New("old")), false},
		"no answer":                {errors.New("connection refused"), false},
	} {
		if got := isOvertaken(tc.err); got != tc.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
