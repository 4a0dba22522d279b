// Package realnode runs pods on this machine: it configures containerd and the kubelet, gives them a network
// and images, and takes everything away again.
package realnode

import (
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"golang.org/x/sys/unix"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

//go:embed config
var configs embed.FS

// Files are what the node's programs read.
type Files struct{ Containerd, Kubelet, Images string }

// Prepare writes a node's configuration and images.
func Prepare(n cluster.Node) (Files, error) {
	files := Files{
		Containerd: n.Path("containerd.toml"),
		Kubelet:    n.Path("kubelet.yaml"),
		Images:     n.Path("images.tar"),
	}
	for _, dir := range []string{"containerd", "cni", "kubelet", "pod-logs"} {
		if err := os.MkdirAll(n.Path(dir), 0o755); err != nil {
			return Files{}, err
		}
	}
	if err := os.MkdirAll(n.RuntimeDir(), 0o711); err != nil {
		return Files{}, err
	}
	for name, file := range map[string]string{
		"containerd.toml": files.Containerd,
		"kubelet.yaml":    files.Kubelet,
		"cni.conflist":    n.Path("cni", "10-devcluster.conflist"),
	} {
		if err := render(n, name, file); err != nil {
			return Files{}, fmt.Errorf("write %s: %w", name, err)
		}
	}
	if err := writeImages(files.Images, n.Busybox); err != nil {
		return Files{}, fmt.Errorf("make the node's images: %w", err)
	}
	return files, nil
}

func render(n cluster.Node, name, file string) error {
	parsed, err := template.ParseFS(configs, "config/"+name)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(file, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	first, last := n.PodRange()
	return parsed.Execute(out, struct {
		cluster.Node
		Snapshotter, PauseImage, FirstPod, LastPod string
	}{n, snapshotter(n.Dir), pauseTags[0], first, last})
}

// snapshotter is overlayfs, except where the directory is itself on an overlay (in a container), which can't
// be the upper layer of another.
func snapshotter(dir string) string {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil || stat.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}

// ImportCommand loads an archive of images, as `docker save` writes them, into a node.
func ImportCommand(n cluster.Node, archive string) []string {
	return []string{
		filepath.Join(n.NodeBinaries, "ctr"), "--address", n.ContainerdSocket(), "--namespace", "k8s.io",
		"images", "import", "--local", "--snapshotter", snapshotter(n.Dir), archive,
	}
}
