package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/shorthop/shorthop/internal/buildinfo"
)

func newVersion(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  kubectl shorthop version",
		Args:    noArguments("there is nothing to choose"),
		RunE: func(*cobra.Command, []string) error {
			return s.write([]byte(programName + " " + buildinfo.Version + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + "\n"))
		},
	}
}
