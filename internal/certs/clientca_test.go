package certs_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/shorthop/shorthop/internal/certs"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/testfile"
)

// protected is an HTTPS server that asks clients for a certificate.
type protected struct {
	*testing.T
	serving *cluster.CA
	file    string
	url     string
}

func newCA(t *testing.T) *cluster.CA {
	t.Helper()
	ca := clustertest.CA(t)
	return ca
}

func newProtected(t *testing.T, ca *cluster.CA, names ...string) *protected {
	t.Helper()
	p := &protected{T: t, serving: newCA(t), file: filepath.Join(t.TempDir(), "ca.crt")}
	p.write(ca.Bundle())
	dir := t.TempDir()
	if err := p.serving.WriteServingCert(dir, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	pair := clustertest.LoadCert(t, dir)
	clients, err := certs.NewClientCA(p.file, names, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- clients.Start(ctx) }()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "in") }))
	server.Listener = tls.NewListener(server.Listener, clients.Require(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what we test
	server.Start()
	p.url = strings.Replace(server.URL, "http://", "https://", 1)
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *protected) write(bundle []byte) {
	p.Helper()
	if err := os.WriteFile(p.file, bundle, 0o600); err != nil {
		p.Fatal(err)
	}
}

// client has a certificate by ca, none if that is nil.
func (p *protected) client(ca *cluster.CA, commonName string, dnsNames ...string) *http.Client {
	p.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	config.RootCAs.AppendCertsFromPEM(p.serving.Bundle())
	if ca != nil {
		dir := p.TempDir()
		if err := ca.WriteClientCert(dir, commonName, dnsNames...); err != nil {
			p.Fatal(err)
		}
		pair := clustertest.LoadCert(p, dir)
		// Presented whatever CAs the server names, as an attacker would.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return &http.Client{Timeout: hang, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

// getsIn reports whether a new connection serves the client.
func (p *protected) getsIn(client *http.Client) bool {
	p.Helper()
	response, err := client.Get(p.url)
	if err != nil {
		if remote := new(net.OpError); !errors.As(err, &remote) || remote.Op != "remote error" {
			p.Errorf("not refused but failed: %v", err)
		}
		return false
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "in" {
		p.Errorf("answered %q, %v", body, err)
	}
	return true
}

func (p *protected) eventually(want bool, client *http.Client) {
	p.Helper()
	clustertest.Eventually(p, fmt.Sprintf("the client gets in: %t", want), func() bool { return p.getsIn(client) == want })
}

func TestClientCALetsIn(t *testing.T) {
	t.Parallel()
	trusted, other := newCA(t), newCA(t)
	anyName := newProtected(t, trusted)
	byName := newProtected(t, trusted, "kube-apiserver", "apiserver.example.com")
	for name, test := range map[string]struct {
		ca              *cluster.CA
		commonName      string
		dnsNames        []string
		anyName, byName bool
	}{
		"no certificate":                  {nil, "", nil, false, false},
		"the common name":                 {trusted, "kube-apiserver", nil, true, true},
		"a DNS name":                      {trusted, "x", []string{"y", "apiserver.example.com"}, true, true},
		"another name":                    {trusted, "admin", []string{"y"}, true, false},
		"a name that only begins like it": {trusted, "kube-apiserver-2", []string{"x.apiserver.example.com"}, true, false},
		"no name":                         {trusted, "", nil, true, false},
		"the name, by another CA":         {other, "kube-apiserver", nil, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := anyName.getsIn(anyName.client(test.ca, test.commonName, test.dnsNames...)); got != test.anyName {
				t.Errorf("without names: gets in %t, want %t", got, test.anyName)
			}
			if got := byName.getsIn(byName.client(test.ca, test.commonName, test.dnsNames...)); got != test.byName {
				t.Errorf("with names: gets in %t, want %t", got, test.byName)
			}
		})
	}
}

// A serving certificate by the same CA, such as any kubelet's, is none of a
// client.
func TestClientCARefusesServingCertificates(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	p := newProtected(t, ca)
	dir := t.TempDir()
	if err := ca.WriteServingCert(dir, "node"); err != nil {
		t.Fatal(err)
	}
	pair := clustertest.LoadCert(t, dir)
	client := p.client(nil, "")
	client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{pair}
	if p.getsIn(client) {
		t.Error("gets in")
	}
}

func TestClientCAIsReplaced(t *testing.T) {
	t.Parallel()
	first, second := newCA(t), newCA(t)
	p := newProtected(t, first)
	old, renewed := p.client(first, "a"), p.client(second, "a")
	p.eventually(true, old)
	p.eventually(false, renewed)
	p.write(append(first.Bundle(), second.Bundle()...))
	p.eventually(true, renewed)
	p.eventually(true, old)
	// A client that could resume its session is verified like any other.
	resumed := false
	old.Transport.(*http.Transport).TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
		resumed = resumed || state.DidResume
		return nil
	}
	for range 3 {
		p.eventually(true, old)
	}
	if resumed {
		t.Error("a session was resumed")
	}
	p.write(second.Bundle())
	p.eventually(false, old)
	p.eventually(true, renewed)
}

// TestClientCAIsBroken keeps the last good CA, and says so once.
func TestClientCAIsBroken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.crt")
	good, other := newCA(t).Bundle(), newCA(t).Bundle()
	if err := newCA(t).WriteServingCert(dir, "leaf"); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		t.Helper()
		return testfile.Read(t, filepath.Join(dir, name))
	}
	write := func(content []byte) {
		testfile.Write(t, file, content)
	}
	for name, test := range map[string]struct {
		content []byte // nil: no file
		want    string
	}{
		"no file":                   {nil, "no such file"},
		"an empty file":             {[]byte{}, "there is no certificate in PEM"},
		"garbage":                   {[]byte("garbage"), "there is no certificate in PEM"},
		"a certificate of somebody": {read("tls.crt"), `PEM block 1 is not a CA but the certificate of "shorthop-test"`},
		"a key":                     {append(bytes.Clone(good), read("tls.key")...), `PEM block 2 is a "PRIVATE KEY", want CERTIFICATE`},
		"a damaged certificate":     {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "PEM block 1: x509: "},
	} {
		t.Run(name, func(t *testing.T) {
			spoil := func() {
				if test.content == nil {
					if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
						t.Fatal(err)
					}
					return
				}
				write(test.content)
			}
			spoil()
			if _, err := certs.NewClientCA(file, nil, logr.Discard()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("from the start: %v, want %s", err, test.want)
			}
			synctest.Test(t, func(t *testing.T) {
				write(good)
				var errorsLogged, news atomic.Int32
				clients, err := certs.NewClientCA(file, nil, funcr.New(func(_, line string) {
					switch {
					case strings.Contains(line, test.want[:10]):
						errorsLogged.Add(1)
					case strings.Contains(line, "by a new CA"):
						news.Add(1)
					}
				}, funcr.Options{}))
				if err != nil {
					t.Fatal(err)
				}
				current := func() *x509.CertPool {
					config, err := clients.Require(&tls.Config{MinVersion: tls.VersionTLS12}).GetConfigForClient(nil)
					if err != nil {
						t.Fatal(err)
					}
					return config.ClientCAs
				}
				before := current()
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- clients.Start(ctx) }()
				spoil()
				time.Sleep(10 * time.Second)
				if !current().Equal(before) || errorsLogged.Load() != 1 {
					t.Errorf("the CA is another: %t; %d errors logged, want 1", !current().Equal(before), errorsLogged.Load())
				}
				write(other)
				time.Sleep(10 * time.Second)
				if current().Equal(before) || news.Load() != 1 {
					t.Errorf("the CA is the old one: %t; %d new ones logged, want 1", current().Equal(before), news.Load())
				}
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
