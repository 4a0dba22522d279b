package admission

import (
	"context"
	"crypto/rand"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/grantry/grantry/internal/attestation"
)

// keyEntry is where the Secret of the certificates has the key by which admission attests what it lets in.
const keyEntry = "attestation.key"

// LoadKey reads the key that all replicas share from a Secret, which must exist; the first replica makes it.
func LoadKey(ctx context.Context, c client.Client, secret types.NamespacedName) (attestation.Key, error) {
	var key attestation.Key
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		held := &corev1.Secret{}
		if err := c.Get(ctx, secret, held); err != nil {
			return fmt.Errorf("read the attestation key: %w", err)
		}
		if data, ok := held.Data[keyEntry]; ok {
			parsed, err := attestation.ParseKey(data)
			if err != nil {
				return fmt.Errorf("entry %s of Secret %s: %w: delete the entry and restart every replica, the first makes another key", keyEntry, secret, err)
			}
			key = parsed
			return nil
		}
		key = make([]byte, attestation.KeySize)
		if _, err := rand.Read(key); err != nil {
			return fmt.Errorf("make an attestation key: %w", err)
		}
		if held.Data == nil {
			held.Data = map[string][]byte{}
		}
		held.Data[keyEntry] = key
		return c.Update(ctx, held) // of the version that was read: one replica wins
	})
	return key, err
}
