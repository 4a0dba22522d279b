// Package authorization proves that the API server asks the webhook, with the configurations that are
// shipped, and that users feel the answers.
package authorization

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/grantry/grantry/api/v1alpha1"
	"github.com/grantry/grantry/internal/authorizer"
	"github.com/grantry/grantry/internal/joblookup"
	"github.com/grantry/grantry/internal/permission"
	"github.com/grantry/grantry/internal/policystore"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	webhook "github.com/grantry/grantry/internal/webhook/authorization"
)

const waitFor = 30 * time.Second

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// writeCertificates makes a CA, and a certificate of it for the webhook and for the API server.
func writeCertificates(t *testing.T, dir string) {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver"}, DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	g.Expect(err).NotTo(HaveOccurred())
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	g.Expect(err).NotTo(HaveOccurred())
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": private, "ca.crt": certificate, "client.crt": certificate, "client.key": private} {
		g.Expect(os.WriteFile(filepath.Join(dir, name), content, 0o600)).To(Succeed())
	}
}

// copyConfig copies a shipped file with other paths in it.
func copyConfig(t *testing.T, name, to string, replace ...string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", "config", "authorization", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, []byte(strings.NewReplacer(replace...).Replace(string(content))), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs an API server with a shipped configuration, and the webhook that it asks.
func start(t *testing.T, mode permission.SecurityMode) (*envtest.Environment, client.Client) {
	t.Helper()
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		const how = "this test needs an API server: run `make test`, or set KUBEBUILDER_ASSETS to a directory with kube-apiserver and etcd"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	g := NewWithT(t)
	dir := t.TempDir()
	writeCertificates(t, dir)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	address := listener.Addr().String()
	g.Expect(listener.Close()).To(Succeed())
	copyConfig(t, "kubeconfig.yaml", filepath.Join(dir, "kubeconfig.yaml"), "/etc/kubernetes/grantry", dir, "127.0.0.1:9443", address)
	copyConfig(t, string(mode)+".yaml", filepath.Join(dir, "authorization.yaml"), "/etc/kubernetes/grantry", dir)

	environment := &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "..", "config", "crd", "bases")}, Scheme: grantrytesting.Scheme}
	environment.ControlPlane.GetAPIServer().Configure().Disable("authorization-mode").Set("authorization-config", filepath.Join(dir, "authorization.yaml"))
	config, err := environment.Start()
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: grantrytesting.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	g.Expect(err).NotTo(HaveOccurred())
	store := policystore.New(mgr.GetCache(), clock.RealClock{})
	server := &webhook.Server{
		Address: address, CertDir: dir, Callers: []string{"kube-apiserver"},
		Handler: &webhook.Handler{Clock: clock.RealClock{}, Authorizer: &authorizer.Authorizer{
			Policy: store, Clock: clock.RealClock{}, Mode: mode, DefaultInstance: "metronome",
			Lookup: &joblookup.Lookup{Cached: mgr.GetClient(), Live: mgr.GetAPIReader(), NotFound: authorizer.ErrNotFound},
		}},
		Prepare: func(ctx context.Context) error { return joblookup.Prepare(ctx, mgr.GetCache()) },
	}
	g.Expect(mgr.Add(store)).To(Succeed())
	g.Expect(mgr.Add(server)).To(Succeed())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the manager ended with: %v", err)
		}
	})
	g.Eventually(func() error { return errors.Join(store.ReadyCheck(nil), server.ReadyCheck(nil)) }).WithTimeout(waitFor).Should(Succeed(), "the webhook is ready")
	c, err := client.New(config, client.Options{Scheme: grantrytesting.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	return environment, c
}

// as returns a client with a certificate of a user.
func as(t *testing.T, environment *envtest.Environment, name string, groups ...string) client.Client {
	t.Helper()
	user, err := environment.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(user.Config(), client.Options{Scheme: grantrytesting.Scheme, Mapper: nil})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// prepare makes two Jobs, and a Grant for alice on one of them.
func prepare(t *testing.T, admin client.Client) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "metronome"}})).To(Succeed())
	for name, labels := range map[string]map[string]string{
		"dev.batch.job1": {"in.grantry.dev/dev": "", "in.grantry.dev/dev.batch": "", "in.grantry.dev/dev.batch.job1": ""},
		"dev.other":      {"in.grantry.dev/dev": "", "in.grantry.dev/dev.other": ""},
	} {
		g.Expect(admin.Create(t.Context(), &v1alpha1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: "metronome", Name: name, Labels: labels},
			Spec:       v1alpha1.JobSpec{Run: &v1alpha1.RunSpec{Cmd: "true"}},
		})).To(Succeed())
	}
	g.Expect(admin.Create(t.Context(), &v1alpha1.ACL{
		ObjectMeta: metav1.ObjectMeta{Name: "dev-batch"}, Spec: v1alpha1.ACLSpec{Resource: "dcos:service:metronome:metronome:jobs:dev.batch"},
	})).To(Succeed())
	g.Expect(admin.Create(t.Context(), &v1alpha1.Grant{
		ObjectMeta: metav1.ObjectMeta{Name: "alice-dev-batch"},
		Spec: v1alpha1.GrantSpec{
			ACL: "dev-batch", Actions: []v1alpha1.Action{v1alpha1.ActionRead}, Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "alice"}},
		},
	})).To(Succeed())
}

