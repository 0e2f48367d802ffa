// Command webhook is the mutating admission webhook.
package main

import (
	"os"

	"github.com/shorthop/shorthop/internal/app"
)

func main() {
	os.Exit(app.Main(os.Args[1:], os.Stdout, os.Stderr))
}
