//go:build e2e

package resolver_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shorthop/shorthop/pkg/resolver"
)

// hangs is how long a lookup may take before it counts as hanging: far longer
// than any that comes to an end.
const hangs = 3 * time.Minute

// observation is what a real lookup did.
type observation struct {
	Queries   []question
	Status    resolver.Status
	Addresses []string // sorted
	Problem   string   // of the sandbox, not of the resolver
}

// request is one case for a sandbox, and the program that looks up: it gets the name
// as its last argument.
type request struct {
	Case  testCase
	Probe string
	Args  []string // before the name
	// Serves says that the program is slow to start and remembers nothing: one looks
	// up all names that have the same resolv.conf and variables (see serving).
	Serves bool
}

// sandbox is a process in namespaces of its own, in which all nameservers are
// ours and /etc has nothing but what a case needs.
type sandbox struct {
	cmd     *exec.Cmd
	in      *json.Encoder
	out     *json.Decoder
	close   io.Closer
	message *bytes.Buffer
}

// sandboxEnv marks the process that is a sandbox, and names its folder.
const sandboxEnv = "SHORTHOP_RESOLVER_SANDBOX"

// newSandbox starts this test binary again in new namespaces. Without root it
// also gets a user namespace.
func newSandbox(ctx context.Context, dir string) (*sandbox, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &sandbox{cmd: exec.CommandContext(ctx, self), message: new(bytes.Buffer)}
	s.cmd.Env = append(os.Environ(), sandboxEnv+"="+dir)
	s.cmd.Stderr = s.message
	s.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		s.cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		s.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		s.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.in, s.out, s.close = json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out)), in
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a process in its own namespaces (needs root or unprivileged user namespaces): %w", err)
	}
	return s, nil
}

// observe runs one case.
func (s *sandbox) observe(r request) (observation, error) {
	var o observation
	err := s.in.Encode(r)
	if err == nil {
		err = s.out.Decode(&o)
	}
	switch {
	case err != nil:
		return o, fmt.Errorf("sandbox: %w: %s", err, s.message)
	case o.Problem != "":
		return o, fmt.Errorf("sandbox: %s", o.Problem)
	}
	return o, nil
}

// stop ends the process.
func (s *sandbox) stop() error {
	return errors.Join(s.close.Close(), s.cmd.Wait())
}

// runSandbox is the inside.
func runSandbox(dir string) error {
	server, err := furnish(dir)
	if err != nil {
		return err
	}
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	programs := servings{}
	defer programs.stop()
	for {
		var r request
		if err := in.Decode(&r); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		o, err := lookUp(server, programs, r)
		if err != nil {
			o.Problem = err.Error()
		}
		if err := out.Encode(o); err != nil {
			return err
		}
	}
}

// furnish brings up the loopback interface and puts a folder in the place of /etc.
func furnish(dir string) (*dnsServer, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	for name, text := range map[string]string{"nsswitch.conf": "hosts: dns\n", "hosts": "", "resolv.conf": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if err := unix.Mount(dir, "/etc", "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("mount over /etc: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(socket)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return nil, err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo); err != nil {
		return nil, fmt.Errorf("bring up lo: %w", err)
	}
	return listenDNS()
}

// lookUp runs the program for one case, in a new process, so that nothing is
// remembered from the one before, unless the program promises that.
func lookUp(server *dnsServer, programs servings, r request) (observation, error) {
	c := r.Case
	if err := os.WriteFile("/etc/resolv.conf", []byte(c.Conf.String()), 0o644); err != nil {
		return observation{}, err
	}
	if err := unix.Sethostname([]byte(c.Hostname)); err != nil {
		return observation{}, err
	}
	server.begin(scenario{
		zone:     c.Zone.outcome,
		servers:  c.serverAddresses(),
		address:  c.Zone.address,
		closeTCP: c.Resolver == resolver.Glibc,
		refuse:   c.Zone.Cluster != nil && c.Zone.Cluster.Upstream == upstreamRefuses,
	})
	look := r.run
	if r.Serves {
		look = programs.lookUp
	}
	o, err := look(r)
	if err != nil {
		return observation{}, err
	}
	o.Queries, err = server.end()
	return o, err
}

func (r request) environment() []string {
	env := []string{"LD_LIBRARY_PATH=" + os.Getenv("LD_LIBRARY_PATH")}
	if r.Case.ResOptions != "" {
		env = append(env, "RES_OPTIONS="+r.Case.ResOptions)
	}
	if r.Case.LocalDomain != "" {
		env = append(env, "LOCALDOMAIN="+r.Case.LocalDomain)
	}
	return env
}

func (request) run(r request) (observation, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.Probe, append(slices.Clone(r.Args), r.Case.Name)...)
	cmd.Env = r.environment()
	output, err := cmd.Output()
	if ctx.Err() != nil {
		return observation{}, fmt.Errorf("%s hangs", r.Probe)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && !exit.Exited(): // killed by a signal of its own
		return observation{Status: resolver.Crash}, nil
	case err != nil:
		return observation{}, fmt.Errorf("%s: %w", r.Probe, err)
	}
	return observed(strings.Split(strings.TrimSpace(string(output)), "\n"))
}

// observed is what a program prints: the outcome, and the addresses.
func observed(lines []string) (observation, error) {
	o := observation{Status: resolver.Status(lines[0])}
	for _, line := range lines[1:] {
		address, err := netip.ParseAddr(line)
		if err != nil {
			return observation{}, err
		}
		o.Addresses = append(o.Addresses, address.Unmap().String())
	}
	slices.Sort(o.Addresses)
	return o, nil
}
