package testing

import (
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
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// AuthorizeBy makes an API server that has not started ask an authorization webhook on this machine, with a
// shipped configuration: permissive or strict. The webhook is to listen on the address, with the certificates
// in the directory; callers name themselves kube-apiserver.
func AuthorizeBy(tb testing.TB, environment *envtest.Environment, mode string) (address, dir string) {
	tb.Helper()
	address, dir = FreeAddress(tb), tb.TempDir()
	writeCertificates(tb, dir)
	copyConfig(tb, "kubeconfig.yaml", filepath.Join(dir, "kubeconfig.yaml"), "/etc/kubernetes/grantry", dir, "127.0.0.1:9443", address)
	copyConfig(tb, mode+".yaml", filepath.Join(dir, "authorization.yaml"), "/etc/kubernetes/grantry", dir)
	environment.ControlPlane.GetAPIServer().Configure().
		Disable("authorization-mode").Set("authorization-config", filepath.Join(dir, "authorization.yaml"))
	return address, dir
}

// FreeAddress is an address of this machine on which nothing listens.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// writeCertificates makes a CA, and a certificate of it for the webhook and for the API server.
func writeCertificates(tb testing.TB, dir string) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver"}, DNSNames: []string{"localhost"},
		NotAfter: time.Now().Add(time.Hour), //nolint:forbidigo // a certificate of today
		IsCA:     true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	for name, content := range map[string][]byte{"tls.crt": certificate, "tls.key": private, "ca.crt": certificate, "client.crt": certificate, "client.key": private} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
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
