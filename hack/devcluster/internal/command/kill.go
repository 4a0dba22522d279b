package command

import (
	"syscall"

	"github.com/spf13/cobra"
)

func newKill() *cobra.Command {
	var name string
	command := &cobra.Command{
		Use:   "kill COMPONENT",
		Short: "Kill a process of a cluster, such as kube-apiserver; without --restart the cluster ends with it",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, arguments []string) error {
			c, err := loadRunning(name)
			if err != nil {
				return err
			}
			process, err := c.Runner.Child(arguments[0])
			if err != nil {
				return err
			}
			return process.Signal(syscall.SIGKILL)
		},
	}
	addName(command, &name)
	return command
}
