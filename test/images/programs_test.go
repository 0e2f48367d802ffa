package images

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shorthop/shorthop/test/testfile"
)

// What looks up a name, in Go and in C.
const (
	goLookup = `package main

import "net"

func main() { net.LookupHost("example.com") }
`
	goHello = `package main

func main() { println("hello") }
`
	goLibrary = `package main

import "C"
import "net"

//export lookup
func lookup() { net.LookupHost("example.com") }

func main() {}
`
	cLookup = `#include <netdb.h>
#include <stdlib.h>
int main(void) { struct addrinfo *found; return getaddrinfo("example.com", 0, 0, &found); }
`
	// cAres looks at the variable itself, as c-ares does, beside the C library.
	cAres = `#include <netdb.h>
#include <stdlib.h>
int main(void) { struct addrinfo *found; return getenv("RES_OPTIONS") != 0 || getaddrinfo("example.com", 0, 0, &found); }
`
	// cNamesResolvConf has the name of the file, and nothing that looks at RES_OPTIONS.
	cNamesResolvConf = `const char *const file = "/etc/resolv.conf";
int main(void) { return file[0]; }
`
	cHello = `int main(void) { return 0; }
`
)

// hasCompiler reports whether there are C programs: on Linux with gcc and glibc.
// Where not, tests say what they leave out.
var hasCompiler = sync.OnceValue(func() bool {
	_, err := exec.LookPath("gcc")
	return err == nil && glibcLoaderPath() != ""
})

// glibcLoaderPath is where this machine's glibc has its loader.
func glibcLoaderPath() string {
	for _, pattern := range []string{"/lib/*-linux-gnu*/ld-linux*.so.*", "/lib64/ld-linux*.so.*", "/lib/ld-linux*.so.*"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// build runs a compiler and returns what it made.
func build(t *testing.T, env []string, output string, command ...string) []byte {
	t.Helper()
	c := exec.CommandContext(t.Context(), command[0], command[1:]...)
	c.Dir = filepath.Dir(output)
	c.Env = append(os.Environ(), env...)
	if said, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, said)
	}
	return testfile.Read(t, output)
}

// buildGo builds a Go program with environment variables (with a =) and flags.
func buildGo(t *testing.T, source string, how ...string) []byte {
	t.Helper()
	folder := writeSource(t, "main.go", source)
	testfile.Write(t, filepath.Join(folder, "go.mod"), "module example.com/lookup\n\ngo 1.26\n")
	env := []string{"GOFLAGS=", "GOWORK=off"}
	output := filepath.Join(folder, "program")
	command := []string{"go", "build", "-o", output}
	for _, one := range how {
		if strings.HasPrefix(one, "-") {
			command = append(command, one)
		} else {
			env = append(env, one)
		}
	}
	return build(t, env, output, append(command, ".")...)
}

// buildC builds a C program with the machine's glibc.
func buildC(t *testing.T, source string, flags ...string) []byte {
	t.Helper()
	folder := writeSource(t, "main.c", source)
	output := filepath.Join(folder, "program")
	return build(t, nil, output, append([]string{"gcc", "-w", "-o", output, "main.c"}, flags...)...)
}
