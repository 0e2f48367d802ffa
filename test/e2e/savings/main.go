// Command savings counts what strategies of resolver options save, and writes
// savings.md, savings.json and savings.svg.
//
//	savings [--seed N] FOLDER
//
// It lives in this module because of what draws the picture.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/shorthop/shorthop/test/e2e/results"
	"github.com/shorthop/shorthop/test/savings"
)

func main() {
	seed := flag.Uint64("seed", savings.Seed, "of the workloads that are drawn")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "savings: say in which folder the results go")
		os.Exit(2)
	}
	if err := write(*seed, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "savings:", err)
		os.Exit(2)
	}
}

func write(seed uint64, dir string) error {
	all, err := savings.Run(seed)
	if err != nil {
		return err
	}
	if err := savings.Write(all, dir); err != nil {
		return err
	}
	picture, err := results.SavingsPicture(all)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "savings.svg"), picture, 0o644)
}
