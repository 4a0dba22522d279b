package authorization

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key}
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// sign makes a certificate for servers at localhost and for clients, in PEM.
func (a authority) sign(t *testing.T, name string) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func writeFiles(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// ask puts a question that is answered yes to a server, over a connection of its own.
func ask(t *testing.T, server *Server, serverCA authority, certificate *tls.Certificate) error {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(serverCA.certificate)
	config := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+server.Addr().String()+Path,
		bytes.NewReader([]byte(review+`{"resourceAttributes":{"name":"yes"}}}`)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		t.Errorf("status %d", response.StatusCode)
	}
	return response.Body.Close()
}

func TestServer_knowsItsCallers(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	certificate, key := ours.sign(t, "grantry")
	writeFiles(t, dir, map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": ours.pem()})
	prepared := false
	server := &Server{
		Address: "127.0.0.1:0", CertDir: dir, Callers: []string{"apiserver"}, Handler: &Handler{Authorizer: &decider{}, Clock: clock.RealClock{}},
		Prepare: func(context.Context) error { prepared = true; return nil },
	}
	if server.NeedLeaderElection() {
		t.Error("only the leader would answer")
	}
	if server.ReadyCheck(nil) == nil || server.Addr() != nil {
		t.Error("ready before it listens")
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- server.Start(ctx) }()
	deadline := time.After(10 * time.Second)
	for server.ReadyCheck(nil) != nil {
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-deadline:
			t.Fatal("it does not listen")
		default:
			time.Sleep(time.Millisecond)
		}
	}
	if !prepared {
		t.Error("it serves unprepared")
	}

	pair := func(a authority, name string) *tls.Certificate {
		c, err := tls.X509KeyPair(a.sign(t, name))
		if err != nil {
			t.Fatal(err)
		}
		return &c
	}
	caller, foreign := pair(ours, "apiserver"), pair(theirs, "apiserver")
	if err := ask(t, server, ours, caller); err != nil {
		t.Errorf("the API server: %v", err)
	}
	for who, c := range map[string]*tls.Certificate{"nobody": nil, "a stranger": foreign, "another of ours": pair(ours, "alice")} {
		if ask(t, server, ours, c) == nil {
			t.Errorf("%s was answered", who)
		}
	}
	writeFiles(t, dir, map[string][]byte{"ca.crt": theirs.pem()})
	if err := ask(t, server, ours, foreign); err != nil {
		t.Errorf("after the CA was replaced, its caller: %v", err)
	}
	if ask(t, server, ours, caller) == nil {
		t.Error("after the CA was replaced, the old caller was answered")
	}
	writeFiles(t, dir, map[string][]byte{"ca.crt": []byte("broken")})
	if ask(t, server, ours, foreign) == nil {
		t.Error("with a broken CA somebody was answered")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	if server.ReadyCheck(nil) == nil {
		t.Error("ready after its end")
	}
}

func TestServer_doesNotStart(t *testing.T) {
	t.Parallel()
	certificate, key := newAuthority(t).sign(t, "grantry")
	unprepared := errors.New("no cache")
	cases := map[string]struct {
		server *Server
		files  map[string][]byte
		want   string
	}{
		"without a certificate": {want: "read the certificate"},
		"without a CA":          {files: map[string][]byte{"tls.crt": certificate, "tls.key": key}, want: "callers"},
		"with an empty CA":      {files: map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": nil}, want: "holds no certificate"},
		"unprepared": {
			server: &Server{Prepare: func(context.Context) error { return unprepared }},
			files:  map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": newAuthority(t).pem()}, want: "no cache",
		},
		"without an address": {
			server: &Server{Address: "nowhere"},
			files:  map[string][]byte{"tls.crt": certificate, "tls.key": key, "ca.crt": newAuthority(t).pem()}, want: "listen",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.server == nil {
				tc.server = &Server{}
			}
			tc.server.CertDir, tc.server.Handler = t.TempDir(), http.NotFoundHandler()
			writeFiles(t, tc.server.CertDir, tc.files)
			if err := tc.server.Start(t.Context()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("started with %v", err)
			}
		})
	}
}
