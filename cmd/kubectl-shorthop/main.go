// Command kubectl-shorthop is the operator's tool, and a kubectl plugin: on
// the PATH, it is `kubectl shorthop`.
package main

import (
	"os"

	"github.com/shorthop/shorthop/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.System()))
}
