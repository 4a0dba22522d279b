// Package authorization proves on the wire that the API server asks Grantry's operator, with the configurations
// that are shipped, and that users feel the answers: real certificates of users, a real API server, and the real
// program with no rights but those of config/rbac.
package authorization

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/internal/testing/certificates"
	"github.com/grantry/grantry/test/harness"
)

const (
	// waitFor bounds what must come about soon.
	waitFor = 30 * time.Second
	// instance is the namespace of the Jobs, the default instance.
	instance = "metronome"
)

// program is the operator's binary.
var program string

func TestMain(m *testing.M) { os.Exit(harness.Main(m, &program)) }

// site is an API server with one of the shipped configurations, which asks whoever listens at an address.
type site struct {
	environment *envtest.Environment
	admin       client.Client // in system:masters, whom the API server asks nobody about
	dir         string
	address     string
}

// newSite starts an API server with a shipped configuration. Nobody listens at the address yet.
func newSite(t *testing.T, configuration string) *site {
	t.Helper()
	s := &site{environment: grantrytesting.NewEnvironment()}
	s.address, s.dir = grantrytesting.AuthorizeBy(t, s.environment, configuration)
	s.admin = grantrytesting.StartEnvironment(t, s.environment)
	for _, name := range []string{instance, "team", "grantry-system"} {
		s.create(t, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	s.install(t, "rbac/role.yaml", "rbac/role_binding.yaml", "rbac/leader_election_role.yaml", "rbac/leader_election_role_binding.yaml")
	return s
}

// operate starts an operator that listens at an address, and waits until it is ready.
func (s *site) operate(t *testing.T, mode, address string, args ...string) *harness.Operator {
	t.Helper()
	return harness.RunOperator(t, s.environment, s.dir, program, append([]string{
		"--mode", mode, "--authorization-bind-address", address, "--authorization-cert-dir", s.dir, "--authorization-client-names", certificates.Caller,
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

// install creates what files of config have.
func (s *site) install(t *testing.T, files ...string) {
	t.Helper()
	for _, object := range grantrytesting.Shipped(t, files...) {
		s.create(t, object)
	}
}

// user is somebody with a certificate.
type user struct {
	envtest.AuthenticatedUser
	name string
	http *http.Client
}

// user makes a certificate with a name and groups.
func (s *site) user(t *testing.T, name string, groups ...string) *user {
	t.Helper()
	made, err := s.environment.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	u := &user{AuthenticatedUser: *made, name: name}
	if u.http, err = rest.HTTPClientFor(made.Config()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.http.CloseIdleConnections)
	return u
}

// client is a typed client of the user's.
func (u *user) client(t *testing.T) client.WithWatch {
	t.Helper()
	c, err := client.NewWithWatch(u.Config(), client.Options{Scheme: grantrytesting.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// url is where a path of the API server is.
func (u *user) url(path string) string { return strings.TrimSuffix(u.Config().Host, "/") + path }
