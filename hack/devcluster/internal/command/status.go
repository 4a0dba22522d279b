package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantry/grantry/hack/devcluster/internal/api"
	"github.com/grantry/grantry/hack/devcluster/internal/authorization"
	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// summary is what `status --output=json` prints of a cluster.
type summary struct {
	Name           string            `json:"name"`
	State          string            `json:"state"`
	Reason         string            `json:"reason,omitempty"`
	Nodes          cluster.Nodes     `json:"nodes"`
	Server         string            `json:"server"`
	Kubectl        string            `json:"kubectl"`
	Kubeconfigs    map[string]string `json:"kubeconfigs"`
	Directory      string            `json:"directory"`
	Logs           string            `json:"logs"`
	SupervisorPID  int               `json:"supervisorPID"`
	ServiceAddress string            `json:"serviceAddress,omitempty"`
	Authorization  webhook           `json:"authorization"`
}

// webhook says in which mode the API server is, and where it expects the authorization webhook.
type webhook struct {
	Mode        authorization.Mode `json:"mode"`
	Address     string             `json:"address"`
	CertDir     string             `json:"certDir"`
	ClientNames []string           `json:"clientNames"`
}

func newStatus() *cobra.Command {
	var name, output string
	command := &cobra.Command{
		Use:   "status",
		Short: "Show the clusters; with --name only that one, and fail unless it is running and ready",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			clusters, err := cluster.List()
			if err != nil {
				return err
			}
			if name != "" {
				clusters = slices.DeleteFunc(clusters, func(c *cluster.Cluster) bool { return c.Name != name })
			}
			if name != "" && len(clusters) == 0 {
				return fmt.Errorf("there is no cluster %q", name)
			}
			summaries := []summary{}
			for _, c := range clusters {
				summaries = append(summaries, summarize(command.Context(), c))
			}
			if err := printSummaries(command.OutOrStdout(), output, summaries); err != nil {
				return err
			}
			if name != "" && summaries[0].State != "running" {
				return fmt.Errorf("cluster %q is %s", name, summaries[0].State)
			}
			return nil
		},
	}
	command.Flags().StringVar(&name, "name", "", "name of the cluster (default: all)")
	command.Flags().StringVar(&output, "output", "text", "text or json")
	return command
}

func summarize(ctx context.Context, c *cluster.Cluster) summary {
	s := summary{
		Name:          c.Name,
		State:         c.State(),
		Reason:        c.Ended,
		Nodes:         c.Nodes,
		Server:        c.Server(),
		Kubectl:       c.Kubectl(),
		Kubeconfigs:   map[string]string{},
		Directory:     c.Dir,
		Logs:          c.Path("logs"),
		SupervisorPID: c.Supervisor.PID,
		Authorization: webhook{
			Address: c.WebhookAddress(), CertDir: c.WebhookCertDir(), ClientNames: []string{cluster.WebhookCaller},
		},
	}
	for user := range c.UserGroups() {
		s.Kubeconfigs[user] = c.Kubeconfig(user)
	}
	if c.Nodes == cluster.NodesReal {
		s.ServiceAddress = c.ServiceAddress()
	}
	if mode, err := authorization.Current(c); err == nil { // a cluster that ended has none
		s.Authorization.Mode = mode
	}
	if s.State == "stopped" && s.Reason == "" {
		s.Reason = "it was killed; `down`, or the next `up`, removes what is left"
	}
	if s.State == "running" {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := ready(ctx, c); err != nil {
			s.State, s.Reason = "not ready", err.Error()
		}
	}
	return s
}

// ready asks the cluster's API server whether it is ready.
func ready(ctx context.Context, c *cluster.Cluster) error {
	server, err := api.New(c)
	if err != nil {
		return err
	}
	return server.Get(ctx, "/readyz", nil)
}

func printSummaries(out io.Writer, output string, summaries []summary) error {
	switch output {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(summaries)
	case "text":
	default:
		return fmt.Errorf("--output=%s: it is text or json", output)
	}
	if len(summaries) == 0 {
		fmt.Fprintln(out, "there is no cluster")
	}
	for _, s := range summaries {
		fmt.Fprintf(out, "%s\t%s\tnodes: %s\t%s\tsupervisor: process %d\n", s.Name, s.State, s.Nodes, s.Server, s.SupervisorPID)
		if s.Reason != "" {
			fmt.Fprintf(out, "\t%s\n", s.Reason)
		}
		fmt.Fprintf(out, "\tkubeconfigs: %s\n\tlogs: %s\n", s.Directory+"/kubeconfig", s.Logs)
		fmt.Fprintf(out, "\tmode: %s, authorization webhook: --authorization-bind-address=%s --authorization-cert-dir=%s --authorization-client-names=%s\n",
			s.Authorization.Mode, s.Authorization.Address, s.Authorization.CertDir, strings.Join(s.Authorization.ClientNames, ","))
	}
	return nil
}

// printSummary is `up`'s last word.
func printSummary(out io.Writer, c *cluster.Cluster, took time.Duration) {
	users := slices.Sorted(maps.Keys(c.UserGroups()))
	fmt.Fprintf(out, `cluster %[1]q is ready at %[2]s after %[3]s, nodes: %[4]s
  export KUBECONFIG=%[5]s
  kubectl of this version: %[6]s
  users: %[7]s, each with %[8]s
  logs: %[9]s
  end it with: devcluster down --name %[1]s
`, c.Name, c.Server(), took.Round(100*time.Millisecond), c.Nodes, c.Kubeconfig("admin"), c.Kubectl(),
		strings.Join(users, ", "), c.Kubeconfig("USER"), c.Path("logs"))
}
