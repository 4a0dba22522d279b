//go:build cluster

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestIntegrationMode switches the mode of a running cluster on which nobody serves the authorization webhook, and
// looks at what becomes of the requests of one whom RBAC lets do everything.
func TestIntegrationMode(t *testing.T) {
	program := build(t)

	run(t, program, "up", "--name", "mode", "--nodes=none", "--mode=strict")
	t.Cleanup(func() { run(t, program, "down", "--name", "mode") })
	var status []struct {
		Kubectl       string
		Kubeconfigs   map[string]string
		Authorization struct{ Mode, Address, CertDir string }
	}
	if err := json.Unmarshal(run(t, program, "status", "--name", "mode", "--output", "json"), &status); err != nil {
		t.Fatal(err)
	}
	cluster := status[0]
	if cluster.Authorization.Mode != "strict" || !strings.HasPrefix(cluster.Authorization.Address, "127.0.0.1:") {
		t.Errorf("status: %+v", cluster.Authorization)
	}
	for _, file := range []string{"tls.crt", "tls.key", "ca.crt"} {
		if _, err := os.Stat(filepath.Join(cluster.Authorization.CertDir, file)); err != nil {
			t.Error(err)
		}
	}
	run(t, cluster.Kubectl, "--kubeconfig", cluster.Kubeconfigs["admin"], "create", "clusterrolebinding", "carol", "--clusterrole=cluster-admin", "--user=carol")

	const guarded, unguarded = "/apis/grantry.dev/v1alpha1/namespaces/default/jobs", "/api/v1/namespaces/default/secrets"
	answer := func(user, path string) string {
		out, err := exec.Command(cluster.Kubectl, "--kubeconfig", cluster.Kubeconfigs[user], "get", "--raw", path).CombinedOutput()
		switch {
		case err == nil:
			return "found"
		case strings.Contains(string(out), "NotFound"):
			return "not found" // there is no CRD: the request was allowed
		default:
			return "refused"
		}
	}
	expect := func(mode string, wantCarol string) {
		t.Helper()
		if got := strings.TrimSpace(string(run(t, program, "mode", "--name", "mode"))); got != mode {
			t.Errorf("mode %s, want %s", got, mode)
		}
		for _, tc := range []struct{ user, path, want string }{
			{"carol", guarded, wantCarol}, {"carol", unguarded, "found"}, {"admin", guarded, "not found"}, {"alice", guarded, "refused"},
		} {
			if got := answer(tc.user, tc.path); got != tc.want {
				t.Errorf("%s: %s asks for %s: %s, want %s", mode, tc.user, tc.path, got, tc.want)
			}
		}
	}
	expect("strict", "refused")
	for _, step := range []struct{ mode, wantCarol string }{
		{"permissive", "not found"}, {"strict", "refused"}, {"strict", "refused"}, {"disabled", "not found"}, {"strict", "refused"},
	} {
		run(t, program, "mode", "--name", "mode", step.mode)
		expect(step.mode, step.wantCarol)
	}

	// A configuration that the API server refuses is taken back.
	t.Setenv("GRANTRY_DEVCLUSTER_SOURCE", brokenSource(t))
	out, err := exec.Command(program, "mode", "--name", "mode", "permissive").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "refused the configuration") || !strings.Contains(string(out), "failurePolicy") {
		t.Errorf("a broken configuration: %v\n%s", err, out)
	}
	expect("strict", "refused")
	run(t, program, "mode", "--name", "mode", "disabled")
	expect("disabled", "not found")
}

// brokenSource is a source tree whose permissive configuration no API server takes.
func brokenSource(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	source := filepath.Join(root, "hack", "devcluster")
	write := func(name, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(source, "kubernetes", "go.mod"), "")
	for _, name := range []string{"disabled.yaml", "permissive.yaml"} {
		content, err := os.ReadFile(filepath.Join("..", "..", "config", "authorization", name))
		if err != nil {
			t.Fatal(err)
		}
		write(filepath.Join(root, "config", "authorization", name), strings.ReplaceAll(string(content), "failurePolicy: NoOpinion", "failurePolicy: Whatever"))
	}
	return source
}
