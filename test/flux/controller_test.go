//go:build e2e

package flux

import (
	"encoding/json"
	"path/filepath"
	"testing"

	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

// account is that of kustomize-controller in Flux' own manifests, which make it a cluster administrator.
const account = "system:serviceaccount:flux-system:kustomize-controller"

// pinned is the module that pins Flux.
const pinned harness.Pinned = "hack/flux"

// definitions are the directories of the CRDs: of Kustomizations, and of the sources that they name.
func definitions(t *testing.T) []string {
	t.Helper()
	version := pinned.Go(t, "list", "-m", "-f", "{{.Version}}", "github.com/fluxcd/source-controller/api")
	var downloaded struct{ Dir string }
	if err := json.Unmarshal([]byte(pinned.Go(t, "mod", "download", "-json", "github.com/fluxcd/source-controller@"+version)), &downloaded); err != nil {
		t.Fatal(err)
	}
	return []string{
		filepath.Join(pinned.Go(t, "list", "-m", "-f", "{{.Dir}}", "github.com/fluxcd/kustomize-controller"), "config", "crd", "bases"),
		filepath.Join(downloaded.Dir, "config", "crd", "bases"),
	}
}

// runController installs what Flux' manifests do of it, and runs kustomize-controller as its account until the test ends. It
// is set up for teams: each Kustomization is applied by an account, and by none that may do anything unless it says so.
func runController(t *testing.T, cluster *harness.Cluster, binary string) *harness.Process {
	t.Helper()
	commands := [][]string{
		{"create", "namespace", "flux-system"},
		{"create", "serviceaccount", "kustomize-controller", "-n", "flux-system"},
		{"create", "clusterrolebinding", "cluster-reconciler", "--clusterrole=cluster-admin", "--serviceaccount=flux-system:kustomize-controller"},
	}
	for _, dir := range definitions(t) {
		commands = append(commands, []string{"apply", "--server-side", "-f", dir}, []string{"wait", "--for=condition=Established", "--timeout=60s", "-f", dir})
	}
	for _, args := range commands {
		if out, err := cluster.Kubectl(t.Context(), "admin", args...); err != nil {
			t.Fatal(out)
		}
	}
	health := grantrytesting.FreeAddress(t)
	controller := cluster.RunProcess(t, account, binary, []string{"RUNTIME_NAMESPACE=flux-system", "TMPDIR=" + t.TempDir()},
		"--health-addr="+health, "--metrics-addr="+grantrytesting.FreeAddress(t), "--default-service-account=default", "--no-cross-namespace-refs=true",
		"--requeue-dependency=2s")
	controller.AwaitReady(t, health, waitFor)
	return controller
}
