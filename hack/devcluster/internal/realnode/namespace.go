package realnode

import (
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
	// These two paths are built into the kubelet and into CNI's library.
	for target, source := range map[string]string{"/var/log": "var-log", "/var/lib/cni": "var-lib-cni"} {
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(c.Path("node", source), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over %s: %w", target, err)
		}
	}
	return nil
}
