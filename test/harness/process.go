package harness

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Pinned is the directory, from the repository's root, of a module that pins somebody else's program.
type Pinned string

// Go runs the Go command in the module, and returns what it printed.
func (p Pinned) Go(tb testing.TB, args ...string) string {
	tb.Helper()
	root, err := Root()
	if err != nil {
		tb.Fatal(err)
	}
	var problems bytes.Buffer
	cmd := exec.CommandContext(tb.Context(), "go", args...)
	cmd.Dir, cmd.Stderr = filepath.Join(root, string(p)), &problems
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("go %s in %s: %v: %s", strings.Join(args, " "), p, err, problems.String())
	}
	return strings.TrimSpace(string(out))
}

// Build compiles a program of the module's, or of one that it requires. The Go command keeps what it has compiled: the
// first time takes minutes.
func (p Pinned) Build(tb testing.TB, program string) (binary string) {
	tb.Helper()
	binary = filepath.Join(tb.TempDir(), filepath.Base(program))
	p.Go(tb, "build", "-o", binary, program)
	return binary
}

// Process is somebody else's program beside Grantry.
type Process struct{ log string }

// RunProcess runs a program with the rights of a service account, the kubeconfig of which is in its environment, until the
// test ends. A test that fails prints the end of its log.
func (c *Cluster) RunProcess(tb testing.TB, account, binary string, environment []string, args ...string) *Process {
	tb.Helper()
	kubeconfig, err := c.MintAccount(tb.Context(), account)
	if err != nil {
		tb.Fatal(err)
	}
	name := filepath.Base(binary)
	p := &Process{log: filepath.Join(tb.TempDir(), name+".log")}
	log, err := os.Create(p.log)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.CommandContext(tb.Context(), binary, args...)
	cmd.Env = append(append(os.Environ(), "KUBECONFIG="+kubeconfig), environment...)
	cmd.Stdout, cmd.Stderr = log, log
	DieWithParent(cmd)
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tellEnd(tb, name+"'s log", p.log, 8<<10)
	tb.Cleanup(func() { // the context has ended by now, and the process with it
		_ = cmd.Wait()
		_ = log.Close()
	})
	return p
}

// AwaitReady waits until the process says at an address that it is ready, for up to so long.
func (p *Process) AwaitReady(tb testing.TB, address string, within time.Duration) {
	tb.Helper()
	Eventually(tb, within, func() string {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return err.Error()
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return "it is ready: " + response.Status
		}
		return ""
	})
}

// Logged says whether the process has written a line with all of these.
func (p *Process) Logged(tb testing.TB, parts ...string) bool {
	tb.Helper()
	log, err := os.ReadFile(p.log)
	if err != nil {
		tb.Fatal(err)
	}
lines:
	for line := range bytes.Lines(log) {
		for _, part := range parts {
			if !bytes.Contains(line, []byte(part)) {
				continue lines
			}
		}
		return true
	}
	return false
}
