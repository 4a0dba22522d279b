package realnode

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// Namespaces are those that the node's processes start in. The kernel ends every process of a PID namespace
// with its first one, and every mount of a mount namespace with its last process: containers, their shims,
// their file systems and network namespaces go however the first process ends.
const Namespaces = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS

// builtIn are directories of the machine whose paths are built into the kubelet, containerd and CNI's library,
// and what each cluster has in their place.
var builtIn = map[string]string{
	"/run/containerd":  "run-containerd",
	"/var/lib/cni":     "var-lib-cni",
	"/var/lib/kubelet": "var-lib-kubelet",
	"/var/log":         "var-log",
}

// EnterNamespaces finishes the namespaces from the inside.
func EnterNamespaces(c *cluster.Cluster) error {
	// Mounts of the machine come in, ours don't get out; pods may ask for mounts that propagate between them.
	for _, propagation := range []uintptr{unix.MS_SLAVE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for target, source := range builtIn {
		source := c.Path("machine", source)
		if err := errors.Join(os.MkdirAll(source, 0o755), os.MkdirAll(target, 0o755)); err != nil {
			return err
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over %s: %w", target, err)
		}
	}
	return nil
}

// LeaveNamespaces lets go of the machine's directories, as far as cleaning up from inside needs it.
func LeaveNamespaces() error {
	var errs []error
	for target := range builtIn {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("uncover %s: %w", target, err))
		}
	}
	return errors.Join(errs...)
}
