// Package cel tries the schema and the CEL rules of the CRDs on a real API server: what one object can
// decide is decided there, with a message that people read.
package cel

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/grantry/grantry/api/v1alpha1"
)

// crdDir is where controller-gen writes the CRDs.
var crdDir = filepath.Join("..", "..", "config", "crd", "bases")

var (
	config  *rest.Config
	objects client.Client
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		const hint = "test/cel needs an API server: run `make test`, which sets KUBEBUILDER_ASSETS"
		if os.Getenv("CI") == "true" {
			fmt.Fprintln(os.Stderr, "FAIL: "+hint)
			return 1
		}
		fmt.Fprintln(os.Stderr, "SKIP: "+hint)
		return 0
	}
	environment := &envtest.Environment{CRDDirectoryPaths: []string{crdDir}, ErrorIfCRDPathMissing: true}
	var err error
	if config, err = environment.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: start the API server with the CRDs:", err)
		return 1
	}
	defer func() {
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the API server:", err)
		}
	}()
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	if objects, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL: make a client:", err)
		return 1
	}
	return m.Run()
}
