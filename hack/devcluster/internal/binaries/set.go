// Package binaries builds what a cluster runs from the nested modules beside this one, and keeps it outside
// the working tree.
package binaries

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// set is a nested module whose programs are built and cached together.
type set struct {
	title    string   // as the user reads it, with the version after it
	module   string   // directory of the nested module
	modfile  string   // name of its go.mod
	pinned   string   // module path whose version is the set's
	packages []string // what to build
	tags     string
	ldflags  func(version string) string
	links    map[string][]string // other names for a built program
}

var kubernetes = set{
	title:    "kubernetes",
	module:   "kubernetes",
	modfile:  "go.mod",
	pinned:   "k8s.io/kubernetes",
	packages: []string{"."},
	ldflags:  kubernetesVersionFlags,
	links: map[string][]string{
		"kubernetes": {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet"},
	},
}

var containerd = set{
	title:   "containerd",
	module:  "nodes",
	modfile: "go.mod",
	pinned:  "github.com/containerd/containerd/v2",
	packages: []string{
		"github.com/containerd/containerd/v2/cmd/containerd",
		"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
		"github.com/containerd/containerd/v2/cmd/ctr",
	},
	tags: "no_btrfs no_devmapper no_zfs", // snapshotters that need C libraries or are of no use here
	ldflags: func(version string) string {
		return "-X github.com/containerd/containerd/v2/version.Version=" + version
	},
}

var kwok = set{
	title:    "kwok",
	module:   "kwok",
	modfile:  "go.mod",
	pinned:   "sigs.k8s.io/kwok",
	packages: []string{"sigs.k8s.io/kwok/cmd/kwok"},
	ldflags:  func(version string) string { return "-X sigs.k8s.io/kwok/pkg/consts.Version=" + version },
}

// oldest is the name of the oldest Kubernetes that Grantry supports, in the environment and of its go.mod: it
// is built from the same main.go.
const oldest = "oldest"

// chosenKubernetes is the set that $GRANTRY_KUBERNETES names. It is no flag, so that the tests that start
// clusters themselves start them of that version, too.
func chosenKubernetes() (set, error) {
	chosen := kubernetes
	switch name := os.Getenv("GRANTRY_KUBERNETES"); name {
	case "":
	case oldest:
		chosen.modfile = oldest + ".mod"
	default:
		return set{}, fmt.Errorf("GRANTRY_KUBERNETES is %q: unset it, or set it to %q", name, oldest)
	}
	return chosen, nil
}

var majorMinor = regexp.MustCompile(`^v(\d+)\.(\d+)\.`)

// kubernetesVersionFlags set what a release build would: without them the API server reports v0.0.0, and
// clients that check for a minimum version refuse it.
func kubernetesVersionFlags(version string) string {
	parts := majorMinor.FindStringSubmatch(version)
	const variable = "-X k8s.io/component-base/version."
	return fmt.Sprintf("%sgitVersion=%s %sgitMajor=%s %sgitMinor=%s", variable, version, variable, parts[1], variable, parts[2])
}

// Source is the directory that holds this module's sources and the nested modules.
func Source() (string, error) {
	candidates := []string{os.Getenv("GRANTRY_DEVCLUSTER_SOURCE"), "."}
	if _, file, _, ok := runtime.Caller(0); ok {
		candidates = append(candidates, filepath.Join(filepath.Dir(file), "..", ".."))
	}
	for _, dir := range candidates {
		if dir == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, kubernetes.module, kubernetes.modfile)); err == nil {
			return filepath.Abs(dir)
		}
	}
	return "", errors.New("can't find the sources of devcluster: run it with `go run -C hack/devcluster .`, or set GRANTRY_DEVCLUSTER_SOURCE to that directory")
}

// version reads from the set's go.mod which version of its main module is built.
func (s set) version(dir string) (string, error) {
	file := filepath.Join(dir, s.modfile)
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	match := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(s.pinned) + ` (v\d+\.\d+\.\S+)`).FindSubmatch(data)
	if match == nil {
		return "", fmt.Errorf("%s does not require %s", file, s.pinned)
	}
	return string(match[1]), nil
}

// fingerprint changes with everything that a build's result depends on.
func (s set) fingerprint(dir, version string) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOOS, runtime.GOARCH, s.packages, s.tags, s.ldflags(version), s.links)
	for _, name := range []string{s.modfile, strings.TrimSuffix(s.modfile, ".mod") + ".sum", "main.go"} {
		file, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) && name == "main.go" {
			continue // a module of tools has none
		}
		if err != nil {
			return "", err
		}
		_, err = io.Copy(hash, file)
		file.Close()
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", hash.Sum(nil))[:10], nil
}

// CacheRoot is where built programs are kept.
func CacheRoot() (string, error) {
	if dir := os.Getenv("GRANTRY_CACHE"); dir != "" {
		abs, err := filepath.Abs(dir)
		return filepath.Join(abs, "devcluster"), err
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a directory for built programs (set GRANTRY_CACHE): %w", err)
	}
	return filepath.Join(dir, "grantry", "devcluster"), nil
}
