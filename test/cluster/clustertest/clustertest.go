// Package clustertest starts the parts of package cluster for one test, and stops them when the test ends. For a control plane
// that all tests of a package share, see [cluster.Main].
package clustertest

import (
	"crypto/tls"
	"flag"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/test/cluster"
)

// Hang guards against tests that never end; nothing is expected to take that long.
const Hang = 2 * time.Minute

// Start starts a control plane of the test's own. Under -short the test is left out.
func Start(t testing.TB, options cluster.Options) *cluster.Cluster {
	t.Helper()
	NotShort(t)
	control, err := cluster.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := control.Stop(); err != nil {
			t.Error(err)
		}
	})
	return control
}

// NotShort leaves out a test that needs a control plane under -short, which needs nothing but Go.
func NotShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip(leftOut)
	}
}

// LeftOut says, in a TestMain, whether NotShort would leave out all tests of a package.
func LeftOut() bool {
	flag.Parse()
	if testing.Short() {
		fmt.Println(leftOut)
	}
	return testing.Short()
}

const leftOut = "left out under -short: a control plane is needed"

// Webhook starts the program and returns once it is ready. Its output is shown if the test fails.
func Webhook(t testing.TB, options cluster.WebhookOptions) *cluster.Webhook {
	t.Helper()
	webhook, err := cluster.StartProcess(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		webhook.Kill()
		if t.Failed() {
			t.Logf("the webhook's output:\n%.10000s", webhook.Logs())
		}
	})
	return webhook
}

// CA makes a new CA.
func CA(t testing.TB) *cluster.CA {
	t.Helper()
	ca, err := cluster.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// Client is a client of the API server that a configuration is for.
func Client(t testing.TB, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// ServingCert makes a certificate for a host, and the bundle that verifies it.
func ServingCert(t testing.TB, host string) (certificate tls.Certificate, caBundle []byte) {
	t.Helper()
	ca, dir := CA(t), t.TempDir()
	if err := ca.WriteServingCert(dir, host); err != nil {
		t.Fatal(err)
	}
	return LoadCert(t, dir), ca.Bundle()
}

// LoadCert reads the certificate in a folder.
func LoadCert(t testing.TB, dir string) tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// FreeAddresses returns different addresses of the loopback interface that nobody listens on.
func FreeAddresses(t testing.TB, n int) []string {
	t.Helper()
	addresses, err := cluster.FreeAddresses(n)
	if err != nil {
		t.Fatal(err)
	}
	return addresses
}

// Eventually waits until holds returns true, and fails the test if that takes longer than Hang. what says what it waits for.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Hang); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %s: %s", Hang, what)
		}
	}
}
