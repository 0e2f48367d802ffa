package cluster_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shorthop/shorthop/test/cluster"
)

// behaviour, as an environment variable, turns the test binary into a stand-in for the webhook that behaves so.
const behaviour = "SHORTHOP_TEST_WEBHOOK"

func TestMain(m *testing.M) {
	if how := os.Getenv(behaviour); how != "" {
		os.Exit(standIn(how))
	}
	os.Exit(m.Run())
}

func standIn(how string) (exitCode int) {
	flags := flag.NewFlagSet("webhook", flag.ContinueOnError)
	health := flags.String("health-probe-bind-address", "", "")
	access := flags.Bool("cluster-access", true, "")
	for _, name := range []string{
		"policy", "cert-source", "cert-dir", "bind-address", "metrics-bind-address", "kubeconfig", "log-level",
	} {
		flags.String(name, "", "")
	}
	if err := flags.Parse(os.Args[1:]); err != nil {
		return 2
	}

	terminated, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Printf("running, cluster-access=%t\n", *access)
	switch how {
	case "exits":
		fmt.Fprintln(os.Stderr, "policy.yaml: spec.mode: Unsupported value")
		return 2
	case "never ready":
	case "ignores SIGTERM":
		terminated = context.Background() // NotifyContext still keeps the signal from ending the process
		fallthrough
	default:
		http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
		go func() { _ = http.ListenAndServe(*health, nil) }()
	}
	<-terminated.Done()
	fmt.Println("drained")
	return 0
}

func TestStartProcess(t *testing.T) {
	start := func(t *testing.T, how string, opts cluster.WebhookOptions) (*cluster.Webhook, error) {
		t.Helper()
		t.Setenv(behaviour, how)
		opts.Binary = os.Args[0]
		return cluster.StartProcess(t.Context(), opts)
	}

	t.Run("is ready and stops with its own exit code", func(t *testing.T) {
		w, err := start(t, "serves", cluster.WebhookOptions{CertDir: t.TempDir(), Args: []string{"--log-level=debug"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := children(t)[w.PID()]; !ok {
			t.Errorf("%d is not the id of a child process", w.PID())
		}
		code, err := w.Stop(t.Context())
		if code != 0 || err != nil {
			t.Errorf("got exit code %d and error %v", code, err)
		}
		if got, want := w.Logs(), "running, cluster-access=false\ndrained\n"; got != want {
			t.Errorf("got logs %q, want %q", got, want)
		}
		if code, err := w.Stop(t.Context()); code != 0 || err != nil {
			t.Errorf("stopping a second time: got exit code %d and error %v", code, err)
		}
	})
	t.Run("a kubeconfig gives access to the cluster", func(t *testing.T) {
		w, err := start(t, "serves", cluster.WebhookOptions{Kubeconfig: "admin.kubeconfig"})
		if err != nil {
			t.Fatal(err)
		}
		w.Kill()
		if got, want := w.Logs(), "running, cluster-access=true\n"; got != want {
			t.Errorf("got logs %q, want %q", got, want)
		}
	})
	t.Run("is killed when it does not stop in time", func(t *testing.T) {
		w, err := start(t, "ignores SIGTERM", cluster.WebhookOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if code, err := w.Stop(ctx); code != -1 || err == nil {
			t.Errorf("got exit code %d and error %v", code, err)
		}
	})
	t.Run("says why it ended", func(t *testing.T) {
		_, err := start(t, "exits", cluster.WebhookOptions{})
		for _, want := range []string{"exit code 2", "spec.mode: Unsupported value"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want %q in it", err, want)
			}
		}
	})
	t.Run("is killed when it does not become ready", func(t *testing.T) {
		_, err := start(t, "never ready", cluster.WebhookOptions{ReadyTimeout: 200 * time.Millisecond})
		for _, want := range []string{"not ready after 200ms", "running"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got error %v, want %q in it", err, want)
			}
		}
	})
	t.Run("there is no such binary", func(t *testing.T) {
		_, err := cluster.StartProcess(t.Context(), cluster.WebhookOptions{Binary: "no-such-file"})
		if err == nil || !strings.Contains(err.Error(), "run make build first") {
			t.Errorf("got %v, want what to do about it", err)
		}
	})
	if left := children(t); len(left) > 0 {
		t.Errorf("child processes left: %v", left)
	}
}
