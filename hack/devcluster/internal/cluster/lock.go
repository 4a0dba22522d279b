package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Lock waits until no other program holds the file and holds it until the returned function is called or the
// program ends, however it ends. It calls waiting once if it has to wait. The file is removed with the lock.
func Lock(path string, waiting func()) (unlock func(), err error) {
	for {
		file, err := lockFile(path, waiting)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if file == nil {
			continue
		}
		return func() {
			_ = os.Remove(path) // a file that stays is no harm
			file.Close()
			RemoveEmptyState()
		}, nil
	}
}

// lockFile returns the locked file, or nil if it is not the one at the path any more: whoever held the lock
// removed it, and another may have made and locked a new one.
func lockFile(path string, waiting func()) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // the directory was removed in between
	}
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == unix.EWOULDBLOCK {
		waiting()
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	held, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(held, there) {
		file.Close()
		return nil, nil
	}
	return file, nil
}

// RemoveEmptyState removes the directory of the clusters' state if there is nothing in it, so that a machine is
// as it was once its last cluster is gone.
func RemoveEmptyState() {
	root, err := StateRoot()
	if err != nil {
		return
	}
	if os.Remove(root) == nil && filepath.Base(filepath.Dir(root)) == "grantry" {
		_ = os.Remove(filepath.Dir(root)) // not empty: somebody else's
	}
}

// LockMachine keeps other clusters from picking addresses, or from changing what they share, meanwhile.
func LockMachine() (unlock func(), err error) {
	root, err := StateRoot()
	if err != nil {
		return nil, err
	}
	return Lock(filepath.Join(root, "machine.lock"), func() {})
}
