//go:build e2e

package advisor_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sandboxEnv marks the process that is a sandbox, and names its folder.
const sandboxEnv = "SHORTHOP_ADVISOR_SANDBOX"

// request is what the sandbox does: CoreDNS serves a zone, and one client after the
// other looks up its names.
type request struct {
	CoreDNS string
	Zone    string
	Clients []client
	// WholeEtc leaves the other files of /etc in place, which some programs need.
	WholeEtc bool
}

// client is a pod: an address, a resolv.conf without nameserver, and a program.
type client struct {
	Address string
	Conf    string
	Program string
	Command string
	Names   []string
	// Silent programs print no answers.
	Silent bool
	// Env is added to the program's environment.
	Env []string
	// Servers is how often the nameserver is in resolv.conf; 0 is once.
	Servers int
	// Between, if any, is a program that serves at the address in CoreDNS's place and asks
	// CoreDNS at 127.0.0.1 from it.
	Between []string
}

// reply is what came of it.
type reply struct {
	Log     []byte
	Answers [][]answer // by client and name
	Problem string
}

type answer struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
	Error     string   `json:"error"`
}

// inSandbox starts this test binary again in new namespaces. Without root it also
// gets a user namespace.
func inSandbox(ctx context.Context, dir string, r request) (reply, error) {
	self, err := os.Executable()
	if err != nil {
		return reply{}, err
	}
	input, err := json.Marshal(r)
	if err != nil {
		return reply{}, err
	}
	cmd := exec.CommandContext(ctx, self)
	var message bytes.Buffer
	cmd.Env = append(os.Environ(), sandboxEnv+"="+dir)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &message
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	output, err := cmd.Output()
	if err != nil {
		return reply{}, fmt.Errorf("sandbox (needs root or unprivileged user namespaces): %w: %s", err, &message)
	}
	var result reply
	if err := json.Unmarshal(output, &result); err != nil {
		return reply{}, err
	}
	if result.Problem != "" {
		return reply{}, errors.New("sandbox: " + result.Problem)
	}
	return result, nil
}

// runSandbox is the inside.
func runSandbox(dir string) error {
	var r request
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		return err
	}
	result, err := serve(dir, r)
	if err != nil {
		result.Problem = err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func serve(dir string, r request) (result reply, err error) {
	if err := furnish(dir, r); err != nil {
		return result, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	coredns := exec.CommandContext(ctx, r.CoreDNS, "-conf", filepath.Join(dir, "Corefile"))
	// CoreDNS logs in one write per line, so the pipe has whole lines.
	out, err := coredns.StdoutPipe()
	if err != nil {
		return result, err
	}
	coredns.Stderr = coredns.Stdout
	if err := coredns.Start(); err != nil {
		return result, err
	}
	logged := make(chan []byte, 1)
	go func() {
		var log bytes.Buffer
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadBytes('\n')
			if len(line) > 0 { // as kubectl logs --timestamps
				fmt.Fprintf(&log, "%s %s", time.Now().UTC().Format(time.RFC3339Nano), line)
			}
			if err != nil {
				break
			}
		}
		logged <- log.Bytes()
	}()
	if err := awaitDNS(ctx); err != nil {
		return result, err
	}
	for i := range r.Clients {
		stop, err := startBetween(ctx, &r.Clients[i])
		if err != nil {
			return result, err
		}
		defer stop() //nolint:gocritic // all of them run until the log has been read
		answers, err := lookUp(ctx, dir, &r.Clients[i])
		if err != nil {
			return result, err
		}
		result.Answers = append(result.Answers, answers)
	}
	// CoreDNS answers before it logs: once the last query is logged, so are all.
	_, _ = (&net.Resolver{PreferGo: true, Dial: dialCoreDNS}).LookupHost(ctx, "the.end.")
	time.Sleep(time.Second)
	if err := coredns.Process.Signal(unix.SIGTERM); err != nil {
		return result, err
	}
	result.Log = <-logged
	_ = coredns.Wait() // ended by a signal
	return result, nil
}

func dialCoreDNS(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "udp", "127.0.0.1:53")
}

func awaitDNS(ctx context.Context) error {
	r := &net.Resolver{PreferGo: true, Dial: dialCoreDNS}
	for range 100 {
		_, err := r.LookupHost(ctx, "ready.test.")
		if err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("CoreDNS does not answer")
}

// furnish gives every client an address of its own, from which CoreDNS is asked at
// that address, and puts a folder in the place of /etc.
func furnish(dir string, r request) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if r.WholeEtc {
		if err := linkEtc(dir); err != nil {
			return err
		}
	}
	bind := "127.0.0.1"
	for i := range r.Clients {
		if r.Clients[i].Between == nil {
			bind += " " + r.Clients[i].Address
		}
	}
	files := map[string]string{
		"nsswitch.conf": "hosts: dns\n", "hosts": "", "resolv.conf": "", "zone": r.Zone,
		"Corefile": ". {\n  bind " + bind + "\n  log\n  file " + filepath.Join(dir, "zone") + " .\n}\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := unix.Mount(dir, "/etc", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount over /etc: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	for i := range r.Clients {
		label, err := unix.NewIfreq(fmt.Sprintf("lo:%d", i))
		if err != nil {
			return err
		}
		if err := label.SetInet4Addr(net.ParseIP(r.Clients[i].Address).To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(socket, unix.SIOCSIFADDR, label); err != nil {
			return fmt.Errorf("add address %s: %w", r.Clients[i].Address, err)
		}
		// Of a wider network, all addresses would be asked from the first.
		if err := label.SetInet4Addr(net.IPv4bcast.To4()); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(socket, unix.SIOCSIFNETMASK, label); err != nil {
			return fmt.Errorf("narrow address %s: %w", r.Clients[i].Address, err)
		}
	}
	return nil
}

// lookUp runs a client's program once with all its names.
func lookUp(ctx context.Context, dir string, c *client) ([]answer, error) {
	conf := c.Conf + strings.Repeat("nameserver "+c.Address+"\n", max(c.Servers, 1))
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(conf), 0o644); err != nil {
		return nil, err
	}
	args := c.Names
	if c.Command != "" {
		args = append(strings.Fields(c.Command), c.Names...)
	}
	cmd := exec.CommandContext(ctx, c.Program, args...)
	cmd.Env = append([]string{"GODEBUG=netdns=go"}, c.Env...)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Program, err)
	}
	if c.Silent {
		return nil, nil
	}
	var answers []answer
	decoder := json.NewDecoder(strings.NewReader(string(output)))
	for {
		var a answer
		if err := decoder.Decode(&a); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	if len(answers) != len(c.Names) {
		return nil, fmt.Errorf("%s: %d answers for %d names", c.Program, len(answers), len(c.Names))
	}
	return answers, nil
}
