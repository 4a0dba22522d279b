// Package security tries what somebody would who wants to bring Grantry down, or to learn what it does not show: on a
// real API server in strict mode, and on the real operator with no rights but those of config/rbac.
// docs/threat-model.md says what each test shows.
package security

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/grantry/grantry/api/v1alpha1"
	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/internal/testing/certificates"
	"github.com/grantry/grantry/test/harness"
)

const (
	// waitFor bounds what must come about, also on a machine that stands still for some seconds.
	waitFor = time.Minute
	// instance is the namespace of the Jobs, the default instance.
	instance = "metronome"
)

// program is the operator's binary.
var program string

func TestMain(m *testing.M) { os.Exit(harness.Main(m, &program)) }

// site is an API server that asks an operator about everything that it can be asked about.
type site struct {
	environment *envtest.Environment
	admin       client.Client // in system:masters
	dir         string        // has the certificates of the authorization webhook and of its caller
	operator    *harness.Operator
	alice       client.Client // may do everything below dev

	authorization, admission, metrics string // addresses
}

// newSite starts an API server and an operator. configure may change the API server before.
func newSite(t *testing.T, configure func(s *site), args ...string) *site {
	t.Helper()
	g := NewWithT(t)
	s := &site{environment: grantrytesting.NewEnvironment()}
	s.authorization, s.dir = grantrytesting.AuthorizeBy(t, s.environment, "strict")
	s.admission, s.metrics = grantrytesting.FreeAddress(t), grantrytesting.FreeAddress(t)
	if configure != nil {
		configure(s)
	}
	s.admin = grantrytesting.StartEnvironment(t, s.environment)
	for _, name := range []string{instance, "grantry-system"} {
		s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	s.install(t)
	s.operate(t, args...)
	s.create(t,
		&v1alpha1.ACL{ObjectMeta: metav1.ObjectMeta{Name: "dev"}, Spec: v1alpha1.ACLSpec{Resource: "dcos:service:metronome:" + instance + ":jobs:dev"}},
		&v1alpha1.Grant{ObjectMeta: metav1.ObjectMeta{Name: "alice"}, Spec: v1alpha1.GrantSpec{
			ACL: "dev", Subjects: []v1alpha1.Subject{{Kind: v1alpha1.UserSubject, Name: "alice"}}, Actions: []v1alpha1.Action{v1alpha1.ActionFull},
		}},
	)
	s.alice = s.client(t, "alice")
	g.Eventually(func() error { return s.list(t.Context()) }).WithTimeout(waitFor).Should(Succeed(), "the Grant counts")
	return s
}

// install applies the operator's rights, the Secret of its webhooks, and their configurations.
func (s *site) install(t *testing.T) {
	t.Helper()
	for _, object := range grantrytesting.Shipped(t, "rbac/*.yaml", "webhook/secret.yaml") {
		s.create(t, object)
	}
	_, port, err := net.SplitHostPort(s.admission)
	if err != nil {
		t.Fatal(err)
	}
	configurations, err := grantrytesting.WebhookConfigurations("https://localhost:" + port)
	if err != nil {
		t.Fatal(err)
	}
	s.create(t, configurations...)
}

// operate starts an operator, and waits until it is ready.
func (s *site) operate(t *testing.T, args ...string) {
	t.Helper()
	s.operator = harness.RunOperator(t, s.environment, s.dir, program, append([]string{
		"--mode=strict", "--authorization-bind-address", s.authorization, "--authorization-cert-dir", s.dir, "--authorization-client-names", certificates.Caller,
		"--admission-bind-address", s.admission, "--admission-dns-names=localhost",
		"--metrics-secure=true", "--metrics-bind-address", s.metrics,
	}, args...)...)
}

func (s *site) create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, object := range objects {
		if err := s.admin.Create(t.Context(), object); err != nil {
			t.Fatalf("create %T %s: %v", object, object.GetName(), err)
		}
	}
}

// user makes a certificate with a name and groups.
func (s *site) user(t *testing.T, name string, groups ...string) *envtest.AuthenticatedUser {
	t.Helper()
	made, err := s.environment.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (s *site) client(t *testing.T, name string) client.Client {
	t.Helper()
	c, err := client.New(s.user(t, name).Config(), client.Options{Scheme: grantrytesting.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// list asks the API server what the authorization webhook decides.
func (s *site) list(ctx context.Context) error {
	return s.alice.List(ctx, &v1alpha1.JobList{}, client.InNamespace(instance), client.HasLabels{v1alpha1.AncestorLabelPrefix + "dev"})
}

// write asks the API server what both webhooks decide.
func (s *site) write(ctx context.Context) error {
	return s.alice.Create(ctx, job("dev.job"), client.DryRunAll)
}

func job(name string) *v1alpha1.Job {
	return &v1alpha1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: instance, Name: name},
		Spec:       v1alpha1.JobSpec{StartPolicy: v1alpha1.StartOnDemand, Run: &v1alpha1.RunSpec{Cmd: "true"}},
	}
}
