// Package command is devcluster's command line.
package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/grantry/grantry/hack/devcluster/internal/binaries"
	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
	"github.com/grantry/grantry/hack/devcluster/internal/realnode"
	"github.com/grantry/grantry/hack/devcluster/internal/runner"
)

// New is the root command.
func New() *cobra.Command {
	root := &cobra.Command{
		Use:           "devcluster",
		Short:         "Start a real Kubernetes on this machine",
		SilenceUsage:  true,
		SilenceErrors: true, // main prints them
	}
	root.AddCommand(newUp(), newDown(), newStatus(), newKill(), newMode(), newKubeconfig(), newLoadImage(), newBuild(), newAssets(), newSupervise(), newRun())
	return root
}

func addName(command *cobra.Command, name *string) {
	command.Flags().StringVar(name, "name", "dev", "name of the cluster; several can run side by side")
}

// load reads a cluster for a command that needs one.
func load(name string) (*cluster.Cluster, error) {
	c, err := cluster.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster %q: start it with `devcluster up --name %s`", name, name)
	}
	return c, err
}

// loadRunning reads a cluster for a command that needs its processes.
func loadRunning(name string) (*cluster.Cluster, error) {
	c, err := load(name)
	if err != nil {
		return nil, err
	}
	if c.State() == "stopped" {
		return nil, fmt.Errorf("cluster %q does not run: start it with `devcluster up --name %s`", name, name)
	}
	return c, nil
}

func newDown() *cobra.Command {
	var name string
	command := &cobra.Command{
		Use:   "down",
		Short: "End a cluster and remove everything of it; without one, do nothing",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			unlock, err := lockName(command, name)
			if err != nil {
				return err
			}
			defer unlock()
			c, err := cluster.Load(name)
			if errors.Is(err, fs.ErrNotExist) {
				fmt.Fprintf(command.OutOrStdout(), "there is no cluster %q\n", name)
				return nil
			}
			if err != nil {
				return err
			}
			if err := runner.End(c); err != nil {
				return err
			}
			fmt.Fprintf(command.OutOrStdout(), "cluster %q is gone\n", name)
			return nil
		},
	}
	addName(command, &name)
	return command
}

func newKubeconfig() *cobra.Command {
	var name, user string
	var groups []string
	command := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Mint a client certificate for any user with any groups and print a kubeconfig with it",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			c, err := load(name)
			if err != nil {
				return err
			}
			if !command.Flags().Changed("group") {
				groups = c.UserGroups()[user]
			}
			data, err := c.NewKubeconfig(user, groups)
			if err != nil {
				return err
			}
			_, err = command.OutOrStdout().Write(data)
			return err
		},
	}
	addName(command, &name)
	command.Flags().StringVar(&user, "user", "admin", "user that the certificate names")
	command.Flags().StringArrayVar(&groups, "group", nil, "group that the certificate names, repeatable (default: the groups that the user has in this cluster)")
	return command
}

func newLoadImage() *cobra.Command {
	var name string
	command := &cobra.Command{
		Use:   "load-image FILE",
		Short: "Load an archive of images, as `docker save` writes them, into the real nodes",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			c, err := loadRunning(name)
			if err != nil {
				return err
			}
			if c.Nodes != cluster.NodesReal {
				return fmt.Errorf("cluster %q has --nodes=%s, which run no images", name, c.Nodes)
			}
			for _, node := range c.RealNodeList() {
				argv := realnode.ImportCommand(node, arguments[0])
				ctr := exec.CommandContext(command.Context(), argv[0], argv[1:]...)
				ctr.Stdout, ctr.Stderr = command.OutOrStdout(), command.ErrOrStderr()
				if err := ctr.Run(); err != nil {
					return fmt.Errorf("load %s into %s: %w", arguments[0], node.NodeName(), err)
				}
			}
			return nil
		},
	}
	addName(command, &name)
	return command
}

func newBuild() *cobra.Command {
	var nodes string
	command := &cobra.Command{
		Use:   "build",
		Short: "Build and cache what clusters run, and start nothing",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			mode, _, err := resolveNodes(nodes, command.ErrOrStderr())
			if err != nil {
				return err
			}
			for _, build := range []func() (string, error){
				func() (string, error) { return binaries.Kubernetes(command.Context(), command.ErrOrStderr()) },
				func() (string, error) { return binaries.ForNodes(command.Context(), mode, command.ErrOrStderr()) },
			} {
				dir, err := build()
				if err != nil {
					return err
				}
				if dir != "" {
					fmt.Fprintln(command.OutOrStdout(), dir)
				}
			}
			return nil
		},
	}
	addNodes(command, &nodes)
	return command
}

func newAssets() *cobra.Command {
	return &cobra.Command{
		Use:   "assets",
		Short: "Print the directory for envtest's KUBEBUILDER_ASSETS, and build what is in it if need be",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			dir, err := binaries.Kubernetes(command.Context(), command.ErrOrStderr())
			if err != nil {
				return err
			}
			fmt.Fprintln(command.OutOrStdout(), dir)
			return nil
		},
	}
}

// newRun is started by the supervisor.
func newRun() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use:    "run",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c, err := cluster.LoadDir(dir)
			if err != nil {
				return err
			}
			return runner.Run(c)
		},
	}
	command.Flags().StringVar(&dir, "dir", "", "the cluster's directory")
	return command
}

// lockName keeps other commands from starting or ending a cluster of this name.
func lockName(command *cobra.Command, name string) (func(), error) {
	c, err := cluster.New(cluster.Settings{Name: name})
	if err != nil {
		return nil, err
	}
	return cluster.Lock(c.Dir+".lock", func() {
		fmt.Fprintf(command.ErrOrStderr(), "waiting for another devcluster that starts or ends cluster %q\n", name)
	})
}
