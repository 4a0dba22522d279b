// Package bypass tries every way around Grantry that is known: docs/bypass-matrix.md has the table that is run
// here. The API server is a real one with what is shipped (CRDs, RBAC, admission policies and the authorization
// configuration of a mode), RBAC gives the tenants every verb, and each request is made with a certificate of
// its user. No controller runs, so that whatever changes was changed by an attempt.
package bypass

import (
	"context"
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
	"sigs.k8s.io/controller-runtime/pkg/cache"
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
	"github.com/grantry/grantry/internal/testing/certificates"
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
	g := NewWithT(t)
	s := &server{environment: grantrytesting.NewEnvironment()}
	address, dir := grantrytesting.AuthorizeBy(t, s.environment, string(mode))
	s.admin = grantrytesting.StartEnvironment(t, s.environment)
	g.Expect(s.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "grantry-system"}})).To(Succeed())
	s.create(t, grantrytesting.Shipped(t, "rbac/*.yaml")...)
	s.serve(t, mode, address, dir)
	return s
}

// serve runs Grantry's webhooks in this process, with the rights that Grantry has.
func (s *server) serve(t *testing.T, mode permission.SecurityMode, address, dir string) {
	t.Helper()
	g := NewWithT(t)
	host, number, err := net.SplitHostPort(grantrytesting.FreeAddress(t))
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
	work, err := joblookup.NewCache(t.Context(), mgr.GetConfig(), cache.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()}, joblookup.Everything)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(mgr.Add(work)).To(Succeed())
	asked := &authorization.Server{
		Address: address, CertDir: dir, Callers: []string{certificates.Caller},
		Handler: &authorization.Handler{Clock: clock.RealClock{}, Authorizer: &authorizer.Authorizer{
			Policy: s.store, Clock: clock.RealClock{}, Mode: mode, DefaultInstance: "metronome",
			Lookup: &joblookup.Lookup{Cached: mgr.GetClient(), Work: work, Live: mgr.GetAPIReader(), NotFound: authorizer.ErrNotFound, OfNoRun: authorizer.ErrOfNoRun},
		}},
		Prepare: func(ctx context.Context) error { return joblookup.Prepare(ctx, mgr.GetCache(), work) },
	}
	g.Expect(index.Register(t.Context(), mgr.GetFieldIndexer())).To(Succeed())
	g.Expect(mgr.Add(s.store)).To(Succeed())
	g.Expect(mgr.Add(asked)).To(Succeed())
	g.Expect(admission.Setup(mgr, mgr.GetWebhookServer(), admission.Settings{Policy: s.store, Clock: clock.RealClock{}, Mode: mode, Operator: operator, Rule: s.store.Rule})).To(Succeed())
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
