package harness

import (
	"context"
	"encoding/json"
	"fmt"

	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// Admission registers the admission webhooks with the API server for an operator on this machine, and returns
// the arguments with which StartOperator makes one that serves them. From then on writes of Grantry's kinds
// need an operator that runs; those of metadata alone don't.
func (c *Cluster) Admission(ctx context.Context) ([]string, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	if err := c.AdmissionAt(ctx, ports[0]); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("--admission-bind-address=127.0.0.1:%d", ports[0]), "--admission-dns-names=localhost"}, nil
}

// AdmissionAt is Admission for operators behind a port of this machine: the API server calls whoever listens there.
func (c *Cluster) AdmissionAt(ctx context.Context, port int) error {
	configurations, err := grantrytesting.WebhookConfigurations(fmt.Sprintf("https://localhost:%d", port))
	if err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, "admin", "create", "secret", "generic", "grantry-admission", "-n", "grantry-system"); err != nil {
		return err
	}
	for _, configuration := range configurations {
		text, err := json.Marshal(configuration)
		if err != nil {
			return err
		}
		if _, err := c.KubectlStdin(ctx, "admin", string(text), "apply", "--server-side", "-f", "-"); err != nil {
			return err
		}
	}
	return nil
}
