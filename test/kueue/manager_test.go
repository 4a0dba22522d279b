//go:build e2e

package kueue

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	grantrytesting "github.com/grantry/grantry/internal/testing"
	"github.com/grantry/grantry/test/harness"
)

// account is that of Kueue's manager in its own manifests, and in config/admission-policy.
const account = "system:serviceaccount:kueue-system:kueue-controller-manager"

// pinned is the module that pins Kueue.
const pinned harness.Pinned = "hack/kueue"

// configuration is Kueue's: batch/v1 Jobs alone, and nothing that needs it to be a pod.
const configuration = `
apiVersion: config.kueue.x-k8s.io/v1beta2
kind: Configuration
namespace: kueue-system
health: {healthProbeBindAddress: %q}
metrics: {bindAddress: "0"}
webhook: {host: 127.0.0.1, port: %d, certDir: %q}
leaderElection: {leaderElect: false}
internalCertManagement: {enable: true}
integrations: {frameworks: [batch/job]}
featureGates: {VisibilityOnDemand: false}
`

// runKueue installs Kueue by its own manifests, but for what calls the manager in a pod (its webhooks, and the
// server of pending workloads), and runs the manager as its own account until the test ends.
func runKueue(t *testing.T, cluster *harness.Cluster, binary string) *harness.Process {
	t.Helper()
	source := pinned.Go(t, "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kueue")
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
	dir, health, webhook := t.TempDir(), grantrytesting.FreeAddress(t), netip.MustParseAddrPort(grantrytesting.FreeAddress(t))
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, configuration, health, webhook.Port(), dir), 0o600); err != nil {
		t.Fatal(err)
	}
	manager := cluster.RunProcess(t, account, binary, nil, "--config", file, "--zap-log-level=2")
	mountCertificate(t, cluster, dir)
	manager.AwaitReady(t, health, waitFor)
	return manager
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
	harness.Eventually(t, waitFor, func() string {
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
