package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Process names a process for good: its number is used again one day, its number and the time of its
// start are not.
type Process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since the machine started
}

// IdentifyProcess names a process that runs now.
func IdentifyProcess(pid int) (Process, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, err
	}
	_, start, err := parseStat(stat)
	return Process{PID: pid, Start: start}, err
}

// Alive says whether this very process runs. A zombie does not.
func (p Process) Alive() bool {
	if p.PID == 0 {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return false
	}
	state, start, err := parseStat(stat)
	return err == nil && start == p.Start && state != 'Z' && state != 'X'
}

// Signal sends a signal to this very process; to send one to a process that is gone is no error.
func (p Process) Signal(signal syscall.Signal) error {
	if !p.Alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, signal); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("signal process %d: %w", p.PID, err)
	}
	return nil
}

// WaitGone waits until the process is gone and says whether that was within the time.
func (p Process) WaitGone(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); p.Alive(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// Child finds the child of this process that runs a program, by the program's base name.
func (p Process) Child(program string) (Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return Process{}, err
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || parentOf(pid) != p.PID {
			continue
		}
		command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if name, _, _ := bytes.Cut(command, []byte{0}); err == nil && filepath.Base(string(name)) == program {
			return IdentifyProcess(pid)
		}
	}
	return Process{}, fmt.Errorf("process %d has no child %q", p.PID, program)
}

// parentOf is the number of a process' parent, or 0 if there is no such process.
func parentOf(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(string(fields[1])) // the kernel writes a number
	return parent
}

// parseStat reads the state and the start time from /proc/PID/stat. The command's name, in parentheses,
// may hold anything, so the fields are counted from its end.
func parseStat(stat []byte) (state byte, start uint64, err error) {
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	if end < 0 || len(fields) < 20 {
		return 0, 0, fmt.Errorf("unexpected process status %q", stat)
	}
	start, err = strconv.ParseUint(string(fields[19]), 10, 64)
	return fields[0][0], start, err
}
