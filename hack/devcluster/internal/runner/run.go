// Package runner owns a cluster's processes. Two of its own watch each other: the supervisor, which the user
// knows, and the runner, the parent of everything else and on a real node the first process of its own PID
// and mount namespaces. Whichever of them is killed, the other one cleans up.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/grantry/grantry/hack/devcluster/internal/api"
	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
	"github.com/grantry/grantry/hack/devcluster/internal/kwoknode"
	"github.com/grantry/grantry/hack/devcluster/internal/realnode"
	"github.com/grantry/grantry/hack/devcluster/internal/services"
)

// File descriptors that the runner gets from the supervisor.
const (
	runnerLifelineFD = 3 // ends when the supervisor does
	runnerProgressFD = 4 // lines for the user, until ready
)

// startLimit is how long a cluster may take until it is ready; a loaded machine takes several times the usual.
const startLimit = 3 * time.Minute

// restartPause is how long a process that ended by itself is away: long enough that one which ends at its start, such
// as an etcd whose disk is full, does not keep the machine busy.
const restartPause = time.Second

// Run starts the cluster's processes and stays until it is told to stop, the supervisor ends, or one of the
// processes does and is not to be started again.
func Run(c *cluster.Cluster) error {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP) // who reads the progress may go
	orphaned := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.NewFile(runnerLifelineFD, "lifeline"))
		close(orphaned)
	}()

	err := run(stop, c, orphaned)
	select {
	case <-orphaned: // and so nobody else cleans up
		if c.Nodes == cluster.NodesReal {
			err = errors.Join(err, realnode.LeaveNamespaces())
		}
		return errors.Join(err, Cleanup(c), keepLogs(c, "the supervisor was killed"))
	default:
	}
	if err != nil {
		return errors.Join(err, writeReason(c, err))
	}
	return nil
}

func run(stop context.Context, c *cluster.Cluster, orphaned <-chan struct{}) error {
	r := &runner{
		c: c, ended: make(chan exit, 16), due: make(chan string, 16), argv: map[string][]string{},
		progress: os.NewFile(runnerProgressFD, "progress"),
	}
	if c.Nodes == cluster.NodesReal {
		if err := r.prepareNodes(); err != nil {
			return err
		}
	}
	if err := setEnvironment(c); err != nil {
		return err
	}
	r.processes = newProcesses()
	defer r.processes.stop()
	ctx, abort := context.WithTimeout(stop, startLimit)
	defer abort()
	started := make(chan error, 1)
	go func() { started <- r.start(ctx, stop) }()
	return r.stay(stop, started, orphaned)
}

// setEnvironment changes what the processes get of the user's environment.
func setEnvironment(c *cluster.Cluster) error {
	direct := fmt.Sprintf("127.0.0.1,localhost,10.%d.0.0/16", c.Subnet)
	if others := os.Getenv("NO_PROXY"); others != "" {
		direct = others + "," + direct
	}
	collection := os.Getenv("GOGC")
	if collection == "" {
		collection = "400" // small development machines have more memory than time
	}
	return errors.Join(
		os.Setenv("NO_PROXY", direct), // a proxy for the outside knows no way to the pods
		os.Setenv("no_proxy", direct),
		os.Setenv("GOGC", collection),
		// containerd finds its shim there.
		os.Setenv("PATH", c.NodeBinaries+string(os.PathListSeparator)+os.Getenv("PATH")),
	)
}

type runner struct {
	c         *cluster.Cluster
	processes *processes
	ended     chan exit
	due       chan string         // who is to be started again
	argv      map[string][]string // of each component that was started
	progress  *os.File
	nodes     []realNode
}

// realNode is a node with what its programs read.
type realNode struct {
	cluster.Node
	files realnode.Files
}

// stay returns nil when the cluster was told to stop, and otherwise why it ended.
func (r *runner) stay(stop context.Context, started <-chan error, orphaned <-chan struct{}) error {
	for {
		select {
		case err := <-started:
			if err != nil {
				return err
			}
			if err := r.c.MarkReady(); err != nil {
				return err
			}
			fmt.Fprintln(r.progress, "ready")
			r.progress.Close()
			started = nil
		case end := <-r.ended:
			if r.c.Restart && started == nil {
				fmt.Fprintf(os.Stderr, "%s; it is started again\n", end)
				time.AfterFunc(restartPause, func() { r.due <- end.name })
				continue
			}
			return fmt.Errorf("%s: %s; see %s", end, lastLine(r.c.Log(end.name)), r.c.Log(end.name))
		case name := <-r.due:
			if err := r.startComponent(name, r.argv[name]); err != nil {
				return err
			}
		case <-orphaned:
			return nil
		case <-stop.Done():
			return nil
		}
	}
}

