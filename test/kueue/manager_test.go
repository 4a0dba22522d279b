//go:build e2e

package kueue

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/grantry/grantry/test/harness"
)

// account is that of Kueue's manager in its own manifests, and in config/admission-policy.
const account = "system:serviceaccount:kueue-system:kueue-controller-manager"

// configuration is Kueue's: batch/v1 Jobs alone, and nothing that needs it to be a pod.
const configuration = `
apiVersion: config.kueue.x-k8s.io/v1beta2
kind: Configuration
namespace: kueue-system
health: {healthProbeBindAddress: "127.0.0.1:%d"}
metrics: {bindAddress: "0"}
webhook: {host: 127.0.0.1, port: %d, certDir: %q}
leaderElection: {leaderElect: false}
internalCertManagement: {enable: true}
integrations: {frameworks: [batch/job]}
featureGates: {VisibilityOnDemand: false}
`

// manager is Kueue's manager, as a process with the rights of its own manifests.
type manager struct{ log string }

// logged says whether the manager has written something.
func (m *manager) logged(t *testing.T, text string) bool {
	t.Helper()
	log, err := os.ReadFile(m.log)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(log, []byte(text))
}

// buildKueue compiles the manager. The Go command keeps what it has compiled: the first time takes minutes.
func buildKueue(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "kueue")
	if out, err := inModule("build", "-o", binary, "sigs.k8s.io/kueue/cmd/kueue"); err != nil {
		t.Fatalf("build Kueue: %v: %s", err, out)
	}
	return binary
}

// inModule runs the Go command in the module that pins Kueue.
func inModule(args ...string) (string, error) {
	root, err := harness.Root()
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join(root, "hack", "kueue")
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// runKueue installs Kueue by its own manifests, but for what calls the manager in a pod (its webhooks, and the
// server of pending workloads), and runs the manager as its own account until the test ends.
func runKueue(t *testing.T, cluster *harness.Cluster, binary string) *manager {
	t.Helper()
	source, err := inModule("list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kueue")
	if err != nil {
		t.Fatalf("find Kueue: %v: %s", err, source)
	}
	const callers = "apiservices,mutatingwebhookconfigurations,validatingwebhookconfigurations"
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", filepath.Join(source, "config", "default")},
		{"delete", "deployment", "-n", "kueue-system", "kueue-controller-manager"},
		{"delete", callers, "-l", "app.kubernetes.io/name=kueue"},
	} {
		if out, err := cluster.Kubectl(t.Context(), "admin", args...); err != nil {
			t.Fatal(out)
		}
	}
	kubeconfig, err := cluster.MintKubeconfig(t.Context(), account, "system:serviceaccounts", "system:serviceaccounts:kueue-system", "system:authenticated")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m := &manager{log: filepath.Join(dir, "kueue.log")}
	health := freePort(t)
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, configuration, health, freePort(t), dir), 0o600); err != nil {
		t.Fatal(err)
	}
	m.run(t, binary, kubeconfig, file)
	mountCertificate(t, cluster, dir)
	awaitReady(t, health)
	return m
}

// run starts the process, and ends it with the test.
func (m *manager) run(t *testing.T, binary, kubeconfig, file string) {
	t.Helper()
	log, err := os.Create(m.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "--config", file, "--zap-log-level=2")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the context has ended by now, and the process with it
		_ = cmd.Wait()
		_ = log.Close()
		if content, _ := os.ReadFile(m.log); t.Failed() {
			t.Logf("the end of Kueue's log:\n%s", content[max(0, len(content)-8<<10):])
		}
	})
}

// mountCertificate puts the certificate that the manager makes for itself where it expects to find it mounted.
func mountCertificate(t *testing.T, cluster *harness.Cluster, dir string) {
	t.Helper()
	config, err := cluster.Config("admin")
	if err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	var made *corev1.Secret
	eventually(t, func() string {
		if made, err = clients.CoreV1().Secrets("kueue-system").Get(t.Context(), "kueue-webhook-server-cert", metav1.GetOptions{}); err != nil || len(made.Data["tls.crt"]) == 0 {
			return fmt.Sprintf("Kueue makes its certificate: %v", err)
		}
		return ""
	})
	for name, content := range made.Data {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func awaitReady(t *testing.T, port int) {
	t.Helper()
	eventually(t, func() string {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", port))
		if err != nil {
			return err.Error()
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return "Kueue is ready: " + response.Status
		}
		return ""
	})
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port
}
