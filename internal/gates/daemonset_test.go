package gates_test

import (
	"crypto/x509"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// What the API server said last of a DaemonSet counts while it is away, and what it says afterwards counts again.
func TestTheLastStatusOfADaemonSetOutlivesTheAPIServer(t *testing.T) {
	t.Parallel()
	control := clustertest.Start(t, cluster.Options{})
	const target = "kube-system/node-local-dns"
	status := func(desired, available int32) {
		t.Helper()
		if err := control.SetDaemonSet(t.Context(), target, desired, available); err != nil {
			t.Fatal(err)
		}
	}
	status(5, 5)
	way := clustertest.NewWay(t, clustertest.HostOf(control.Config))
	config := rest.CopyConfig(control.Config)
	config.Host = "https://" + way.Address
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	s := gates.New(gates.Options{
		Client: client, Recorder: &recorder{}, Log: logr.Discard(),
		Roots: func() (*x509.CertPool, error) { return x509.NewCertPool(), nil },
	})
	go func() { _ = s.Start(t.Context()) }() // it returns nil
	s.Prepare(t.Context(), compile(t, `{dns: {mode: NodeLocal}, cluster: {domain: cluster.local}}`))()
	is := func(open bool) func() bool {
		return func() bool { return s.Status()[0].Open == open }
	}
	clustertest.Eventually(t, "the gate is open", is(true))

	// Somebody else, who counts the attempts to connect again. What only hangs up, a client tries again by itself.
	refuses, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var attempts atomic.Int32
	go func() {
		for {
			connection, err := refuses.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Read(make([]byte, 16<<10)) // the whole hello
			_, _ = io.WriteString(connection, "this is no API server\n")
			connection.Close()
			attempts.Add(1)
		}
	}()
	t.Run("while the API server is away", func(t *testing.T) {
		way.Lead(t, refuses.Addr().String())
		way.Cut()
		way.Open()
		clustertest.Eventually(t, "the watch has failed again and again", func() bool { return attempts.Load() >= 3 })
		if status := s.Status()[0]; !status.Open {
			t.Errorf("the gate is closed: %s", status.LastError)
		}
	})
	refuses.Close()
	status(5, 1)
	clustertest.Eventually(t, "the gate is closed", is(false))
}
