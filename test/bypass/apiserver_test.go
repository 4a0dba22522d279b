// Package bypass tries every way around Grantry that is known: docs/bypass-matrix.md has the table that is run
// here. The API server is a real one with what is shipped (CRDs, RBAC, admission policies and the authorization
// configuration of a mode), RBAC gives the tenants every verb, and each request is made with a certificate of
// its user. No controller runs, so that whatever changes was changed by an attempt.
package bypass

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/grantry/grantry/internal/attestation"
	"github.com/grantry/grantry/internal/authorizer"
	"github.com/grantry/grantry/internal/index"
	"github.com/grantry/grantry/internal/joblookup"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/internal/webhook/admission"
	"github.com/grantry/grantry/internal/webhook/authorization"
)

// waitFor bounds every wait.
const waitFor = 30 * time.Second

// config is the directory of what is shipped.
var config = filepath.Join("..", "..", "config")

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // what fails is said by the tests
	os.Exit(m.Run())
}

// server is an API server in a security mode, with Grantry's webhooks behind it.
type server struct {
	environment *envtest.Environment
	admin       client.Client
	store       *policystore.Store
	// stop ends Grantry, and leaves the API server as it is.
	stop func()
}

// start runs an API server as it is installed for a mode, and Grantry's webhooks.
func start(t *testing.T, mode permission.SecurityMode) *server {
	t.Helper()
	requireAPIServer(t)
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(writeCertificates(dir)).To(Succeed())
	address := freeAddress(t)
	copyConfig(t, "kubeconfig.yaml", dir, "/etc/kubernetes/grantry", dir, "127.0.0.1:9443", address)
	copyConfig(t, string(mode)+".yaml", dir, "/etc/kubernetes/grantry", dir)

	s := &server{environment: &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join(config, "crd", "bases")}, Scheme: grantrytesting.Scheme}}
	s.environment.ControlPlane.GetAPIServer().Configure().Disable("authorization-mode").
		Set("authorization-config", filepath.Join(dir, string(mode)+".yaml"))
	cfg, err := s.environment.Start()
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		if err := s.environment.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	cfg.QPS = -1
	s.admin, err = client.New(cfg, client.Options{Scheme: grantrytesting.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "grantry-system"}})).To(Succeed())
	g.Expect(s.applyShipped(t, "rbac/*.yaml")).To(Succeed())
	s.serve(t, mode, address, dir)
	return s
}

// serve runs Grantry's webhooks in this process, with the rights that Grantry has.
func (s *server) serve(t *testing.T, mode permission.SecurityMode, address, dir string) {
	t.Helper()
	g := NewWithT(t)
	host, number, err := net.SplitHostPort(freeAddress(t))
	g.Expect(err).NotTo(HaveOccurred())
	port, err := strconv.Atoi(number)
	g.Expect(err).NotTo(HaveOccurred())
	s.register(t, "https://localhost:"+number, filepath.Join(dir, "ca.crt"))
	mgr, err := ctrl.NewManager(s.configOf(t, operator), ctrl.Options{
		Scheme: grantrytesting.Scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{Host: host, Port: port, CertDir: dir}),
	})
	g.Expect(err).NotTo(HaveOccurred())
	s.store = policystore.New(mgr.GetCache(), clock.RealClock{})
	s.store.Rule = policystore.Rule{Admission: true, Key: attestation.Key(strings.Repeat("k", attestation.KeySize))}
	asked := &authorization.Server{
		Address: address, CertDir: dir, Callers: []string{"kube-apiserver"},
		Handler: &authorization.Handler{Clock: clock.RealClock{}, Authorizer: &authorizer.Authorizer{
			Policy: s.store, Clock: clock.RealClock{}, Mode: mode, DefaultInstance: "metronome",
			Lookup: &joblookup.Lookup{Cached: mgr.GetClient(), Work: mgr.GetCache(), Live: mgr.GetAPIReader(), NotFound: authorizer.ErrNotFound, OfNoRun: authorizer.ErrOfNoRun},
		}},
		Prepare: func(ctx context.Context) error { return joblookup.Prepare(ctx, mgr.GetCache(), mgr.GetCache()) },
	}
	g.Expect(index.Register(t.Context(), mgr.GetFieldIndexer())).To(Succeed())
	g.Expect(mgr.Add(s.store)).To(Succeed())
	g.Expect(mgr.Add(asked)).To(Succeed())
	g.Expect(admission.Setup(mgr, admission.Settings{Policy: s.store, Clock: clock.RealClock{}, Mode: mode, Operator: operator, Rule: s.store.Rule})).To(Succeed())
	s.run(t, mgr, s.store.ReadyCheck, asked.ReadyCheck, mgr.GetWebhookServer().StartedChecker())
}

// register has the API server ask the admission webhooks.
func (s *server) register(t *testing.T, url, ca string) {
	t.Helper()
	g := NewWithT(t)
	bundle, err := os.ReadFile(ca)
	g.Expect(err).NotTo(HaveOccurred())
	configurations, err := grantrytesting.WebhookConfigurations(url)
	g.Expect(err).NotTo(HaveOccurred())
	for _, configuration := range configurations {
		switch c := configuration.(type) {
		case *admissionregistrationv1.MutatingWebhookConfiguration:
			for i := range c.Webhooks {
				c.Webhooks[i].ClientConfig.CABundle = bundle
			}
		case *admissionregistrationv1.ValidatingWebhookConfiguration:
			for i := range c.Webhooks {
				c.Webhooks[i].ClientConfig.CABundle = bundle
			}
		}
		g.Expect(s.admin.Create(t.Context(), configuration)).To(Succeed())
	}
}

// run starts a manager, and waits until it is ready.
func (s *server) run(t *testing.T, mgr ctrl.Manager, checks ...healthz.Checker) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the manager ended with: %v", err)
		}
	})
	t.Cleanup(s.stop)
	NewWithT(t).Eventually(func() error {
		for _, check := range checks {
			if err := check(nil); err != nil {
				return err
			}
		}
		return nil
	}).WithTimeout(waitFor).Should(Succeed(), "the webhooks are ready")
}

// freeAddress is one of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// requireAPIServer skips the test without an API server, and fails it in CI.
func requireAPIServer(t *testing.T) {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") != "" {
		return
	}
	const how = "this test needs an API server: run `make test`, or set KUBEBUILDER_ASSETS to a directory with kube-apiserver and etcd"
	if os.Getenv("CI") == "true" {
		t.Fatal(how)
	}
	t.Skip(how)
}

// writeCertificates makes a certificate that signs itself, for the webhook and for the API server.
func writeCertificates(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver"}, DNSNames: []string{"localhost"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	for name, content := range map[string][]byte{
		"tls.crt": certificate, "ca.crt": certificate, "client.crt": certificate, "tls.key": private, "client.key": private,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// copyConfig copies a shipped file of the authorization configuration with other paths in it.
func copyConfig(t *testing.T, name, dir string, replace ...string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(config, "authorization", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.NewReplacer(replace...).Replace(string(content))), 0o600); err != nil {
		t.Fatal(err)
	}
}
