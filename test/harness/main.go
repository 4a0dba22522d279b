package harness

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Main runs the tests of a package that start the operator's binary, whose path it leaves in *program. Call it from
// TestMain.
func Main(m *testing.M, program *string) (code int) {
	ctrl.SetLogger(logr.Discard()) // what fails is said by the tests
	dir, err := os.MkdirTemp("", "grantry-operator-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if *program, err = BuildOperator(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
