//go:build e2e

package chaos

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// disk is a file system in memory that is mounted nowhere: it goes with the process that holds it.
type disk struct {
	fd        int
	directory string // in which etcd keeps its data
}

// diskSize is far more than etcd needs, in bytes. Only what is used takes memory.
const diskSize = 8 << 30

// newDisk makes a disk with room for everything.
func newDisk(t *testing.T) *disk {
	t.Helper()
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err == nil {
		err = unix.FsconfigSetString(fd, "size", fmt.Sprint(uint64(diskSize)))
	}
	if err == nil {
		err = unix.FsconfigCreate(fd)
	}
	if err != nil {
		t.Fatalf("make a disk for etcd, which needs root: %v", err)
	}
	defer func() { _ = unix.Close(fd) }()
	d := &disk{}
	if d.fd, err = unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0); err != nil {
		t.Fatalf("make a disk for etcd: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(d.fd) })
	d.directory = fmt.Sprintf("/proc/%d/fd/%d/etcd", os.Getpid(), d.fd)
	return d
}

// resize changes how much there is room for.
func (d *disk) resize(bytes uint64) error {
	fd, err := unix.Fspick(d.fd, "", unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH)
	if err != nil {
		return fmt.Errorf("pick the disk: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.FsconfigSetString(fd, "size", fmt.Sprint(bytes)); err != nil {
		return fmt.Errorf("resize the disk: %w", err)
	}
	return unix.FsconfigReconfigure(fd)
}

// fill leaves no room but for what is there.
func (d *disk) fill() error {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(d.fd, &stat); err != nil {
		return err
	}
	return d.resize((stat.Blocks - stat.Bfree) * uint64(stat.Bsize))
}

// fillDisk leaves etcd no room: it ends, and ends again whenever it is started.
func fillDisk(t *testing.T, s *site) func() {
	t.Helper()
	if err := s.disk.fill(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := s.disk.resize(diskSize); err != nil {
			t.Error(err)
		}
	}
}
