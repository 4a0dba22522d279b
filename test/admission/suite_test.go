// Package admission tries the admission webhooks on a real API server, as users with certificates of their own.
package admission

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	grantryauthorizer "github.com/grantry/grantry/internal/authorizer"
	"github.com/grantry/grantry/internal/joblookup"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/internal/webhook/admission"
	"github.com/grantry/grantry/internal/webhook/authorization"
	"github.com/grantry/grantry/internal/webhook/certificates"
)

const (
	waitFor  = 30 * time.Second
	operator = "system:serviceaccount:grantry-system:grantry"
	space    = "metronome"
)

// world is an API server that calls the admission webhooks of one replica.
type world struct {
	environment *envtest.Environment
	// admin is a member of system:masters.
	admin        client.Client
	certificates *certificates.Certificates
	// secret has a name of its own in each world: a process has one rotator for each name.
	secret string
	store  *policystore.Store
	// configurations are what registers the webhooks.
	configurations []client.Object
	stop           func()
}

// options vary a world.
type options struct {
	// controllers runs the whole operator, and not only its webhooks.
	controllers bool
	mode        permission.SecurityMode
	// authorization makes the API server ask Grantry about requests, too.
	authorization bool
	// withoutWebhooks leaves writes alone.
	withoutWebhooks bool
	// settle is as in certificates.Settings.
	settle time.Duration
	// certificate is one that something else than Grantry keeps up to date.
	certificate map[string][]byte
}

// start runs an API server, and the webhooks under the operator's own rights.
func start(t *testing.T, o options) *world {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	g := NewWithT(t)
	environment := grantrytesting.NewEnvironment()
	var authorizer *authorization.Server
	if o.authorization {
		address, dir := grantrytesting.AuthorizeBy(t, environment, string(o.mode))
		authorizer = &authorization.Server{Address: address, CertDir: dir}
	}
	admin := grantrytesting.StartEnvironment(t, environment)
	w := &world{environment: environment, admin: admin, certificates: &certificates.Certificates{}, stop: func() {}}
	w.secret = "grantry-admission-" + strings.ToLower(rand.Text())
	for _, name := range []string{"grantry-system", space} {
		g.Expect(admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})).To(Succeed())
	}
	if !o.withoutWebhooks {
		w.install(t)
		if o.certificate != nil {
			w.provide(t, o.certificate)
		}
		w.run(t, o, authorizer)
	}
	return w
}

// install applies what the operator needs: its rights, and the Secret for its certificates.
func (w *world) install(t *testing.T) {
	t.Helper()
	for _, file := range []string{
		"rbac/service_account.yaml", "rbac/role.yaml", "rbac/role_binding.yaml", "rbac/role_binding_namespace.yaml", "webhook/secret.yaml",
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", "config", file))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("grantry-admission"), []byte(w.secret)) // the role has its name, too
		for _, object := range grantrytesting.Decode(t, text) {
			if err := w.admin.Create(t.Context(), object); err != nil {
				t.Fatalf("create %s %s: %v", object.GetKind(), object.GetName(), err)
			}
		}
	}
}

// reconfigure changes every webhook as the API server has it.
func (w *world) reconfigure(t *testing.T, mutate func(*admissionregistrationv1.MutatingWebhook), validate func(*admissionregistrationv1.ValidatingWebhook)) {
	t.Helper()
	mutating, validating := &admissionregistrationv1.MutatingWebhookConfiguration{}, &admissionregistrationv1.ValidatingWebhookConfiguration{}
	for _, configuration := range []client.Object{mutating, validating} {
		if err := w.admin.Get(t.Context(), types.NamespacedName{Name: "grantry"}, configuration); err != nil {
			t.Fatal(err)
		}
	}
	for i := range mutating.Webhooks {
		mutate(&mutating.Webhooks[i])
	}
	for i := range validating.Webhooks {
		validate(&validating.Webhooks[i])
	}
	for _, configuration := range []client.Object{mutating, validating} {
		if err := w.admin.Update(t.Context(), configuration); err != nil {
			t.Fatal(err)
		}
	}
}

