// Package authorization sets up and switches a cluster's security mode: which of the configurations in the
// repository's config/authorization the API server has.
package authorization

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// Mode names a file in config/authorization.
type Mode string

const (
	Disabled   Mode = "disabled"   // Node and RBAC alone
	Permissive Mode = "permissive" // Grantry after RBAC
	Strict     Mode = "strict"     // Grantry before RBAC

	// Custom is the mode of a cluster that was started with a configuration of the user's own.
	Custom Mode = "custom"
)

// ParseMode reads a mode that a cluster can be given.
func ParseMode(text string) (Mode, error) {
	if mode := Mode(text); slices.Contains([]Mode{Disabled, Permissive, Strict}, mode) {
		return mode, nil
	}
	return "", fmt.Errorf("%q is no security mode: disabled, permissive or strict", text)
}

const (
	// ConfigFile is what the API server's --authorization-config names.
	ConfigFile     = "authorization.yaml"
	kubeconfigFile = "kubeconfig.yaml"
)

// Write makes the API server's files for a mode. It is for a cluster that does not run yet.
func Write(c *cluster.Cluster, shipped string, mode Mode) error {
	kubeconfig, err := render(filepath.Join(shipped, kubeconfigFile), placeholders(c))
	if err != nil {
		return err
	}
	config, err := renderConfig(c, shipped, mode)
	if err != nil {
		return err
	}
	if err := replaceFile(c.AuthorizationFile(kubeconfigFile), kubeconfig); err != nil {
		return err
	}
	return replaceFile(c.AuthorizationFile(ConfigFile), config)
}

// Current is the mode that the API server's file is made for.
func Current(c *cluster.Cluster) (Mode, error) {
	if c.AuthorizationConfig != "" {
		return Custom, nil
	}
	data, err := os.ReadFile(c.AuthorizationFile(ConfigFile))
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	return ParseMode(strings.TrimPrefix(string(line), header))
}

// header begins the first line of the API server's file, and the mode ends it.
const header = "# security mode: "

// renderConfig is the shipped configuration with this cluster's paths. Its comments are left out: the API server
// reloads no file in which only they differ, and so Switch would wait for nothing.
func renderConfig(c *cluster.Cluster, shipped string, mode Mode) ([]byte, error) {
	expected := placeholders(c)
	delete(expected, shippedAddress) // only the kubeconfig has it
	if mode == Disabled {
		expected = nil
	}
	data, err := render(filepath.Join(shipped, string(mode)+".yaml"), expected)
	if err != nil {
		return nil, err
	}
	out := bytes.NewBufferString(header + string(mode) + "\n")
	for line := range bytes.Lines(data) {
		if !bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) {
			out.Write(line)
		}
	}
	return out.Bytes(), nil
}

// What the shipped files say, in place of which a cluster has its own.
const (
	shippedDir     = "/etc/kubernetes/grantry"
	shippedAddress = "127.0.0.1:9443"
)

func placeholders(c *cluster.Cluster) map[string]string {
	return map[string]string{
		shippedDir:     filepath.Dir(c.AuthorizationFile(ConfigFile)),
		shippedAddress: c.WebhookAddress(),
	}
}

// render reads a shipped file and replaces in it each key by its value. A key that is not there is an error: the
// file has changed, and the result would point elsewhere.
func render(file string, values map[string]string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read a shipped configuration: %w", err)
	}
	for from, to := range values {
		if !bytes.Contains(data, []byte(from)) {
			return nil, fmt.Errorf("%s does not name %s", file, from)
		}
		data = bytes.ReplaceAll(data, []byte(from), []byte(to))
	}
	return data, nil
}

// replaceFile writes in one step, so that the API server never reads half of it.
func replaceFile(file string, data []byte) error {
	if err := os.WriteFile(file+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
