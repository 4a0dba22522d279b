package command

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/grantry/grantry/hack/devcluster/internal/authorization"
	"github.com/grantry/grantry/hack/devcluster/internal/binaries"
)

func newMode() *cobra.Command {
	var name, address string
	command := &cobra.Command{
		Use:       "mode [disabled|permissive|strict]",
		Short:     "Show the security mode of a running cluster, or switch it and return when the API server has taken it",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{string(authorization.Disabled), string(authorization.Permissive), string(authorization.Strict)},
		RunE: func(command *cobra.Command, arguments []string) error {
			c, err := loadRunning(name)
			if err != nil {
				return err
			}
			if len(arguments) == 0 && address != "" {
				return errors.New("--webhook-address comes with a mode to switch to")
			}
			if len(arguments) == 1 {
				unlock, err := lockName(command, name)
				if err != nil {
					return err
				}
				defer unlock()
				shipped, err := shippedConfigs()
				if err != nil {
					return err
				}
				if address != "" {
					if err := authorization.Redirect(c, shipped, address); err != nil {
						return err
					}
				}
				if err := authorization.Switch(command.Context(), c, shipped, authorization.Mode(arguments[0])); err != nil {
					return err
				}
			}
			mode, err := authorization.Current(c)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), mode)
			return err
		},
	}
	addName(command, &name)
	command.Flags().StringVar(&address, "webhook-address", "", "where the API server is to ask from now on, as HOST:PORT: the address of a Service, say; the present mode must be disabled")
	return command
}

// shippedConfigs is the directory with the configurations that Grantry ships.
func shippedConfigs() (string, error) {
	source, err := binaries.Source()
	if err != nil {
		return "", err
	}
	return filepath.Join(source, "..", "..", "config", "authorization"), nil
}
