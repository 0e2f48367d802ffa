package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Component is a process of a Cluster.
type Component string

// The components.
const (
	Etcd      Component = "etcd"
	APIServer Component = "kube-apiserver"
)

// Pause stands a component still (SIGSTOP): its connections stay open and nothing answers. Resume it before Stop.
func (c *Cluster) Pause(component Component) error { return c.signal(component, syscall.SIGSTOP) }

// Resume undoes Pause.
func (c *Cluster) Resume(component Component) error { return c.signal(component, syscall.SIGCONT) }

// RestartAPIServer ends kube-apiserver at once (SIGKILL), as a node that fails would, calls meanwhile, which may be nil,
// and starts it again at the same address and with the same flags. It returns once the API server is healthy.
func (c *Cluster) RestartAPIServer(meanwhile func()) error {
	pid, err := c.pid(APIServer)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing kube-apiserver: %w", err)
	}
	apiServer := c.env.ControlPlane.GetAPIServer()
	if err := apiServer.Stop(); err != nil { // waits until it is gone
		return fmt.Errorf("killing kube-apiserver: %w", err)
	}
	if meanwhile != nil {
		meanwhile()
	}
	logs, err := createLogFile(filepath.Join(c.dir, "kube-apiserver.log"))
	if err != nil {
		return err
	}
	defer logs.Close() // the child has a descriptor of its own
	apiServer.Out, apiServer.Err = logs.File, logs.File
	if err := apiServer.Start(); err != nil {
		return fmt.Errorf("starting kube-apiserver again: %w\nlast lines of its output:\n%s", err, logs.tail())
	}
	return nil
}

func (c *Cluster) signal(component Component, signal syscall.Signal) error {
	pid, err := c.pid(component)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, signal); err != nil {
		return fmt.Errorf("sending %s to %s: %w", signal, component, err)
	}
	return nil
}

// pid finds a component among the child processes of this one: envtest keeps the ids to itself. A process may run several
// clusters, so it must have this cluster's folder in its arguments.
func (c *Cluster) pid(component Component) (int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, fmt.Errorf("listing processes: %w", err)
	}
	for _, path := range stats {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended since
		}
		before, after, _ := strings.Cut(string(content), " ("+string(component)+") ")
		fields := strings.Fields(after) // STATE PPID ...
		if len(fields) < 2 || fields[0] == "Z" || fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		arguments, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		if err == nil && bytes.Contains(arguments, []byte(c.dir)) {
			return strconv.Atoi(before)
		}
	}
	return 0, fmt.Errorf("%s does not run", component)
}
