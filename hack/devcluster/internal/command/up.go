package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantry/grantry/hack/devcluster/internal/authorization"
	"github.com/grantry/grantry/hack/devcluster/internal/binaries"
	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
	"github.com/grantry/grantry/hack/devcluster/internal/realnode"
	"github.com/grantry/grantry/hack/devcluster/internal/runner"
)

// File descriptors that a detached supervisor gets from `up`.
const (
	supervisorStarterFD  = 3 // says "ready" when `up` is done; ends without it when `up` was killed
	supervisorProgressFD = 4 // lines for the user, until ready
)

type upOptions struct {
	settings   cluster.Settings
	mode       string
	nodes      string
	groups     []string
	foreground bool
}

func newUp() *cobra.Command {
	options := upOptions{}
	command := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster and return when it is ready",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return up(command, options)
		},
	}
	flags := command.Flags()
	addName(command, &options.settings.Name)
	addNodes(command, &options.nodes)
	flags.IntVar(&options.settings.KwokNodes, "kwok-nodes", 2, "number of simulated nodes")
	flags.IntVar(&options.settings.RealNodes, "real-nodes", 1, "number of real nodes")
	flags.StringVar((*string)(&options.settings.KwokComplete), "kwok-complete", string(cluster.CompleteAnnotated),
		"when simulated pods of Jobs succeed: annotated (by their annotation devcluster.grantry.dev/complete-after) or immediately")
	flags.StringArrayVar(&options.groups, "groups", nil, "groups of a user, as alice=marketing,dev; repeatable")
	flags.StringVar(&options.mode, "mode", string(authorization.Disabled),
		"security mode of Grantry: disabled (the API server does not ask it), permissive (after RBAC) or strict (before RBAC)")
	flags.StringVar(&options.settings.AuthorizationConfig, "authorization-config", "",
		"file for the API server's --authorization-config, in place of one of --mode")
	command.MarkFlagsMutuallyExclusive("mode", "authorization-config")
	flags.StringArrayVar(&options.settings.APIServerArgs, "apiserver-arg", nil, "further argument for the API server, as --flag=value; repeatable")
	flags.StringArrayVar(&options.settings.EtcdArgs, "etcd-arg", nil, "further argument for etcd, as --flag=value; repeatable")
	flags.BoolVar(&options.settings.Restart, "restart", false, "start a process of the cluster again that ends by itself, and not end the cluster with it")
	flags.IntVar(&options.settings.OwnerPID, "owner-pid", 0, "end the cluster when this process ends")
	flags.BoolVar(&options.foreground, "foreground", false, "stay, and end the cluster at Ctrl-C")
	return command
}

func addNodes(command *cobra.Command, nodes *string) {
	command.Flags().StringVar(nodes, "nodes", string(cluster.NodesAuto),
		"real (pods run; needs root), kwok (simulated), none, or auto: real if all that it needs is there, otherwise kwok")
}