// run serves the webhooks, and waits until the API server may call them.
func (w *world) run(t *testing.T, o options, authorizer *authorization.Server) {
	t.Helper()
	g := NewWithT(t)
	address := grantrytesting.FreeAddress(t)
	_, port, err := net.SplitHostPort(address)
	g.Expect(err).NotTo(HaveOccurred())
	secured := &tls.Config{}
	w.certificates.TLS(secured)
	w.configurations, err = grantrytesting.WebhookConfigurations("https://localhost:" + port)
	g.Expect(err).NotTo(HaveOccurred())
	w.register(t)

	mgr, err := ctrl.NewManager(w.config(t, operator, "system:serviceaccounts", "system:serviceaccounts:grantry-system"), ctrl.Options{
		Scheme: grantrytesting.Scheme, Metrics: metricsserver.Options{BindAddress: "0"},
		Controller:    ctrlconfig.Controller{SkipNameValidation: new(true)},
		WebhookServer: &admission.Server{Address: address, TLS: secured},
	})
	g.Expect(err).NotTo(HaveOccurred())
	store := policystore.New(mgr.GetCache(), clock.RealClock{})
	g.Expect(mgr.Add(store)).To(Succeed())
	w.store = store
	rule := w.addPolicy(t, mgr, o)
	settings := certificates.Settings{
		Secret: types.NamespacedName{Namespace: "grantry-system", Name: w.secret}, Configuration: "grantry",
		DNSNames: []string{"localhost"}, Settle: o.settle, Clock: clock.RealClock{}, Foreign: o.certificate != nil,
	}
	g.Expect(w.certificates.Setup(mgr, settings)).To(Succeed())
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	_, err = w.certificates.Rotate(ctx, mgr, settings)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(admission.Setup(mgr, mgr.GetWebhookServer(), admission.Settings{Policy: store, Clock: clock.RealClock{}, Mode: o.mode, Operator: operator, Rule: rule})).To(Succeed())
	if authorizer != nil {
		authorize(t, mgr, o, store, authorizer)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the manager ended with: %v", err)
		}
		w.stop = func() {}
	}
	t.Cleanup(func() { w.stop() })
	if authorizer != nil {
		g.Eventually(func() error { return authorizer.ReadyCheck(nil) }).WithTimeout(waitFor).Should(Succeed(), "the authorization webhook is ready")
	}
	started := mgr.GetWebhookServer().StartedChecker()
	g.Eventually(func() error {
		for _, check := range []healthz.Checker{store.ReadyCheck, w.certificates.ReadyCheck, started} {
			if err := check(nil); err != nil {
				return err
			}
		}
		return nil
	}).WithTimeout(waitFor).Should(Succeed(), "the webhooks are ready")
}

// authorize makes a manager answer the API server's authorization requests.
func authorize(t *testing.T, mgr ctrl.Manager, o options, store *policystore.Store, server *authorization.Server) {
	t.Helper()
	g := NewWithT(t)
	work, err := joblookup.NewCache(t.Context(), mgr.GetConfig(), cache.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper()}, joblookup.OfRuns)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(mgr.Add(work)).To(Succeed())
	server.Handler = &authorization.Handler{Clock: clock.RealClock{}, Authorizer: &grantryauthorizer.Authorizer{
		Policy: store, Clock: clock.RealClock{}, Mode: o.mode, DefaultInstance: space,
		Lookup: &joblookup.Lookup{Cached: mgr.GetClient(), Work: work, Live: mgr.GetAPIReader(), NotFound: grantryauthorizer.ErrNotFound},
	}}
	server.Prepare = func(ctx context.Context) error { return joblookup.Prepare(ctx, mgr.GetCache(), work) }
	g.Expect(mgr.Add(server)).To(Succeed())
}

// config is how a user reaches the API server, with a certificate.
func (w *world) config(t *testing.T, name string, groups ...string) *rest.Config {
	t.Helper()
	user, err := w.environment.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return user.Config()
}

// as is a client of a user with a certificate.
func (w *world) as(t *testing.T, name string, groups ...string) client.Client {
	t.Helper()
	c, err := client.New(w.config(t, name, groups...), client.Options{Scheme: grantrytesting.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// role gives a user verbs by RBAC, in every namespace.
func (w *world) role(t *testing.T, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	meta := metav1.ObjectMeta{GenerateName: "test-"}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}
	if err := w.admin.Create(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	if err := w.admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}); err != nil {
		t.Fatal(err)
	}
}

// everyVerb is what a tenant has by RBAC where no authorizer knows names: each verb on our kinds but override.
var everyVerb = rbacv1.PolicyRule{
	APIGroups: []string{"grantry.dev"}, Resources: []string{"jobs", "jobruns"},
	Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"},
}
