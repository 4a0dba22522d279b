package cluster

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Lock waits until no other program holds the file and holds it until the returned function is called or the
// program ends, however it ends. It calls waiting once if it has to wait.
func Lock(path string, waiting func()) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
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
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { file.Close() }, nil
}

// LockMachine keeps other clusters from picking addresses, or from changing what they share, meanwhile.
func LockMachine() (unlock func(), err error) {
	root, err := StateRoot()
	if err != nil {
		return nil, err
	}
	return Lock(filepath.Join(root, "machine.lock"), func() {})
}
