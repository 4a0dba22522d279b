package pki

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"
)

func TestIssue_clientAndServer(t *testing.T) {
	_, authorityPair, err := NewAuthority("test-ca")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := authorityPair.Write(dir, "ca"); err != nil {
		t.Fatal(err)
	}
	read, err := ReadPair(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	authority, err := ParseAuthority(read)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read.Certificate)

	for name, tc := range map[string]struct {
		subject   Subject
		host      string
		usage     x509.ExtKeyUsage
		wantError bool
	}{
		"a user is a client":               {subject: Subject{Name: "alice", Groups: []string{"dev", "ops"}}, usage: x509.ExtKeyUsageClientAuth},
		"a user can't serve":               {subject: Subject{Name: "alice"}, usage: x509.ExtKeyUsageServerAuth, wantError: true},
		"a server serves its address":      {subject: Subject{Name: "api", Hosts: []string{"127.0.0.1"}}, host: "127.0.0.1", usage: x509.ExtKeyUsageServerAuth},
		"a server serves its name":         {subject: Subject{Name: "api", Hosts: []string{"localhost"}}, host: "localhost", usage: x509.ExtKeyUsageServerAuth},
		"a server serves no other address": {subject: Subject{Name: "api", Hosts: []string{"127.0.0.1"}}, host: "127.0.0.2", usage: x509.ExtKeyUsageServerAuth, wantError: true},
	} {
		t.Run(name, func(t *testing.T) {
			pair, err := authority.Issue(tc.subject)
			if err != nil {
				t.Fatal(err)
			}
			block, _ := pem.Decode(pair.Certificate)
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			_, err = certificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: tc.host, KeyUsages: []x509.ExtKeyUsage{tc.usage}})
			if (err != nil) != tc.wantError {
				t.Errorf("Verify: %v, want an error: %v", err, tc.wantError)
			}
			if certificate.Subject.CommonName != tc.subject.Name || !slices.Equal(certificate.Subject.Organization, tc.subject.Groups) {
				t.Errorf("subject %v, want %v", certificate.Subject, tc.subject)
			}
		})
	}
}

func TestParseAuthority_notPEM(t *testing.T) {
	if _, err := ParseAuthority(Pair{Certificate: []byte("x"), Key: []byte("y")}); err == nil {
		t.Error("accepted an authority that is no PEM")
	}
}
