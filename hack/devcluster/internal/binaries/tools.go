package binaries

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// Tools are the programs of a real node that come from the machine.
type Tools struct {
	CNI     string // directory of the CNI plugins
	Busybox string // a static one: the only container image that can be made without a registry
}

// tool is a program that a real node needs from the machine.
type tool struct {
	title, debian string
	find          func() (string, bool)
}

var nodeTools = []tool{
	{title: "runc", debian: "runc", find: onPath("runc")},
	{title: "the CNI plugins", debian: "containernetworking-plugins", find: cniPlugins},
	{title: "a static busybox", debian: "busybox-static", find: staticBusybox},
	{title: "iptables", debian: "iptables", find: onPath("iptables")},
	{title: "mount", debian: "mount", find: onPath("mount")},
}

// FindTools looks for what these nodes need. The error says in one line all that is missing and the command
// that installs it.
func FindTools(nodes cluster.Nodes) (Tools, error) {
	if nodes != cluster.NodesReal {
		return Tools{}, nil
	}
	if err := missing(nodeTools, os.Geteuid()); err != nil {
		return Tools{}, err
	}
	cni, _ := cniPlugins()
	busybox, _ := staticBusybox()
	return Tools{CNI: cni, Busybox: busybox}, nil
}

func missing(tools []tool, uid int) error {
	var titles, packages []string
	for _, tool := range tools {
		if _, ok := tool.find(); !ok {
			titles = append(titles, tool.title)
			packages = append(packages, tool.debian)
		}
	}
	switch {
	case len(titles) > 0 && uid != 0:
		return fmt.Errorf("--nodes=real needs root (run it with sudo) and %s: sudo apt-get install -y %s", join(titles), strings.Join(packages, " "))
	case len(titles) > 0:
		return fmt.Errorf("--nodes=real needs %s: apt-get install -y %s", join(titles), strings.Join(packages, " "))
	case uid != 0:
		return fmt.Errorf("--nodes=real needs root: run it with sudo -E, or use --nodes=kwok")
	default:
		return nil
	}
}

// join lists words as a sentence does.
func join(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

func onPath(name string) func() (string, bool) {
	return func() (string, bool) {
		path, err := exec.LookPath(name)
		return path, err == nil
	}
}

func cniPlugins() (string, bool) {
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"} {
		if allExecutable(dir, "bridge", "host-local", "loopback") {
			return dir, true
		}
	}
	return "", false
}

func allExecutable(dir string, names ...string) bool {
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

// staticBusybox passes over a busybox that needs shared libraries: its image would have none.
func staticBusybox() (string, bool) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", false
	}
	program, err := elf.Open(path)
	if err != nil {
		return "", false
	}
	defer program.Close()
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			return "", false
		}
	}
	return path, true
}
