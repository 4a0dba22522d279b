//go:build e2e

package flux

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

// account is that of kustomize-controller in Flux' own manifests, which make it a cluster administrator.
const account = "system:serviceaccount:flux-system:kustomize-controller"

// controller is Flux' kustomize-controller, as a process with the rights of its account.
type controller struct{ log string }

// logged says whether the controller has written a line with all of these.
func (c *controller) logged(t *testing.T, parts ...string) bool {
	t.Helper()
	log, err := os.ReadFile(c.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(log) {
		if containsAll(string(line), parts) {
			return true
		}
	}
	return false
}

// buildController compiles kustomize-controller. The Go command keeps what it has compiled: the first time takes minutes.
func buildController(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "kustomize-controller")
	inModule(t, "build", "-o", binary, "github.com/fluxcd/kustomize-controller")
	return binary
}

// inModule runs the Go command in the module that pins Flux.
func inModule(t *testing.T, args ...string) string {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir, cmd.Stderr = filepath.Join(root, "hack", "flux"), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// definitions are the directories of the CRDs: of Kustomizations, and of the sources that they name.
func definitions(t *testing.T) []string {
	t.Helper()
	version := inModule(t, "list", "-m", "-f", "{{.Version}}", "github.com/fluxcd/source-controller/api")
	var downloaded struct{ Dir string }
	if err := json.Unmarshal([]byte(inModule(t, "mod", "download", "-json", "github.com/fluxcd/source-controller@"+version)), &downloaded); err != nil {
		t.Fatal(err)
	}
	return []string{
		filepath.Join(inModule(t, "list", "-m", "-f", "{{.Dir}}", "github.com/fluxcd/kustomize-controller"), "config", "crd", "bases"),
		filepath.Join(downloaded.Dir, "config", "crd", "bases"),
	}
}

// runController installs what Flux' manifests do of it, and runs kustomize-controller as its account until the test ends. It
// is set up for teams: each Kustomization is applied by an account, and by none that may do anything unless it says so.
func runController(t *testing.T, cluster *harness.Cluster, binary string) *controller {
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
	kubeconfig, err := cluster.MintKubeconfig(t.Context(), account, "system:serviceaccounts", "system:serviceaccounts:flux-system", "system:authenticated")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &controller{log: filepath.Join(dir, "kustomize-controller.log")}
	log, err := os.Create(c.log)
	if err != nil {
		t.Fatal(err)
	}
	health := grantrytesting.FreeAddress(t)
	cmd := exec.CommandContext(t.Context(), binary,
		"--health-addr="+health, "--metrics-addr="+grantrytesting.FreeAddress(t), "--default-service-account=default", "--no-cross-namespace-refs=true",
		"--requeue-dependency=2s")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "RUNTIME_NAMESPACE=flux-system", "TMPDIR="+dir)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the context has ended by now, and the process with it
		_ = cmd.Wait()
		_ = log.Close()
		if content, _ := os.ReadFile(c.log); t.Failed() {
			t.Logf("the end of kustomize-controller's log:\n%s", content[max(0, len(content)-8<<10):])
		}
	})
	eventually(t, func() string {
		response, err := http.Get("http://" + health + "/readyz")
		if err != nil {
			return err.Error()
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return "kustomize-controller is ready: " + response.Status
		}
		return ""
	})
	return c
}
