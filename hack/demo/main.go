// Command demo shows Grantry at work, on the story of the DC/OS documentation: from nothing to a verdict
// on a real API server, with real containers where the machine can run them. It prints the commands and
// what the cluster answered, and fails if an answer is not the expected one. It leaves nothing behind.
// With KEEP=1 it leaves the cluster and the operator running and says how to use them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/grantry/grantry/test/harness"
	"github.com/grantry/grantry/test/story"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Getenv("KEEP") == "1")
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, keep bool) (reterr error) {
	begun := time.Now()
	name := fmt.Sprintf("demo-%d", os.Getpid())
	if keep {
		name = "demo"
	}
	nodes := os.Getenv("NODES")
	if nodes == "" {
		nodes = "auto"
	}
	fmt.Println("Starting a cluster; the first time its programs are built, which takes minutes.")
	cluster, err := harness.Up(ctx, harness.Options{Name: name, Nodes: nodes, Mode: "permissive", Detach: keep, Log: os.Stderr})
	if err != nil {
		return err
	}
	if !keep {
		// The context may have ended by Ctrl-C: what was started is ended all the same.
		defer func() { reterr = errors.Join(reterr, cluster.Down(context.WithoutCancel(ctx))) }()
	}
	binary, err := cluster.BuildOperator(ctx)
	if err != nil {
		return err
	}
	operator, err := cluster.StartOperator(ctx, binary, cluster.Webhook.Args()...)
	if err != nil {
		return err
	}
	if !keep {
		defer operator.Stop()
	}
	if err := operator.WaitReady(ctx); err != nil {
		return err
	}
	fmt.Printf("Kubernetes with %s nodes and Grantry are ready.\n", cluster.Nodes)

	met, err := story.Tell(ctx, cluster, os.Stdout, story.Options{})
	if keep {
		explainKeep(cluster, operator)
	}
	if err != nil {
		return fmt.Errorf("%w; the operator's log is %s", err, cluster.LogPath())
	}
	fmt.Printf("\nAll %d expectations were met, in %s.\n", met, time.Since(begun).Round(time.Second))
	return nil
}

func explainKeep(c *harness.Cluster, o *harness.Operator) {
	fmt.Printf(`
The cluster and the operator keep running (KEEP=1).
  export KUBECONFIG=%s
  %s get grantry -A
  the operator's log: %s
  end them: kill %d; go run -C hack/devcluster . down --name %s
`, c.Kubeconfig("admin"), c.KubectlPath, filepath.Clean(c.LogPath()), o.PID(), c.Name)
}
