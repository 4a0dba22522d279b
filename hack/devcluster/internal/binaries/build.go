package binaries

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// Kubernetes returns the directory with etcd, kube-apiserver, kubectl and the others, and builds them first
// if they are not cached: of the version that $GRANTRY_KUBERNETES chooses. envtest takes that directory as
// KUBEBUILDER_ASSETS.
func Kubernetes(ctx context.Context, out io.Writer) (string, error) {
	chosen, err := chosenKubernetes()
	if err != nil {
		return "", err
	}
	return chosen.ensure(ctx, out)
}

// ForNodes returns the directory with the programs that these nodes need besides the kubelet.
func ForNodes(ctx context.Context, nodes cluster.Nodes, out io.Writer) (string, error) {
	switch nodes {
	case cluster.NodesReal:
		return containerd.ensure(ctx, out)
	case cluster.NodesKwok:
		return kwok.ensure(ctx, out)
	default:
		return "", nil
	}
}

func (s set) ensure(ctx context.Context, out io.Writer) (string, error) {
	root, err := Source()
	if err != nil {
		return "", err
	}
	module := filepath.Join(root, s.module)
	version, err := s.version(module)
	if err != nil {
		return "", err
	}
	fingerprint, err := s.fingerprint(module, version)
	if err != nil {
		return "", err
	}
	cache, err := CacheRoot()
	if err != nil {
		return "", err
	}
	name := version // Kubernetes is what the cache is about; the others say their name
	if s.title != kubernetes.title {
		name = s.title + "-" + version
	}
	dir := filepath.Join(cache, name+"-"+fingerprint)
	bin := filepath.Join(dir, "bin")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}

	unlock, err := cluster.Lock(dir+".lock", func() { fmt.Fprintf(out, "waiting for another build of %s %s\n", s.title, version) })
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(bin); err == nil { // the other one built it
		return bin, nil
	}
	fmt.Fprintf(out, "building %s %s once; it is kept in %s\n", s.title, version, bin)
	if err := s.build(ctx, module, version, dir, out); err != nil {
		return "", fmt.Errorf("build %s %s: %w", s.title, version, err)
	}
	return bin, nil
}

// build makes dir with everything in it or leaves nothing of that name. The caller holds its lock.
func (s set) build(ctx context.Context, module, version, dir string, out io.Writer) error {
	unfinished := dir + ".building"
	if err := os.RemoveAll(unfinished); err != nil { // of a build that was killed
		return err
	}
	defer os.RemoveAll(unfinished)
	bin := filepath.Join(unfinished, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	flags := []string{"-mod=readonly", "-modfile=" + s.modfile, "-trimpath", "-tags=" + s.tags}
	count, err := s.countPackages(ctx, module, flags)
	if err != nil {
		return err
	}
	arguments := append([]string{"build", "-v", "-ldflags=-s -w " + s.ldflags(version), "-o", bin + "/"}, flags...)
	build := goCommand(ctx, module, append(arguments, s.packages...)...)
	started := time.Now()
	if err := runWithProgress(build, s.title, count, out); err != nil {
		return err
	}
	for program, names := range s.links {
		for _, name := range names {
			if err := os.Symlink(program, filepath.Join(bin, name)); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(out, "%s built in %s\n", s.title, time.Since(started).Round(time.Second))
	return os.Rename(unfinished, dir)
}

// countPackages also downloads the modules, which would otherwise look like a build that makes no progress.
func (s set) countPackages(ctx context.Context, module string, flags []string) (int, error) {
	arguments := append([]string{"list", "-deps"}, flags...)
	list := goCommand(ctx, module, append(arguments, s.packages...)...)
	var stderr bytes.Buffer
	list.Stderr = &stderr
	output, err := list.Output()
	if err != nil {
		return 0, fmt.Errorf("list packages: %w\n%s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return bytes.Count(output, []byte("\n")), nil
}

func goCommand(ctx context.Context, dir string, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", arguments...)
	command.Dir = dir
	// GOFLAGS and GOWORK are the user's, for the user's own module.
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "PWD="+dir)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return command
}

// progressEvery keeps a log readable and still shows that something happens.
const progressEvery = 15 * time.Second

// runWithProgress runs a `go build -v`, which names each package that it compiles on standard error. Other
// lines there are errors and are returned.
func runWithProgress(build *exec.Cmd, title string, count int, out io.Writer) error {
	stderr, err := build.StderrPipe()
	if err != nil {
		return err
	}
	if err := build.Start(); err != nil {
		return err
	}
	var compiled atomic.Int64
	var messages []string
	read := make(chan struct{})
	go func() {
		defer close(read)
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			if line := scanner.Text(); isPackage(line) {
				compiled.Add(1)
			} else {
				messages = append(messages, line)
			}
		}
	}()
	started := time.Now()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			fmt.Fprintf(out, "  %s: %s, %d of at most %d packages compiled\n",
				title, time.Since(started).Round(time.Second), compiled.Load(), count)
		case <-read:
			if err := build.Wait(); err != nil {
				return fmt.Errorf("%w\n%s", err, strings.Join(messages, "\n"))
			}
			return nil
		}
	}
}

func isPackage(line string) bool {
	return line != "" && !strings.HasPrefix(line, "#") && !strings.ContainsAny(line, " :\t")
}
