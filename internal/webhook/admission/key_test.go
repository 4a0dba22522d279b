package admission

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/grantry/grantry/internal/attestation"
)

// A key that can't be one ends the process: the message says where it is, and what it says to do works.
func TestLoadKey_saysWhatToDoAboutABadOne(t *testing.T) {
	t.Parallel()
	name := types.NamespacedName{Namespace: "grantry-system", Name: "grantry-admission"}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}, Data: map[string][]byte{"attestation.key": []byte("mine\n")},
	}
	c := fake.NewClientBuilder().WithObjects(secret).Build()
	key, err := LoadKey(t.Context(), c, name)
	const want = "entry attestation.key of Secret grantry-system/grantry-admission: the attestation key has 5 bytes instead of 32: " +
		"delete the entry and restart every replica, the first makes another key"
	if err == nil || err.Error() != want || key != nil {
		t.Fatalf("LoadKey() = %d bytes, %v; want %s", len(key), err, want)
	}
	if err := c.Patch(t.Context(), secret, client.RawPatch(types.JSONPatchType, []byte(`[{"op": "remove", "path": "/data/attestation.key"}]`))); err != nil {
		t.Fatal(err)
	}
	made, err := LoadKey(t.Context(), c, name)
	if err != nil || len(made) != attestation.KeySize {
		t.Fatalf("LoadKey() = %d bytes, %v", len(made), err)
	}
	if again, err := LoadKey(t.Context(), c, name); err != nil || string(again) != string(made) {
		t.Errorf("another replica has another key: %v", err)
	}
}
