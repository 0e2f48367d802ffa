package certs_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/shorthop/shorthop/internal/certs"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/testfile"
)

const (
	host = "webhook.shorthop.test"
	// hang guards against tests that never end.
	hang = time.Minute
)

// fixture is an HTTPS server that uses a folder's certificate. The tests are
// not parallel: they share the counter of failed reads.
type fixture struct {
	*testing.T
	source   *certs.Provided
	dir      string
	address  string
	notAfter atomic.Int64
	ca       *cluster.CA
	roots    *x509.CertPool
}

func newFixture(t *testing.T, dir string) *fixture {
	t.Helper()
	f := &fixture{T: t, dir: dir, roots: x509.NewCertPool()}
	f.ca = clustertest.CA(t)
	f.roots.AppendCertsFromPEM(f.ca.Bundle())
	f.sign(dir)
	return f
}

// serve starts to serve with the certificate in the folder.
func (f *fixture) serve() {
	f.Helper()
	var err error
	f.source, err = certs.NewProvided(f.dir, func(at time.Time) { f.notAfter.Store(at.Unix()) }, logr.Discard())
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.source.Start(ctx) }()

	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Listener = tls.NewListener(server.Listener, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: f.source.GetCertificate})
	server.Start()
	f.address = server.Listener.Addr().String()
	f.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-ended; err != nil {
			f.Errorf("Start: %v", err)
		}
	})
}

// sign writes a new certificate to dir.
func (f *fixture) sign(dir string) {
	f.Helper()
	if err := f.ca.WriteServingCert(dir, host); err != nil {
		f.Fatal(err)
	}
}

// inFolder returns the certificate in dir.
func (f *fixture) inFolder(dir string) *x509.Certificate {
	f.Helper()
	pair := clustertest.LoadCert(f, dir)
	return pair.Leaf
}

// served returns the certificate that a new connection gets.
func (f *fixture) served() *x509.Certificate {
	f.Helper()
	conn, err := tls.Dial("tcp", f.address, &tls.Config{RootCAs: f.roots, ServerName: host})
	if err != nil {
		f.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// eventually waits until the certificate in the folder is served.
func (f *fixture) eventually() {
	f.Helper()
	want := f.inFolder(f.dir)
	clustertest.Eventually(f, "the new certificate is served", func() bool { return f.served().Equal(want) })
	clustertest.Eventually(f, "its expiry is told", func() bool { return f.notAfter.Load() == want.NotAfter.Unix() })
	if err := f.source.Healthy(); err != nil {
		f.Errorf("not healthy: %v", err)
	}
}

// whileBroken makes the folder's content unusable and checks that the old
// certificate is served after that has been noticed.
func (f *fixture) whileBroken(spoil func()) {
	f.Helper()
	old, before := f.served(), failedReads(f.T)
	spoil()
	clustertest.Eventually(f, "the broken files are noticed", func() bool { return failedReads(f.T) != before })
	if !f.served().Equal(old) {
		f.Error("the old certificate is not served any more")
	}
	if err := f.source.Healthy(); err != nil {
		f.Errorf("not healthy: %v", err)
	}
}

func failedReads(t *testing.T) float64 {
	t.Helper()
	families, err := ctrlmetrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "certwatcher_read_certificate_errors_total" {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("no metric counts failed reads")
	return 0
}

func TestProvidedIsReplaced(t *testing.T) {
	f := newFixture(t, t.TempDir())
	f.serve()
	f.eventually()

	// A connection that is open stays open.
	conn, err := tls.Dial("tcp", f.address, &tls.Config{RootCAs: f.roots, ServerName: host})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	for range 3 {
		f.sign(f.dir)
		f.eventually()
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(conn); err != nil || len(answer) == 0 {
		t.Errorf("the old connection: %q, %v", answer, err)
	}
}

func TestProvidedIsReplacedByKubelet(t *testing.T) {
	dir := t.TempDir()
	publish := func(f *fixture, version string) {
		t.Helper()
		folder, next := filepath.Join(dir, "..version-"+version), filepath.Join(dir, "..data_tmp")
		f.sign(folder)
		if err := errors.Join(os.Symlink(folder, next), os.Rename(next, filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	f := newFixture(t, filepath.Join(dir, "..version-0"))
	f.dir = dir
	publish(f, "1")
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	f.serve()
	f.eventually()
	old := "..version-1"
	for _, version := range []string{"2", "3"} {
		publish(f, version)
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil { // as kubelet does
			t.Fatal(err)
		}
		f.eventually()
		old = "..version-" + version
	}
}

func TestProvidedIsBroken(t *testing.T) {
	f := newFixture(t, t.TempDir())
	f.serve()
	f.eventually()

	write := func(name, content string) {
		t.Helper()
		testfile.Write(t, filepath.Join(f.dir, name), content)
	}
	f.whileBroken(func() { write("tls.crt", "garbage") })
	f.sign(f.dir)
	f.eventually()

	// The certificate is there, its key is not yet.
	next := t.TempDir()
	f.sign(next)
	f.whileBroken(func() { move(t, next, f.dir, "tls.crt") })
	move(t, next, f.dir, "tls.key")
	f.eventually()

	f.whileBroken(func() {
		if err := os.Remove(filepath.Join(f.dir, "tls.key")); err != nil {
			t.Fatal(err)
		}
	})
	f.sign(f.dir)
	f.eventually()
}

func move(t *testing.T, from, to, name string) {
	t.Helper()
	if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
		t.Fatal(err)
	}
}

func TestProvidedIsMissing(t *testing.T) {
	_, err := certs.NewProvided(t.TempDir(), func(time.Time) {}, logr.Discard())
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that a file does not exist", err)
	}
}
