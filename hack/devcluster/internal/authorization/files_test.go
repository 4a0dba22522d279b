package authorization

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// shipped is the repository's own directory.
var shipped = filepath.Join("..", "..", "..", "..", "config", "authorization")

// newCluster has the directories that Write writes into.
func newCluster(t *testing.T) *cluster.Cluster {
	t.Helper()
	t.Setenv("GRANTRY_STATE", t.TempDir())
	c, err := cluster.New(cluster.Settings{Name: "dev"})
	if err != nil {
		t.Skip(err) // the test's own directory may be too long for sockets
	}
	c.Ports.Webhook = 4711
	if err := os.MkdirAll(c.AuthorizationFile(""), 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWrite_namesOnlyTheClustersOwnFiles(t *testing.T) {
	c := newCluster(t)
	for _, mode := range []Mode{Disabled, Permissive, Strict} {
		if err := Write(c, shipped, mode); err != nil {
			t.Fatal(err)
		}
		if current, err := Current(c); err != nil || current != mode {
			t.Errorf("mode %s, %v; want %s", current, err, mode)
		}
		for file, want := range map[string]string{ConfigFile: c.AuthorizationFile(kubeconfigFile), kubeconfigFile: "https://127.0.0.1:4711/authorize"} {
			data, err := os.ReadFile(c.AuthorizationFile(file))
			if err != nil {
				t.Fatal(err)
			}
			if named := strings.Contains(string(data), want); named == (mode == Disabled && file == ConfigFile) {
				t.Errorf("%s: %s names %s: %t", mode, file, want, named)
			}
			if strings.Contains(string(data), shippedDir) || strings.Contains(string(data), shippedAddress) {
				t.Errorf("%s: %s has a shipped path or address:\n%s", mode, file, data)
			}
		}
	}
}

func TestWrite_refusesAFileThatNamesOtherPaths(t *testing.T) {
	c, dir := newCluster(t), t.TempDir()
	for _, name := range []string{"kubeconfig.yaml", "strict.yaml"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("kind: Other\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Write(c, dir, Strict); err == nil || !strings.Contains(err.Error(), "does not name") {
		t.Errorf("error %v", err)
	}
}

func TestRenderConfig_isTheSameWhateverTheComments(t *testing.T) {
	c, dir := newCluster(t), t.TempDir()
	const config = "kind: AuthorizationConfiguration # stays\n"
	var rendered []string
	for _, comment := range []string{"# one\n", "  # another\n#\n", ""} {
		if err := os.WriteFile(filepath.Join(dir, "disabled.yaml"), []byte(comment+config), 0o600); err != nil {
			t.Fatal(err)
		}
		data, err := renderConfig(c, dir, Disabled)
		if err != nil {
			t.Fatal(err)
		}
		rendered = append(rendered, string(data))
	}
	for _, one := range rendered {
		if one != header+"disabled\n"+config {
			t.Errorf("rendered %q", one)
		}
	}
}

func TestCurrent_isCustomWithAFileOfTheUsers(t *testing.T) {
	c := newCluster(t)
	c.AuthorizationConfig = "/somewhere.yaml"
	if mode, err := Current(c); err != nil || mode != Custom {
		t.Errorf("mode %s, %v", mode, err)
	}
	if err := Switch(t.Context(), c, shipped, Strict); err == nil || !strings.Contains(err.Error(), "edit that file") {
		t.Errorf("switch: %v", err)
	}
}

func TestRedirect(t *testing.T) {
	c := newCluster(t)
	if err := Write(c, shipped, Disabled); err != nil {
		t.Fatal(err)
	}
	if err := Redirect(c, shipped, "10.0.0.1:443"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(c.AuthorizationFile(kubeconfigFile))
	if err != nil || !strings.Contains(string(data), "https://10.0.0.1:443/authorize") {
		t.Errorf("%v: the kubeconfig is\n%s", err, data)
	}
	if found, err := cluster.LoadDir(c.Dir); err != nil || found.WebhookAddress() != "10.0.0.1:443" {
		t.Errorf("recorded: %+v, %v", found, err)
	}
	if err := Write(c, shipped, Strict); err != nil {
		t.Fatal(err)
	}
	if err := Redirect(c, shipped, "10.0.0.2:443"); err == nil || !strings.Contains(err.Error(), "switch to mode disabled first") {
		t.Errorf("redirected while the API server asks: %v", err)
	}
}
