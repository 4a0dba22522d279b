package harness

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the command when this process ends, however it ends.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
