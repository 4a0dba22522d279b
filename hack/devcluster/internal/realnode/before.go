package realnode

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

const forwardingFile = "/proc/sys/net/ipv4/ip_forward" // the bridge plugin writes 1

// LookBefore sees what a real node is about to change for the whole machine.
func LookBefore() cluster.Before {
	forwarding, err := os.ReadFile(forwardingFile)
	before := cluster.Before{ForwardingOff: err == nil && len(forwarding) > 0 && forwarding[0] == '0'}
	for _, dir := range slices.Sorted(maps.Keys(builtIn)) {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			before.Absent = append(before.Absent, dir)
		}
	}
	return before
}

// restore makes the machine as it was before, or leaves that to another real node that still runs.
func restore(c *cluster.Cluster) error {
	unlock, err := cluster.LockMachine()
	if err != nil {
		return err
	}
	defer unlock()
	others, err := cluster.List()
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.Dir != c.Dir && other.Nodes == cluster.NodesReal && other.State() != "stopped" {
			other.Before = merge(other.Before, c.Before)
			return other.Save()
		}
	}
	if c.Before.ForwardingOff {
		if err := os.WriteFile(forwardingFile, []byte("0\n"), 0o644); err != nil {
			return err
		}
	}
	for _, dir := range c.Before.Absent {
		// Only an empty one is removed, and only without a node: to remove a directory takes away what is
		// mounted on it in other namespaces.
		_ = os.Remove(dir)
	}
	return nil
}

func merge(a, b cluster.Before) cluster.Before {
	absent := slices.Concat(a.Absent, b.Absent)
	slices.Sort(absent)
	return cluster.Before{ForwardingOff: a.ForwardingOff || b.ForwardingOff, Absent: slices.Compact(absent)}
}
