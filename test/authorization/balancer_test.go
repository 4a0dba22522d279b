package authorization

import (
	"testing"
	"time"

	"github.com/grantry/grantry/test/harness"
)

// balance listens at an address until the test ends.
func balance(t *testing.T, address string, backends ...*harness.Backend) *harness.Balancer {
	t.Helper()
	b, err := harness.Balance(address, backends...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// drained waits until no connection to a backend is left, and returns when that was.
func drained(t *testing.T, b *harness.Balancer, backend *harness.Backend) time.Time {
	t.Helper()
	for deadline := time.Now().Add(waitFor); ; time.Sleep(time.Millisecond) {
		open := b.Connections(backend)
		if open == 0 {
			return time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections to a replica that has ended", open)
		}
	}
}
