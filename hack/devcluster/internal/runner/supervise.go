package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/grantry/grantry/hack/devcluster/internal/cluster"
	"github.com/grantry/grantry/hack/devcluster/internal/realnode"
)

// Supervise starts the runner, ends it when ctx or the owner ends, and cleans up after it.
func Supervise(ctx context.Context, c *cluster.Cluster, progress *os.File) error {
	var err error
	if c.Supervisor, err = cluster.IdentifyProcess(os.Getpid()); err != nil {
		return err
	}
	if c.OwnerPID != 0 {
		var cancel context.CancelFunc
		if ctx, cancel, err = untilGone(ctx, c.OwnerPID); err != nil {
			return err
		}
		defer cancel()
	}
	command, lifeline, err := startRunner(c, progress)
	if err != nil {
		return err
	}
	defer lifeline.Close()
	progress.Close()
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	select {
	case <-ctx.Done():
		if err := stop(c, ended, command.Process); err != nil {
			return err
		}
		return remove(c)
	case err := <-ended:
		reason := runnerReason(c, err)
		return errors.Join(errors.New(reason), Cleanup(c), keepLogs(c, reason))
	}
}

func startRunner(c *cluster.Cluster, progress *os.File) (*exec.Cmd, *os.File, error) {
	lifelineRead, lifeline, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer lifelineRead.Close()
	log, err := os.OpenFile(c.Log("devcluster"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	command := Self("run", "--dir", c.Dir)
	command.Dir = "/"
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{lifelineRead, progress} // in the order of the runner's descriptors
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.Nodes == cluster.NodesReal {
		command.SysProcAttr.Cloneflags = realnode.Namespaces
	}
	// Saved before as well as after: a runner whose identity is not recorded still has its supervisor's.
	if err := c.Save(); err != nil {
		return nil, nil, err
	}
	if err := command.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the runner: %w", err)
	}
	if c.Runner, err = cluster.IdentifyProcess(command.Process.Pid); err == nil {
		err = c.Save()
	}
	return command, lifeline, err
}

// Self runs this program again. `go run` deletes its file, but not what /proc shows of it.
func Self(arguments ...string) *exec.Cmd {
	command := exec.Command("/proc/self/exe", arguments...)
	command.Args[0] = "devcluster" // for who reads the list of processes
	return command
}

// stopLimit is far more than the runner needs to kill its processes.
const stopLimit = 10 * time.Second

func stop(c *cluster.Cluster, ended <-chan error, runner *os.Process) error {
	if err := runner.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-time.After(stopLimit):
	}
	if err := runner.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-ended
	return nil
}

// untilGone returns a context that ends with a process, however that ends.
func untilGone(parent context.Context, pid int) (context.Context, context.CancelFunc, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("watch the owner, process %d: %w", pid, err)
	}
	ctx, cancel := context.WithCancel(parent)
	go func() {
		defer cancel()
		defer unix.Close(fd)
		for {
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if err != unix.EINTR {
				return
			}
		}
	}()
	return ctx, cancel, nil
}

// runnerReason is the runner's last word, or how it ended.
func runnerReason(c *cluster.Cluster, err error) string {
	reason, readErr := os.ReadFile(c.Path("reason"))
	if readErr == nil && len(reason) > 0 {
		return string(reason)
	}
	return fmt.Sprintf("the runner ended by itself: %v", err)
}

// writeReason leaves the runner's last word for the supervisor.
func writeReason(c *cluster.Cluster, reason error) error {
	return os.WriteFile(c.Path("reason"), []byte(reason.Error()), 0o600)
}

// Cleanup removes what a cluster that runs no more has outside its directory.
func Cleanup(c *cluster.Cluster) error {
	if c.Nodes != cluster.NodesReal {
		return nil
	}
	if err := realnode.Cleanup(c); err != nil {
		return fmt.Errorf("clean up after cluster %s: %w", c.Name, err)
	}
	return nil
}

// keepLogs leaves of a cluster that ended by itself only what tells why.
func keepLogs(c *cluster.Cluster, reason string) error {
	entries, err := os.ReadDir(c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if entry.Name() != "logs" {
			errs = append(errs, os.RemoveAll(filepath.Join(c.Dir, entry.Name())))
		}
	}
	c.Ended = reason
	return errors.Join(append(errs, c.Save())...)
}

// End ends a cluster in whatever state it is, and removes everything of it.
func End(c *cluster.Cluster) error {
	if err := c.Supervisor.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	for _, process := range []cluster.Process{c.Supervisor, c.Runner} {
		// A runner without its supervisor is about to clean up; it is given the time, too.
		if process.WaitGone(stopLimit + 5*time.Second) {
			continue
		}
		if err := process.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		if !process.WaitGone(stopLimit) {
			return fmt.Errorf("process %d of cluster %s can't be killed", process.PID, c.Name)
		}
	}
	return remove(c)
}

// remove cleans up after a cluster and removes its directory.
func remove(c *cluster.Cluster) error {
	defer cluster.RemoveEmptyState()
	return errors.Join(Cleanup(c), os.RemoveAll(c.Dir))
}
