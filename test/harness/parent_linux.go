package harness

import (
	"os/exec"
	"syscall"
)

// DieWithParent ends the command when this process ends, however it ends.
func DieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
