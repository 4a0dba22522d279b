package security

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/grantry/grantry/internal/testing/certificates"
)

// TestCallers: who is answered at the ports that others reach, too.
func TestCallers(t *testing.T) {
	s := newSite(t, func(s *site) {
		s.environment.ControlPlane.GetAPIServer().Configure().Set("admission-control-config-file", presentCertificates(t, s.dir, s.admission))
	})
	t.Run("metrics", s.metricsCallers)
	t.Run("admission", s.admissionCallers)
}

// admissionCallers: with --admission-client-ca the admission webhooks answer the API server, which shows a certificate,
// and nobody else.
func (s *site) admissionCallers(t *testing.T) {
	g := NewWithT(t)
	g.Expect(s.review(t.Context())).To(Succeed(), "anybody, as there is no authority yet")
	s.operator.Stop()
	s.operate(t, "--admission-client-ca", filepath.Join(s.dir, "ca.crt"), "--admission-client-names", certificates.Caller)
	g.Eventually(func() error { return s.write(t.Context()) }).WithTimeout(waitFor).Should(Succeed(), "the API server")
	g.Expect(s.review(t.Context())).NotTo(Succeed(), "somebody without a certificate")
	alice := s.user(t, "alice").Config()
	pair, err := tls.X509KeyPair(alice.CertData, alice.KeyData)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.reviewBy(t.Context(), newConnections(pair))).NotTo(Succeed(), "somebody with a certificate of another authority")
	g.Expect(s.reviewBy(t.Context(), s.caller(t))).To(Succeed(), "who has the API server's")
}

// presentCertificates writes the files by which an API server shows a certificate to the admission webhooks, as
// docs/operations.md has them for a Service.
func presentCertificates(t *testing.T, dir, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"admission.yaml": `
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- {name: ValidatingAdmissionWebhook, configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: DIR/admission.kubeconfig}}
- {name: MutatingAdmissionWebhook, configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: DIR/admission.kubeconfig}}
`,
		"admission.kubeconfig": `
apiVersion: v1
kind: Config
users:
- {name: 'localhost:PORT', user: {client-certificate: DIR/client.crt, client-key: DIR/client.key}}
`,
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.NewReplacer("DIR", dir, "PORT", port).Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "admission.yaml")
}

// metricsCallers: metrics are read over TLS, by accounts to which somebody gave ClusterRole/grantry-metrics-reader.
func (s *site) metricsCallers(t *testing.T) {
	g := NewWithT(t)
	s.create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "grantry-metrics-reader"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: instance, Name: "reader"}},
	})
	reader, other := s.token(t, "reader"), s.token(t, "other")
	for what, tc := range map[string]struct {
		token string
		want  int
	}{
		"nobody":                      {"", http.StatusUnauthorized},
		"an account without the role": {other, http.StatusForbidden},
		"one with it":                 {reader, http.StatusOK},
	} {
		g.Eventually(func() (int, error) { // a binding counts a moment after it was made
			code, text, err := s.get(t.Context(), "/metrics", tc.token)
			if strings.Contains(text, "grantry_") != (code == http.StatusOK) {
				t.Errorf("%s: status %d shows %.200s", what, code, text)
			}
			return code, err
		}).WithTimeout(waitFor).Should(Equal(tc.want), what)
	}
	if code, text, err := s.get(t.Context(), "/metrics", "forged"); err != nil || code == http.StatusOK || strings.Contains(text, "grantry_") {
		t.Errorf("a token that nobody gave: status %d, %v", code, err)
	}
	if response, err := http.Get("http://" + s.metrics + "/metrics"); err == nil {
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			t.Errorf("without TLS: %.200s", text)
		}
	}
}

// token makes an account and a token of its.
func (s *site) token(t *testing.T, name string) string {
	t.Helper()
	account, request := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: name}}, &authenticationv1.TokenRequest{}
	s.create(t, account)
	if err := s.admin.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

// get reads a path of the metrics endpoint.
func (s *site) get(ctx context.Context, path, token string) (code int, text string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.metrics+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := newConnections().Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", fmt.Errorf("read metrics: %w", err)
	}
	return response.StatusCode, string(content), nil
}
