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

// served are the certificates with which the replicas serve admission, by address.
func (s *site) served(t *testing.T) map[string]string {
	t.Helper()
	served := map[string]string{}
	for _, r := range s.replicas {
		s.insist(t, "look at a certificate", func(context.Context) (err error) {
			served[r.admit], err = servedAt(r.admit)
			return err
		})
	}
	return served
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
