package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a daemon of the node, with its output in a file.
type process struct {
	name   string
	log    string
	cmd    *exec.Cmd
	exited chan struct{} // closed once it is gone
}

// start runs a daemon. It outlives the context of its start.
func (n *Node) start(name, binary string, args ...string) (*process, error) {
	p := &process{name: name, log: n.LogPath(name), exited: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer out.Close()                     // the child has a descriptor of its own
	p.cmd = exec.Command(binary, args...) //nolint:noctx // a context would kill it; stop asks it to end
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), "PATH="+n.path())
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.exited)
		_ = p.cmd.Wait() // why it ended is in its log
	}()
	n.processes = append(n.processes, p)
	return p, nil
}

// path lets containerd find runc, and kubelet and the CNI plugins iptables, whatever the caller's PATH is.
func (n *Node) path() string { return os.Getenv("PATH") + ":/usr/sbin:/usr/bin:/sbin:/bin" }

// stop ends the process and waits for it: first politely, after grace by force.
func (p *process) stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails when it is gone already
	select {
	case <-p.exited:
	case <-time.After(grace):
		p.kill()
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails when it is gone already
	<-p.exited
}

// tail is the end of the process's log, for error messages.
func (p *process) tail() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	if len(lines) > 15 {
		lines = lines[len(lines)-15:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}

// wait polls until ready returns nil. It fails early where the process is gone.
func (p *process) wait(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var last error // of a call that was not cut short
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended; %s ends with:\n%s", p.name, filepath.Base(p.log), p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w; %s ends with:\n%s", p.name, errors.Join(ctx.Err(), last), filepath.Base(p.log), p.tail())
		case <-tick.C:
		}
	}
}

// run runs a command that ends by itself.
func run(ctx context.Context, name string, args ...string) error {
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/usr/bin:/sbin:/bin")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, output.Bytes())
	}
	return nil
}
