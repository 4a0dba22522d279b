package bypass

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// TestOperatorAccount: the policies let through the account of Grantry, whatever it is called.
func TestOperatorAccount(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(config)); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ settings, want string }{
		"as it is shipped":                    {"", "'system:serviceaccount:grantry-system:grantry:'"},
		"in another namespace, with a prefix": {"namespace: team\nnamePrefix: my-\n", "'system:serviceaccount:team:my-grantry:'"},
	} {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(filepath.Join(config, "default", "kustomization.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "default", "kustomization.yaml"), append(content, tc.settings...), 0o600); err != nil {
				t.Fatal(err)
			}
			out := string(grantrytesting.Kustomize(t, filepath.Join(dir, "default")))
			policies := strings.Count(out, "name: not-grantry\n")
			if got := strings.Count(out, tc.want); got != policies || policies == 0 {
				t.Errorf("%d of %d policies let %s through", got, policies, tc.want)
			}
		})
	}
}
