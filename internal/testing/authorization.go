package testing

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/grantry/grantry/internal/testing/certificates"
)

// AuthorizeBy makes an API server that has not started ask an authorization webhook on this machine, with a
// shipped configuration: permissive or strict. The webhook is to listen on the address, with the certificates
// in the directory; callers name themselves kube-apiserver.
func AuthorizeBy(tb testing.TB, environment *envtest.Environment, mode string) (address, dir string) {
	tb.Helper()
	address, dir = FreeAddress(tb), tb.TempDir()
	if err := certificates.Write(dir); err != nil {
		tb.Fatal(err)
	}
	copyConfig(tb, "kubeconfig.yaml", filepath.Join(dir, "kubeconfig.yaml"), "/etc/kubernetes/grantry", dir, "127.0.0.1:9443", address)
	copyConfig(tb, mode+".yaml", filepath.Join(dir, "authorization.yaml"), "/etc/kubernetes/grantry", dir)
	environment.ControlPlane.GetAPIServer().Configure().
		Disable("authorization-mode").Set("authorization-config", filepath.Join(dir, "authorization.yaml"))
	return address, dir
}

// FreeAddress is an address of this machine on which nothing listens. Its port is not one of those that Linux gives to
// outgoing connections, of which one might take it before it is used.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	const lowest, highest, tries = 20000, 32000, 100
	for range tries {
		address := fmt.Sprintf("127.0.0.1:%d", lowest+rand.N(highest-lowest)) //nolint:gosec // a port is no secret
		listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", address)
		if err != nil {
			continue // it is taken
		}
		_ = listener.Close()
		return address
	}
	tb.Fatalf("no free port between %d and %d in %d tries", lowest, highest, tries)
	return ""
}

// copyConfig copies a shipped file with other paths in it.
func copyConfig(tb testing.TB, name, to string, replace ...string) {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join(moduleRoot(), "config", "authorization", name))
	if err != nil {
		tb.Fatal(err)
	}
	text := strings.NewReplacer(replace...).Replace(string(content))
	if err := os.WriteFile(to, []byte(text), 0o600); err != nil { //nolint:gosec // a file of the test, in its own directory
		tb.Fatal(err)
	}
}
