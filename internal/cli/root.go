// Package cli has the commands of kubectl-shorthop. Main is the one entry;
// everything a command reads and writes comes in through Streams, so that
// tests run it in process.
//
// Results go to standard output, remarks and errors to standard error. The
// exit codes:
//
//	0   done
//	1   findings, or input that is not valid
//	2   could not run: a usage error, or a file that cannot be read
//
// Input that is not valid is a finding of a command that judges its input, as lint
// does. A command that looks for something else, as doctor does, could not run then.
package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shorthop/shorthop/pkg/printable"
)

const (
	exitDone     = 0
	exitFindings = 1
	exitFailed   = 2
)

// programName starts every message on standard error.
const programName = "kubectl-shorthop"

// cobraSuggestions is what cobra puts between an error and the commands that may
// be meant.
const cobraSuggestions = "\n\nDid you mean this?"

// stdinName is the file name that stands for standard input.
const stdinName = "-"

// Streams is what commands read and write.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Open opens a file that an argument names.
	Open func(name string) (io.ReadCloser, error)
}

// System is the process's own.
func System() Streams {
	return Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Open: func(name string) (io.ReadCloser, error) { return os.Open(name) },
	}
}

// exitError is an error that says how to exit.
type exitError struct {
	code int
	// lines go to standard error, one each. None: what is to be said is said.
	lines []string
}

func (e *exitError) Error() string { return strings.Join(e.lines, "\n") }

// errFindings is for a command whose findings are its output.
var errFindings = &exitError{code: exitFindings}

// failure is an error for which a command could not run.
func failure(format string, args ...any) error {
	return &exitError{exitFailed, []string{programName + ": " + fmt.Sprintf(format, args...)}}
}

// invalid is an error for input that is not valid: one line per problem, each
// beginning with the file.
func invalid(lines []string) error { return &exitError{exitFindings, lines} }

// couldNotRun is an error of a command whose exit code 1 says what it has found:
// input that is not valid is no finding there.
func couldNotRun(err error) error {
	if exit, ok := errors.AsType[*exitError](err); ok {
		return &exitError{exitFailed, exit.lines}
	}
	return err
}

// Main runs the command that args (without the program's name) call for and
// returns the exit code.
func Main(args []string, s Streams) int {
	s.Err = messages{s.Err}
	root := newRoot(s)
	root.SetArgs(append([]string{}, args...)) // of nil, cobra would make os.Args
	command, err := root.ExecuteC()
	if err == nil {
		return exitDone
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		for _, line := range exit.lines {
			fmt.Fprintln(s.Err, printable.Clip(line))
		}
		return exit.code
	}
	// What is left comes from cobra: wrong flags, arguments and commands.
	message, suggestions, suggested := strings.Cut(err.Error(), cobraSuggestions)
	fmt.Fprintf(s.Err, "%s: %s\n", programName, printable.Clip(message))
	if suggested {
		fmt.Fprintf(s.Err, "%s%s\n", cobraSuggestions[1:], suggestions)
	}
	fmt.Fprintf(s.Err, "Run '%s --help' for usage.\n", command.CommandPath())
	return exitFailed
}

func newRoot(s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:         programName,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl shorthop"},
		Short:       "Explain and check what Shorthop does to pods",
		Long: `Explain and check what Shorthop does to pods.

Shorthop is a mutating admission webhook that points pods straight at the API
server and at the DNS cache on their own node.

To complete commands and flags behind "kubectl shorthop", put an executable
kubectl_complete-shorthop on the PATH, with these two lines:

  #!/bin/sh
  exec kubectl-shorthop __complete "$@"

Exit codes: 0 done, 1 findings, 2 could not run. Input that is not valid is a
finding of explain, lint and webhook-config; the others cannot run with it.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.AddCommand(
		newAdvise(s),
		newAudit(s),
		newDetect(s),
		newDoctor(s),
		newExplain(s),
		newLint(s),
		newResolvers(s),
		newWebhookConfig(s),
		newVersion(s),
	)
	return root
}

// read returns the content of a file, or of standard input for "-".
func (s *Streams) read(name string) ([]byte, error) { return s.readAtMost(name, math.MaxInt64) }

// readAtMost is read of so many bytes at most.
func (s *Streams) readAtMost(name string, most int64) ([]byte, error) {
	in := s.In
	if name != stdinName {
		file, err := s.Open(name)
		if err != nil {
			return nil, failure("cannot read %s: %v", name, withoutPath(err))
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, most))
	if err != nil {
		return nil, failure("cannot read %s: %v", displayName(name), withoutPath(err))
	}
	return data, nil
}

// withoutPath is the error without the file's name, which the message has.
func withoutPath(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}

// write writes a command's whole result at once, so that a command that fails
// half way has written nothing.
func (s *Streams) write(result []byte) error {
	if _, err := s.Out.Write(result); err != nil {
		return failure("cannot write the result: %v", err)
	}
	return nil
}

// displayName is what messages call a file.
func displayName(file string) string {
	if file == stdinName {
		return "standard input"
	}
	return file
}

// displayNames is displayName of each.
func displayNames(files []string) []string {
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = displayName(file)
	}
	return names
}

// onlyOneStdin refuses to read standard input twice.
func onlyOneStdin(files ...string) error {
	uses := 0
	for _, file := range files {
		if file == stdinName {
			uses++
		}
	}
	if uses > 1 {
		return failure("standard input (-) can be read only once")
	}
	return nil
}