func key(name string) client.ObjectKey { return client.ObjectKey{Namespace: "metronome", Name: name} }

// canI asks as kubectl auth can-i does.
func canI(t *testing.T, c client.Client, attributes authorizationv1.ResourceAttributes) bool {
	t.Helper()
	attributes.Group, attributes.Version, attributes.Resource, attributes.Namespace = "grantry.dev", "*", "jobs", "metronome"
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// tellAlice is what alice may do, in either mode.
func tellAlice(t *testing.T, alice client.Client) {
	t.Helper()
	g := NewWithT(t)
	g.Eventually(func() error { return alice.Get(t.Context(), key("dev.batch.job1"), &v1alpha1.Job{}) }).WithTimeout(waitFor).Should(Succeed(), "the Grant counts")

	err := alice.Get(t.Context(), key("dev.other"), &v1alpha1.Job{})
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), fmt.Sprint(err))
	g.Expect(err).To(MatchError(ContainSubstring(`user alice may not "read" on jobs dev.other in metronome`)))

	jobs := &v1alpha1.JobList{}
	g.Expect(alice.List(t.Context(), jobs, client.InNamespace("metronome"), client.HasLabels{"in.grantry.dev/dev.batch"})).To(Succeed())
	g.Expect(jobs.Items).To(HaveLen(1))
	g.Expect(jobs.Items[0].Name).To(Equal("dev.batch.job1"))
	g.Expect(alice.List(t.Context(), jobs, client.InNamespace("metronome"), client.MatchingFields{"metadata.name": "dev.batch.job1"})).To(Succeed())
	for what, option := range map[string]client.ListOption{
		"plainly": client.Limit(10), "above": client.HasLabels{"in.grantry.dev/dev"}, "another by name": client.MatchingFields{"metadata.name": "dev.other"},
	} {
		err := alice.List(t.Context(), jobs, client.InNamespace("metronome"), option)
		g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "list %s: %v", what, err)
	}
	g.Expect(apierrors.IsForbidden(alice.Delete(t.Context(), &v1alpha1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "metronome", Name: "dev.batch.job1"}}))).To(BeTrue())
	g.Expect(apierrors.IsForbidden(alice.List(t.Context(), &v1alpha1.GrantList{}))).To(BeTrue())

	pinned := &authorizationv1.LabelSelectorAttributes{Requirements: []metav1.LabelSelectorRequirement{{Key: "in.grantry.dev/dev.batch", Operator: metav1.LabelSelectorOpExists}}}
	for _, tc := range []struct {
		attributes authorizationv1.ResourceAttributes
		want       bool
	}{
		{authorizationv1.ResourceAttributes{Verb: "get", Name: "dev.batch.job1"}, true},
		{authorizationv1.ResourceAttributes{Verb: "get", Name: "dev.other"}, false},
		{authorizationv1.ResourceAttributes{Verb: "list"}, false},
		{authorizationv1.ResourceAttributes{Verb: "list", LabelSelector: pinned}, true},
		{authorizationv1.ResourceAttributes{Verb: "create"}, false},
	} {
		g.Expect(canI(t, alice, tc.attributes)).To(Equal(tc.want), "%+v", tc.attributes)
	}
}

func TestWire_permissive(t *testing.T) {
	environment, admin := start(t, permission.ModePermissive)
	prepare(t, admin)
	tellAlice(t, as(t, environment, "alice"))
}

// TestWire_strict: RBAC alone gives nothing of what is guarded, and everything else.
func TestWire_strict(t *testing.T) {
	environment, admin := start(t, permission.ModeStrict)
	prepare(t, admin)
	tellAlice(t, as(t, environment, "alice"))

	g := NewWithT(t)
	g.Expect(admin.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "carol-admin"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "carol"}},
	})).To(Succeed())
	carol := as(t, environment, "carol")
	g.Eventually(func() error { return carol.List(t.Context(), &corev1.SecretList{}) }).WithTimeout(waitFor).Should(Succeed(), "RBAC knows carol")
	err := carol.Get(t.Context(), key("dev.batch.job1"), &v1alpha1.Job{})
	g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), fmt.Sprint(err))
	g.Expect(carol.List(t.Context(), &corev1.PodList{}, client.InNamespace("default"))).To(Succeed(), "no Jobs are there")
	g.Expect(apierrors.IsForbidden(carol.List(t.Context(), &corev1.PodList{}, client.InNamespace("metronome")))).To(BeTrue(), "Jobs are there")
}