// start starts everything in order and returns when the cluster takes pods. What goes on until the cluster's end
// takes the second context.
func (r *runner) start(ctx, end context.Context) error {
	client, err := api.New(r.c)
	if err != nil {
		return err
	}
	fmt.Fprintln(r.progress, "starting etcd and kube-apiserver")
	if err := r.startComponent("etcd", etcd(r.c)); err != nil {
		return err
	}
	if err := r.startComponent("kube-apiserver", apiserver(r.c)); err != nil {
		return err
	}
	for _, n := range r.nodes {
		if err := r.startContainerd(ctx, n); err != nil { // while the API server starts
			return err
		}
	}
	if err := r.await(ctx, "kube-apiserver", func() error { return client.Get(ctx, "/readyz", nil) }); err != nil {
		return err
	}
	fmt.Fprintln(r.progress, "starting kube-controller-manager, kube-scheduler and nodes")
	if err := r.startControllers(); err != nil {
		return err
	}
	if r.c.Nodes == cluster.NodesReal {
		go services.Serve(end, r.c, client)
	}
	count, err := r.startNodes(ctx, client)
	if err != nil {
		return err
	}
	return r.await(ctx, "the cluster", func() error {
		if err := client.Get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil); err != nil {
			return err
		}
		return client.NodesReady(ctx, count)
	})
}

func (r *runner) startComponent(name string, argv []string) error {
	r.argv[name] = argv
	return r.processes.start(name, argv, r.c.Log(name), r.ended)
}

func (r *runner) startControllers() error {
	if err := r.startComponent("kube-controller-manager", controllerManager(r.c)); err != nil {
		return err
	}
	argv, err := scheduler(r.c)
	if err != nil {
		return err
	}
	return r.startComponent("kube-scheduler", argv)
}

func (r *runner) startNodes(ctx context.Context, client *api.Client) (count int, err error) {
	switch r.c.Nodes {
	case cluster.NodesReal:
		for _, n := range r.nodes {
			if err := r.startComponent("kubelet"+n.Suffix(), kubelet(n.Node, n.files.Kubelet)); err != nil {
				return 0, err
			}
		}
		return len(r.nodes), nil
	case cluster.NodesKwok:
		return r.c.KwokNodes, r.startKwok(ctx, client)
	default:
		return 0, nil
	}
}

// prepareNodes comes before the first process is started: it runs programs of its own and waits for them.
func (r *runner) prepareNodes() error {
	if err := realnode.EnterNamespaces(r.c); err != nil {
		return err
	}
	if err := realnode.CreateCgroups(r.c); err != nil {
		return err
	}
	if err := realnode.CreateNetwork(r.c); err != nil {
		return err
	}
	if err := realnode.ServeKubernetesService(r.c); err != nil {
		return err
	}
	for _, n := range r.c.RealNodeList() {
		files, err := realnode.Prepare(n)
		if err != nil {
			return err
		}
		r.nodes = append(r.nodes, realNode{n, files})
	}
	return nil
}

func (r *runner) startContainerd(ctx context.Context, n realNode) error {
	name := "containerd" + n.Suffix()
	if err := r.startComponent(name, containerd(n.Node, n.files.Containerd)); err != nil {
		return err
	}
	err := r.await(ctx, name, func() error {
		connection, err := net.Dial("unix", n.ContainerdSocket())
		if err != nil {
			return err
		}
		return connection.Close()
	})
	if err != nil {
		return err
	}
	return r.processes.run("ctr", realnode.ImportCommand(n.Node, n.files.Images), r.c.Log("ctr"))
}

func (r *runner) startKwok(ctx context.Context, client *api.Client) error {
	config, err := kwoknode.WriteConfig(r.c)
	if err != nil {
		return err
	}
	for _, node := range kwoknode.Nodes(r.c.KwokNodes) {
		if err := client.Create(ctx, "/api/v1/nodes", node); err != nil {
			return err
		}
	}
	return r.startComponent("kwok", kwok(r.c, config))
}

// await tries until there is no error.
func (r *runner) await(ctx context.Context, what string, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; logs are in %s", what, err, r.c.Path("logs"))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// lastLine is often the reason why a process ended.
func lastLine(log string) string {
	data, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return fmt.Sprintf("%.300s", lines[len(lines)-1])
}
