package cluster_test

import (
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"testing"

	"github.com/shorthop/shorthop/test/cluster"
)

func TestServingCert(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bundle, err := cluster.ServingCert(dir, "127.0.0.1", "webhook.shorthop.svc")
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"127.0.0.1", "webhook.shorthop.svc"} {
		if err := verify(t, dir, bundle, host); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if err := verify(t, dir, bundle, "other.example.com"); err == nil {
		t.Error("a host that was not asked for is covered too")
	}
}

func TestCASignsSeveralLeaves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, err := cluster.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	other, err := cluster.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second leaf replaces the first
		if err := ca.WriteServingCert(dir, "localhost"); err != nil {
			t.Fatal(err)
		}
		if err := verify(t, dir, ca.Bundle(), "localhost"); err != nil {
			t.Error(err)
		}
	}
	if err := verify(t, dir, other.Bundle(), "localhost"); err == nil {
		t.Error("another CA vouches for the leaf")
	}
}

// verify checks the files in dir as a TLS client that trusts bundle would.
func verify(t *testing.T, dir string, bundle []byte, host string) error {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		t.Fatal("the bundle holds no certificate")
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
	return err
}
