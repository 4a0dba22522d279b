package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// ChartPath is the chart, from the repository's root.
const ChartPath = "charts/grantry"

// Helm runs the Helm that hack/tools pins, in the repository's root, and returns what it printed. The first time it is
// built, which takes a minute or two.
func Helm(ctx context.Context, args ...string) (string, error) {
	return helm(ctx, nil, args...)
}

// Helm runs Helm on the cluster, as a user.
func (c *Cluster) Helm(ctx context.Context, user string, args ...string) (string, error) {
	return helm(ctx, []string{"KUBECONFIG=" + c.Kubeconfig(user)}, args...)
}

func helm(ctx context.Context, environment []string, args ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"tool", "-modfile=hack/tools/helm/go.mod", "helm"}, args...)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), environment...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("helm %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(problems.Bytes()))
	}
	return out.String(), nil
}
