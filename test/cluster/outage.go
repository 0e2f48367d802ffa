package cluster

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Component is a process of a Cluster.
type Component string

// The components.
const (
	Etcd      Component = "etcd"
	APIServer Component = "kube-apiserver"
)

// Pause stands a component still (SIGSTOP): its connections stay open and nothing answers. It returns when every thread
// stands: on a busy machine one may go on for a moment after the signal. Resume it before Stop.
func (c *Cluster) Pause(component Component) error {
	pid, err := c.signal(component, syscall.SIGSTOP)
	if err != nil {
		return err
	}
	for range 1000 {
		if standsStill(pid) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s does not stand still ten seconds after SIGSTOP", component)
}

// standsStill tells whether all threads of a process are stopped.
func standsStill(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return false
	}
	for _, path := range threads {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended since
		}
		if state := content[bytes.LastIndexByte(content, ')')+1:]; !bytes.HasPrefix(state, []byte(" T")) {
			return false
		}
	}
	return len(threads) > 0
}

// Resume undoes Pause.
func (c *Cluster) Resume(component Component) error {
	_, err := c.signal(component, syscall.SIGCONT)
	return err
}

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

func (c *Cluster) signal(component Component, signal syscall.Signal) (pid int, err error) {
	if pid, err = c.pid(component); err != nil {
		return 0, err
	}
	if err := syscall.Kill(pid, signal); err != nil {
		return 0, fmt.Errorf("sending %s to %s: %w", signal, component, err)
	}
	return pid, nil
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
