package policyfile

import (
	"fmt"
	"os"
	"strings"

	"github.com/shorthop/shorthop/internal/loglimit"
)

// readRegular is read of a path that must be a file: opening a named pipe, or
// reading a device, would never end.
func readRegular(path string) content {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() { // reading a folder fails by itself
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return content{nil, err}
	}
	return read(path)
}

// Line returns the text of an error about a policy on one line, of 1,000 bytes at
// most: a log has it, and a kubelet shows it in an event.
func Line(err error) string {
	const longest = 1000
	return loglimit.Quote(strings.ReplaceAll(err.Error(), "\n", "; "), longest)
}
