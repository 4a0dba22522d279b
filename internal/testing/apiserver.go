// Package testing is what several packages' tests share. Only tests import it.
package testing

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/grantry/grantry/api/v1alpha1"
)

// Scheme knows the kinds of Kubernetes and ours.
var Scheme = newScheme()

func newScheme() *apiruntime.Scheme {
	s := apiruntime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}

// assetsVariable says where kube-apiserver and etcd are.
const assetsVariable = "KUBEBUILDER_ASSETS"

// APIServer is a real API server with our CRDs, one for all tests of a package. Start it in TestMain.
type APIServer struct {
	environment *envtest.Environment
	config      *rest.Config
}

// StartAPIServer starts an API server if the environment says where one is. Without one the tests that
// need none still run, and Require explains the others.
func StartAPIServer() (*APIServer, error) {
	if os.Getenv(assetsVariable) == "" {
		return &APIServer{}, nil
	}
	environment := NewEnvironment()
	config, err := environment.Start()
	if err != nil {
		return nil, fmt.Errorf("start an API server from %s: %w", os.Getenv(assetsVariable), err)
	}
	return &APIServer{environment: environment, config: config}, nil
}

// Stop ends the API server.
func (s *APIServer) Stop() error {
	if s.environment == nil {
		return nil
	}
	return s.environment.Stop()
}

// Require returns how to reach the API server. Without one the test is skipped, and fails in CI, so
// that a missing API server can't look green.
func (s *APIServer) Require(tb testing.TB) *rest.Config {
	tb.Helper()
	RequireAPIServer(tb)
	return rest.CopyConfig(s.config)
}

// RequireAPIServer skips a test if the environment does not say where an API server is, and fails it in CI.
func RequireAPIServer(tb testing.TB) {
	tb.Helper()
	if os.Getenv(assetsVariable) != "" {
		return
	}
	const how = "this test needs an API server: run `make test`, or set " + assetsVariable +
		" to a directory with kube-apiserver and etcd"
	if os.Getenv("CI") == "true" {
		tb.Fatal(how)
	}
	tb.Skip(how)
}

// NewEnvironment is an API server with our CRDs, to be configured further and started by StartEnvironment.
func NewEnvironment() *envtest.Environment {
	return &envtest.Environment{
		CRDDirectoryPaths:     []string{filepath.Join(moduleRoot(), "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
		Scheme:                Scheme,
	}
}

// StartEnvironment runs an API server until the test ends. The client is in system:masters, and unlimited.
func StartEnvironment(tb testing.TB, environment *envtest.Environment) client.Client {
	tb.Helper()
	RequireAPIServer(tb)
	config, err := environment.Start()
	if err != nil {
		tb.Fatalf("start an API server: %v", err)
	}
	tb.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			tb.Errorf("stop the API server: %v", err)
		}
	})
	config.QPS = -1
	admin, err := client.New(config, client.Options{Scheme: Scheme})
	if err != nil {
		tb.Fatalf("make a client: %v", err)
	}
	return admin
}

// Client returns a client of the API server that reads and writes directly.
func (s *APIServer) Client(tb testing.TB) client.Client {
	tb.Helper()
	c, err := client.New(s.Require(tb), client.Options{Scheme: Scheme})
	if err != nil {
		tb.Fatalf("make a client: %v", err)
	}
	return c
}

// Strict is Client, and refuses fields that the API server does not know, as kubectl does.
func (s *APIServer) Strict(tb testing.TB) client.Client {
	tb.Helper()
	return client.WithFieldValidation(s.Client(tb), metav1.FieldValidationStrict)
}

// Main runs the tests of a package with the API server that it leaves in *server. Call it from TestMain.
func Main(m *testing.M, server **APIServer) (code int) {
	ctrl.SetLogger(logr.Discard()) // what the code logs is not what its tests look at
	started, err := StartAPIServer()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	*server = started
	code = m.Run()
	if err := started.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the API server:", err)
		code = max(code, 1)
	}
	return code
}

// moduleRoot is where go.mod is, from wherever the test runs.
func moduleRoot() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}
