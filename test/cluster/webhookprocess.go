package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// WebhookOptions say how to run the webhook.
type WebhookOptions struct {
	// Binary is the program to run. Default: bin/webhook of this repository.
	Binary string
	// Policy is the path of the policy file.
	Policy string
	// CertDir holds tls.crt and tls.key (see CA.WriteServingCert). Default: none, for a certificate source that Args name.
	CertDir string
	// Kubeconfig is the way to the API server (see Cluster.Kubeconfig). Default: none, that is --cluster-access=false.
	Kubeconfig string
	// Args are further flags. They come last, so they win over those made from the fields above.
	Args []string
	// ReadyTimeout bounds the time until /readyz answers 200. Default: 30 s.
	ReadyTimeout time.Duration
}

// Webhook is a running webhook process.
type Webhook struct {
	// URL receives reviews: https://127.0.0.1:PORT/mutate-v1-pod.
	URL string
	// MetricsURL is http://127.0.0.1:PORT/metrics.
	MetricsURL string
	// HealthURL is http://127.0.0.1:PORT, below which are /healthz, /readyz and /debug/policy.
	HealthURL string

	cmd    *exec.Cmd
	output LogBuffer
	exited chan struct{} // closed once the process is gone and has been waited for
}

// running are the processes that have not ended, so that Main leaves none behind.
var running sync.Map // of *Webhook to nothing

// StartProcess runs the webhook on free ports of the loopback interface and returns once it is ready. Where another process
// takes one of the ports before the webhook does, it tries others.
//
// When it fails it leaves no process behind, and the error ends with what the process wrote last. Once StartProcess has
// returned, ctx does not matter any more: end the process with Stop or Kill.
func StartProcess(ctx context.Context, opts WebhookOptions) (*Webhook, error) {
	const tries = 5
	for try := 1; ; try++ {
		w, err := startProcess(ctx, opts)
		if err == nil || try == tries || !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
			return w, err
		}
	}
}

func startProcess(ctx context.Context, opts WebhookOptions) (*Webhook, error) {
	if opts.Binary == "" {
		root, err := repositoryRoot()
		if err != nil {
			return nil, err
		}
		opts.Binary = filepath.Join(root, "bin", "webhook")
	}
	// Looking at the file also tells go test that its cached result depends on it.
	if _, err := os.Stat(opts.Binary); err != nil {
		return nil, fmt.Errorf("no webhook binary (run make build first): %w", err)
	}
	if opts.ReadyTimeout == 0 {
		opts.ReadyTimeout = 30 * time.Second
	}
	addresses, err := FreeAddresses(3)
	if err != nil {
		return nil, err
	}
	reviews, metrics, health := addresses[0], addresses[1], addresses[2]

	args := []string{
		"--policy", opts.Policy,
		"--bind-address", reviews,
		"--metrics-bind-address", metrics,
		"--health-probe-bind-address", health,
	}
	if opts.CertDir != "" {
		args = append(args, "--cert-source", "provided", "--cert-dir", opts.CertDir)
	}
	if opts.Kubeconfig != "" {
		args = append(args, "--kubeconfig", opts.Kubeconfig)
	} else {
		args = append(args, "--cluster-access=false")
	}

	w := &Webhook{
		URL:        "https://" + reviews + "/mutate-v1-pod",
		MetricsURL: "http://" + metrics + "/metrics",
		HealthURL:  "http://" + health,
		exited:     make(chan struct{}),
		// The process outlives ctx.
		cmd: exec.CommandContext(context.WithoutCancel(ctx), opts.Binary, append(args, opts.Args...)...),
	}
	w.cmd.Stdout, w.cmd.Stderr = &w.output, &w.output
	// A process group of its own: Ctrl-C in a terminal then reaches only the program that runs the demo, which stops the
	// webhook in an orderly way.
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}

	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the webhook: %w", err)
	}
	running.Store(w, nil)
	go func() {
		defer close(w.exited)
		_ = w.cmd.Wait() // the exit code is in ProcessState
		running.Delete(w)
	}()
	if err := w.waitReady(ctx, opts.ReadyTimeout); err != nil {
		w.Kill()
		return nil, fmt.Errorf("starting the webhook: %w\nlast lines of its output:\n%s", err, lastLines([]byte(w.Logs())))
	}
	return w, nil
}

// waitReady returns nil as soon as /readyz answers 200.
func (w *Webhook) waitReady(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not ready after %s", timeout))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if w.ready(ctx) {
			return nil
		}
		select {
		case <-w.exited:
			return fmt.Errorf("it ended with exit code %d", w.cmd.ProcessState.ExitCode())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (w *Webhook) ready(ctx context.Context) bool {
	// A probe that hangs must not use up the time that the next ones would need.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.HealthURL+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// PID returns the process's id, for tests that measure it.
func (w *Webhook) PID() int { return w.cmd.Process.Pid }

// Logs returns what the process has written so far to its standard output and standard error.
func (w *Webhook) Logs() string { return w.output.String() }

// Stop asks the process to end (SIGTERM), waits until it has, and returns its exit code. When ctx ends first, the process
// is killed and Stop returns an error. After a first Stop or Kill it only returns the exit code, which is -1 for a
// process that a signal ended.
func (w *Webhook) Stop(ctx context.Context) (exitCode int, err error) {
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return -1, fmt.Errorf("stopping the webhook: %w", err)
	}
	select {
	case <-w.exited:
		return w.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		w.Kill()
		return -1, fmt.Errorf("stopping the webhook: killed, as it still ran: %w", context.Cause(ctx))
	}
}

// Kill ends the process at once (SIGKILL), as a node that fails would, and waits until it is gone.
func (w *Webhook) Kill() {
	_ = w.cmd.Process.Kill() // fails only when the process is gone already
	<-w.exited
}

// FreeAddresses returns n different free addresses on the loopback interface. Another process can take one before we use it,
// which is likely only where many start at once.
func FreeAddresses(n int) ([]string, error) {
	var listeners []net.Listener
	defer func() { // not before all are found, so that they differ
		for _, listener := range listeners {
			listener.Close()
		}
	}()
	var addresses []string
	for range n {
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		listeners = append(listeners, listener)
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}