func up(command *cobra.Command, options upOptions) error {
	ctx, cancel := signal.NotifyContext(command.Context(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	begun := time.Now()
	out := command.ErrOrStderr()
	settings, tools, err := options.complete(out)
	if err != nil {
		return err
	}
	unlock, err := lockName(command, settings.Name)
	if err != nil {
		return err
	}
	defer unlock()
	if err := makeWay(settings.Name, out); err != nil {
		return err
	}
	c, err := cluster.New(settings)
	if err != nil {
		return err
	}
	c.CNIBinaries, c.Busybox = tools.CNI, tools.Busybox
	if c.Binaries, err = binaries.Kubernetes(ctx, out); err != nil {
		return err
	}
	if c.NodeBinaries, err = binaries.ForNodes(ctx, c.Nodes, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "programs are in %s\n", c.Binaries)
	if err := createFiles(c, authorization.Mode(options.mode)); err != nil {
		return errors.Join(err, os.RemoveAll(c.Dir))
	}
	whenReady := func() { printSummary(command.OutOrStdout(), c, time.Since(begun)) }
	if options.foreground {
		return stayInForeground(ctx, c, unlock, out, whenReady)
	}
	if err := detach(ctx, c, out); err != nil {
		return err
	}
	whenReady()
	return nil
}

// complete checks the options and finds what the nodes need from the machine.
func (o upOptions) complete(out io.Writer) (cluster.Settings, binaries.Tools, error) {
	fail := func(err error) (cluster.Settings, binaries.Tools, error) {
		return cluster.Settings{}, binaries.Tools{}, err
	}
	settings := o.settings
	mode, tools, err := resolveNodes(o.nodes, out)
	if err != nil {
		return fail(err)
	}
	settings.Nodes = mode
	if settings.Groups, err = parseGroups(o.groups); err != nil {
		return fail(err)
	}
	if !slices.Contains([]cluster.Completion{cluster.CompleteAnnotated, cluster.CompleteImmediately}, settings.KwokComplete) {
		return fail(fmt.Errorf("--kwok-complete=%s: it is annotated or immediately", settings.KwokComplete))
	}
	if settings.KwokNodes < 1 {
		return fail(fmt.Errorf("--kwok-nodes=%d: at least one", settings.KwokNodes))
	}
	if settings.RealNodes < 1 || settings.RealNodes > cluster.MostRealNodes {
		return fail(fmt.Errorf("--real-nodes=%d: one to %d", settings.RealNodes, cluster.MostRealNodes))
	}
	if _, err := authorization.ParseMode(o.mode); err != nil {
		return fail(fmt.Errorf("--mode: %w", err))
	}
	if settings.AuthorizationConfig != "" {
		if settings.AuthorizationConfig, err = filepath.Abs(settings.AuthorizationConfig); err != nil {
			return fail(err)
		}
		if _, err := os.Stat(settings.AuthorizationConfig); err != nil {
			return fail(fmt.Errorf("--authorization-config (a relative path starts where `go run -C` changes to): %w", err))
		}
	}
	return settings, tools, nil
}

// resolveNodes turns auto into what this machine can do, and says why.
func resolveNodes(flag string, out io.Writer) (cluster.Nodes, binaries.Tools, error) {
	nodes := cluster.Nodes(flag)
	switch nodes {
	case cluster.NodesReal, cluster.NodesKwok, cluster.NodesNone:
		tools, err := binaries.FindTools(nodes)
		return nodes, tools, err
	case cluster.NodesAuto:
		tools, err := binaries.FindTools(cluster.NodesReal)
		if err != nil {
			fmt.Fprintf(out, "nodes are simulated (kwok): %v\n", err)
			return cluster.NodesKwok, binaries.Tools{}, nil
		}
		return cluster.NodesReal, tools, nil
	default:
		return "", binaries.Tools{}, fmt.Errorf("--nodes=%s: it is real, kwok, none or auto", flag)
	}
}

// parseGroups reads user=group,group for each user.
func parseGroups(flags []string) (map[string][]string, error) {
	groups := map[string][]string{}
	for _, flag := range flags {
		user, names, found := strings.Cut(flag, "=")
		if !found || user == "" || names == "" || strings.ContainsAny(user, "/\\") {
			return nil, fmt.Errorf("--groups=%s: it is USER=GROUP,GROUP", flag)
		}
		groups[user] = append(groups[user], strings.Split(names, ",")...)
	}
	return groups, nil
}

// makeWay refuses if the cluster runs, and removes what is left of one that does not.
func makeWay(name string, out io.Writer) error {
	c, err := cluster.Load(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if state := c.State(); state != "stopped" {
		return fmt.Errorf("cluster %q is already %s at %s: end it with `devcluster down --name %s`, or choose another --name", name, state, c.Server(), name)
	}
	if c.Ended != "" {
		fmt.Fprintf(out, "the last cluster %q had ended by itself: %s\n", name, c.Ended)
	}
	return runner.End(c)
}

// createFiles gives the cluster its addresses and its directory.
func createFiles(c *cluster.Cluster, mode authorization.Mode) error {
	unlock, err := cluster.LockMachine()
	if err != nil {
		return err
	}
	defer unlock()
	if c.Ports, err = cluster.FreePorts(); err != nil {
		return err
	}
	others, err := cluster.List()
	if err != nil {
		return err
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	if c.Subnet, err = cluster.FreeSubnet(addresses, others); err != nil {
		return err
	}
	if c.Nodes == cluster.NodesReal {
		c.Before = realnode.LookBefore()
	}
	if err := os.MkdirAll(c.Path("logs"), 0o700); err != nil {
		return err
	}
	if err := c.WriteIdentities(); err != nil {
		return err
	}
	shipped, err := shippedConfigs()
	if err != nil {
		return err
	}
	if err := authorization.Write(c, shipped, mode); err != nil {
		return err
	}
	return c.Save()
}

// stayInForeground is the supervisor itself.
func stayInForeground(ctx context.Context, c *cluster.Cluster, unlock func(), out io.Writer, whenReady func()) error {
	progress, progressWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	go func() {
		if printProgress(progress, out) {
			whenReady()
			unlock() // `down` may end it now
		}
	}()
	return runner.Supervise(ctx, c, progressWrite)
}

// detach starts a supervisor that outlives this command, and returns when the cluster is ready.
func detach(ctx context.Context, c *cluster.Cluster, out io.Writer) error {
	starter, starterWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer starterWrite.Close()
	progress, progressWrite, err := os.Pipe()
	if err != nil {
		return err
	}
	defer progress.Close()
	log, err := os.OpenFile(c.Log("devcluster"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	supervisor := runner.Self("supervise", "--dir", c.Dir)
	supervisor.Dir = "/"
	supervisor.Stdout, supervisor.Stderr = log, log
	supervisor.ExtraFiles = []*os.File{starter, progressWrite} // in the order of the supervisor's descriptors
	supervisor.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := supervisor.Start(); err != nil {
		return fmt.Errorf("start the supervisor: %w", err)
	}
	starter.Close()
	progressWrite.Close()

	ready := make(chan bool, 1)
	go func() { ready <- printProgress(progress, out) }()
	select {
	case <-ctx.Done():
		starterWrite.Close() // the supervisor takes it as our end
		return errors.Join(errors.New("interrupted"), supervisor.Wait())
	case isReady := <-ready:
		if isReady {
			_, err := starterWrite.WriteString("ready")
			return err
		}
		return startFailure(c, supervisor.Wait())
	}
}

// printProgress says whether the cluster became ready.
func printProgress(progress io.Reader, out io.Writer) bool {
	for scanner := bufio.NewScanner(progress); scanner.Scan(); {
		if scanner.Text() == "ready" {
			return true
		}
		fmt.Fprintln(out, scanner.Text())
	}
	return false
}

func startFailure(c *cluster.Cluster, err error) error {
	if ended, loadErr := cluster.LoadDir(c.Dir); loadErr == nil && ended.Ended != "" {
		return fmt.Errorf("cluster %q did not start: %s", c.Name, ended.Ended)
	}
	return fmt.Errorf("cluster %q did not start: %w; see %s", c.Name, err, c.Log("devcluster"))
}

// newSupervise is started by `up`.
func newSupervise() *cobra.Command {
	var dir string
	command := &cobra.Command{
		Use:    "supervise",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, cancel := signal.NotifyContext(command.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer cancel()
			signal.Ignore(syscall.SIGHUP)
			go func() {
				word, err := io.ReadAll(os.NewFile(supervisorStarterFD, "starter"))
				if err != nil || string(word) != "ready" {
					cancel()
				}
			}()
			c, err := cluster.LoadDir(dir)
			if err != nil {
				return err
			}
			return runner.Supervise(ctx, c, os.NewFile(supervisorProgressFD, "progress"))
		},
	}
	command.Flags().StringVar(&dir, "dir", "", "the cluster's directory")
	return command
}
