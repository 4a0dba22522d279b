// Command devcluster starts a real Kubernetes on this machine in one command, from the module proxy
// and a few Debian packages. See README.md.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/grantry/grantry/hack/devcluster/internal/command"
)

func main() {
	if err := command.New().ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "devcluster:", err)
		os.Exit(1)
	}
}
