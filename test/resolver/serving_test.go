//go:build e2e

package resolver_test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// serving is a program that reads names, a line each, and prints for each what others
// print for one, and an empty line.
type serving struct {
	cmd   *exec.Cmd
	names io.WriteCloser
	lines *bufio.Scanner
}

// servings are those that run in a sandbox, by their command, what they find in
// resolv.conf when they start, and their environment.
type servings map[string]*serving

func (s servings) lookUp(r request) (observation, error) {
	key := fmt.Sprintf("%q %q %q", append([]string{r.Probe}, r.Args...), r.Case.Conf.String(), r.environment())
	program, ok := s[key]
	if !ok {
		program = &serving{cmd: exec.Command(r.Probe, r.Args...)}
		program.cmd.Env, program.cmd.Stderr = r.environment(), os.Stderr
		names, err := program.cmd.StdinPipe()
		if err != nil {
			return observation{}, err
		}
		output, err := program.cmd.StdoutPipe()
		if err != nil {
			return observation{}, err
		}
		program.names, program.lines = names, bufio.NewScanner(output)
		if err := program.cmd.Start(); err != nil {
			return observation{}, fmt.Errorf("%s: %w", r.Probe, err)
		}
		s[key] = program
	}
	defer time.AfterFunc(hangs, func() { _ = program.cmd.Process.Kill() }).Stop()
	if _, err := fmt.Fprintln(program.names, r.Case.Name); err != nil {
		return observation{}, fmt.Errorf("%s: %w", r.Probe, err)
	}
	var lines []string
	for program.lines.Scan() {
		line := strings.TrimSpace(program.lines.Text())
		if line == "" && len(lines) > 0 {
			return observed(lines)
		}
		lines = append(lines, line)
	}
	return observation{}, fmt.Errorf("%s ended, or was ended after %s: %w", r.Probe, hangs, cmp.Or(program.lines.Err(), io.ErrUnexpectedEOF))
}

func (s servings) stop() {
	for _, program := range s {
		_ = program.names.Close()
		_ = program.cmd.Wait()
	}
}
