package realnode

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
)

// Cleanup takes away what the node has outside its processes. They must be gone; what is already away is no
// error.
func Cleanup(c *cluster.Cluster) error {
	// Files are removed only when no mount is below them: a mount may show files that are not the cluster's.
	dirs := []string{c.Path("machine"), c.RuntimeDir()}
	for _, n := range c.RealNodeList() {
		dirs = append(dirs, n.Path())
	}
	for _, dir := range dirs {
		if err := detachMounts(dir); err != nil {
			return err
		}
	}
	errs := []error{
		removeNetwork(c),
		removeCgroups(c),
	}
	for _, dir := range dirs {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(append(errs, restore(c))...)
}

func detachMounts(dir string) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	var errs []error
	for _, mount := range slices.Backward(mounts) {
		if mount.target != dir && !strings.HasPrefix(mount.target, dir+"/") {
			continue
		}
		if err := unix.Unmount(mount.target, unix.MNT_DETACH); err != nil {
			errs = append(errs, fmt.Errorf("unmount %s: %w", mount.target, err))
		}
	}
	return errors.Join(errs...)
}

type mount struct{ target, fileSystem string }

func readMounts() ([]mount, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var mounts []mount
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		parsed, err := parseMount(scanner.Text())
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, parsed)
	}
	return mounts, scanner.Err()
}

// parseMount reads a line of mountinfo: "ID parent device root TARGET options… - FILESYSTEM source options".
func parseMount(line string) (mount, error) {
	before, after, found := strings.Cut(line, " - ")
	fields, rest := strings.Fields(before), strings.Fields(after)
	if !found || len(fields) < 5 || len(rest) < 1 {
		return mount{}, fmt.Errorf("unexpected line in mountinfo: %q", line)
	}
	return mount{target: unescape.Replace(fields[4]), fileSystem: rest[0]}, nil
}

// unescape reads the octal escapes that mountinfo has.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\043`, "#", `\134`, `\`)
