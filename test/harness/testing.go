package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	grantrytesting "github.com/grantry/grantry/internal/testing"
)

// readyWithin bounds how long an operator of a test may take to be ready: with 100,000 Grants, or on a crowded machine.
const readyWithin = 5 * time.Minute

// Start is Up for a test, at whose end the cluster goes.
func Start(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	if o.Log == nil {
		o.Log = os.Stderr
	}
	cluster, err := Up(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := cluster.Down(context.Background()); err != nil {
			tb.Error(err)
		}
	})
	return cluster
}

// RequireRealNode skips a test where there can be no real node.
func (c *Cluster) RequireRealNode(tb testing.TB) {
	tb.Helper()
	if c.Nodes != "real" {
		tb.Skip("this machine can't have a real node: see hack/devcluster/README.md")
	}
}

// Client is a user's, of the kinds of Kubernetes and ours, without a limit on its own rate.
func (c *Cluster) Client(tb testing.TB, user string) client.Client {
	tb.Helper()
	config, err := c.Config(user)
	if err != nil {
		tb.Fatal(err)
	}
	made, err := client.New(config, client.Options{Scheme: grantrytesting.Scheme})
	if err != nil {
		tb.Fatal(err)
	}
	return made
}

// TellLog has a test that fails print the end of the operators' log, of so many bytes.
func (c *Cluster) TellLog(tb testing.TB, most int) {
	tb.Helper()
	tellEnd(tb, "the operators' log", c.LogPath(), most)
}

// tellEnd has a test that fails print the end of a log, of so many bytes.
func tellEnd(tb testing.TB, what, path string, most int) {
	tb.Helper()
	tb.Cleanup(func() {
		if log, _ := os.ReadFile(path); tb.Failed() {
			tb.Logf("the end of %s:\n%s", what, log[max(0, len(log)-most):])
		}
	})
}

// Operate builds the operator and runs it: see RunOperator.
func (c *Cluster) Operate(tb testing.TB, args ...string) *Operator {
	tb.Helper()
	binary, err := c.BuildOperator(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return c.RunOperator(tb, binary, args...)
}

// RunOperator starts the operator as StartOperator does, and waits until it is ready. It is stopped when the test ends, unless
// it has ended before.
func (c *Cluster) RunOperator(tb testing.TB, binary string, args ...string) *Operator {
	tb.Helper()
	o, err := c.StartOperator(tb.Context(), binary, args...)
	if err != nil {
		tb.Fatal(err)
	}
	o.awaitReady(tb)
	return o
}

// RunOperator starts the operator's binary against an API server of a test's own, with the operator's identity, and waits
// until it is ready. Its kubeconfig is operator.kubeconfig in a directory, and is made unless it is there;
// its log is appended to operator.log there. It is stopped when the test ends, unless it has ended before, and a test that
// fails prints the end of the log.
func RunOperator(tb testing.TB, environment *envtest.Environment, directory, binary string, args ...string) *Operator {
	tb.Helper()
	kubeconfig, log := filepath.Join(directory, "operator.kubeconfig"), filepath.Join(directory, "operator.log")
	if _, err := os.Stat(kubeconfig); err != nil {
		if err := writeKubeconfig(environment, kubeconfig); err != nil {
			tb.Fatal(err)
		}
	}
	o, err := StartOperator(binary, kubeconfig, log, args...)
	if err != nil {
		tb.Fatal(err)
	}
	tellEnd(tb, "the operators' log", log, 8<<10)
	o.awaitReady(tb)
	return o
}

// writeKubeconfig writes the operator's.
func writeKubeconfig(environment *envtest.Environment, path string) error {
	groups, err := accountGroups(OperatorUser)
	if err != nil {
		return err
	}
	operator, err := environment.AddUser(envtest.User{Name: OperatorUser, Groups: groups}, nil)
	if err != nil {
		return err
	}
	content, err := operator.KubeConfig()
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// awaitReady waits for an operator that is stopped when the test ends.
func (o *Operator) awaitReady(tb testing.TB) {
	tb.Helper()
	tb.Cleanup(o.Stop)
	ctx, cancel := context.WithTimeout(tb.Context(), readyWithin)
	defer cancel()
	if err := o.WaitReady(ctx); err != nil {
		tb.Fatal(err)
	}
}

// Retry fails a test unless something succeeds within a time. There is a pause between two attempts.
func Retry(tb testing.TB, within, pause time.Duration, what string, try func() error) {
	tb.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(pause) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s: %v", what, err)
		}
	}
}

// Eventually fails a test unless a condition comes true within a time. The condition says what it still waits for.
func Eventually(tb testing.TB, within time.Duration, condition func() (waitsFor string)) {
	tb.Helper()
	Retry(tb, within, 50*time.Millisecond, fmt.Sprintf("after %s still waiting", within), func() error {
		if waitsFor := condition(); waitsFor != "" {
			return errors.New(waitsFor)
		}
		return nil
	})
}
