//go:build !linux

package harness

import "os/exec"

// DieWithParent does nothing: only Linux ends a process with its parent.
func DieWithParent(*exec.Cmd) {}
