package realnode

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// CreateCgroups makes the cluster's cgroup in every hierarchy, and one for each node in it; kubelets make the pods' below.
func CreateCgroups(c *cluster.Cluster) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for _, root := range cgroupRoots(mounts) {
		names := []string{c.ID()}
		for _, n := range c.RealNodeList() {
			names = append(names, n.CgroupName())
		}
		for _, name := range names {
			if err := createCgroup(root, filepath.Join(root, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func createCgroup(root, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make cgroup: %w", err)
	}
	// A new cpuset has no processors, so nothing could run in it.
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || strings.TrimSpace(string(data)) == "" {
			continue // another hierarchy, or version 2, where empty means all
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("fill cpuset: %w", err)
		}
	}
	return nil
}

// removeCgroups waits for the kernel to be done with processes that were killed.
func removeCgroups(c *cluster.Cluster) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for _, root := range cgroupRoots(mounts) {
		dir := filepath.Join(root, c.ID())
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			err := removeCgroup(dir)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
		}
	}
	return nil
}

// removeCgroup removes a cgroup and those below it. Their files can't be removed, only the directories.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := removeCgroup(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return os.Remove(dir)
}

// cgroupRoots are where the hierarchies are mounted: many of version 1, one of version 2, or both.
func cgroupRoots(mounts []mount) []string {
	var roots []string
	for _, mount := range mounts {
		if mount.fileSystem == "cgroup" || mount.fileSystem == "cgroup2" {
			roots = append(roots, mount.target)
		}
	}
	return roots
}
