//go:build e2e

package chaos

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// renewed waits until every replica serves another certificate than before, at the addresses where it does so.
func (s *site) renewed(t *testing.T, at func(*replica) string, renew func()) (wait func()) {
	t.Helper()
	before := map[string]string{}
	for _, r := range s.replicas {
		s.insist(t, "look at a certificate", func(context.Context) (err error) {
			before[at(r)], err = servedAt(at(r))
			return err
		})
	}
	renew()
	return func() {
		s.eventually(t, waitFor, "every replica serves a new certificate", func() bool {
			for address, old := range before {
				if now, err := servedAt(address); err != nil || now == old {
					return false
				}
			}
			return true
		})
	}
}

// servedAt is a digest of the certificate that is served at an address.
func servedAt(address string) (string, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	connection, err := tls.DialWithDialer(dialer, "tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return "", err
	}
	defer func() { _ = connection.Close() }()
	return fmt.Sprintf("%x", sha256.Sum256(connection.ConnectionState().PeerCertificates[0].Raw)), nil
}

// forgetAuthority takes the CA out of the Secret. Grantry makes a new one, and a certificate by it.
func (s *site) forgetAuthority(t *testing.T) {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "grantry-system", Name: "grantry-admission"}}
	s.insist(t, "take the CA out of the Secret", func(ctx context.Context) error {
		return s.admin.Patch(ctx, secret, client.RawPatch(types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/ca.crt"}]`)))
	})
}

// reissue replaces the files that the replicas serve the authorization webhook with.
func (s *site) reissue(t *testing.T) {
	t.Helper()
	if err := s.Webhook.Reissue(s.Webhook.CertDir, time.Now().Add(12*time.Hour)); err != nil {
		t.Error(err)
	}
}
