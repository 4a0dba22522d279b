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
