package harness

import (
	"context"
	"os"
	"testing"
)

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

// TellLog has a test that fails print the end of the operator's log, of so many bytes.
func (c *Cluster) TellLog(tb testing.TB, most int) {
	tb.Helper()
	tb.Cleanup(func() {
		if log, _ := os.ReadFile(c.LogPath()); tb.Failed() {
			tb.Logf("the end of the operator's log:\n%s", log[max(0, len(log)-most):])
		}
	})
}
