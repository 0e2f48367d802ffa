package faults_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	registrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/rotation"
	"github.com/shorthop/shorthop/test/testfile"
)

// TestPodsAreCreatedWhileTheCertificateIsNotValidNow is also what a clock that jumps does to certificates: those who look at
// the validity are the API servers, by their clock; the server goes on serving what it has.
func TestPodsAreCreatedWhileTheCertificateIsNotValidNow(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		notBefore, notAfter time.Duration // from now
	}{
		"expired":       {-2 * time.Hour, -time.Hour},
		"not yet valid": {time.Hour, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := "cert-" + strings.ReplaceAll(name, " ", "-")
			namespace(t, site, site)
			s := newServer(t, simple)
			good := s.ca
			notAfter := time.Now().Add(test.notAfter)
			bundle := writePair(t, s.certDir, time.Now().Add(test.notBefore), notAfter)
			s.start("")
			s.ready()
			if got := s.metric("shorthop_serving_cert_not_after_timestamp_seconds"); int64(got) != notAfter.Unix() {
				t.Errorf("the expiry that is reported is %s off", time.Unix(int64(got), 0).Sub(notAfter))
			}
			s.register(site, func(webhook *registrationv1.MutatingWebhook) {
				webhook.ClientConfig.CABundle = slices.Concat(bundle, good.Bundle())
			})
			pods := 0
			clustertest.Eventually(t, "the API server has refused the certificate", func() bool {
				pod, err := create(t.Context(), site)
				if err != nil {
					t.Fatalf("a pod is not created: %v", err)
				}
				if isInjected(pod) {
					t.Fatal("a pod is injected over a certificate that is not valid")
				}
				pods++
				return strings.Contains(s.Logs(), "remote error: tls: bad certificate")
			})
			s.sign()
			injected(t, site)
			t.Logf("%d pods created without injection, then healed", pods)
		})
	}
}

// writePair writes a certificate that signs itself, valid in that time, and returns its PEM.
func writePair(t *testing.T, dir string, notBefore, notAfter time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(notAfter.Unix()), Subject: pkix.Name{CommonName: "not valid now"},
		NotBefore: notBefore, NotAfter: notAfter, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.ParseIP("127.0.0.1")},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, content := range map[string][]byte{
		"tls.crt": bundle, "tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		testfile.Write(t, filepath.Join(dir, name), content)
	}
	return bundle
}

// TestNoReviewIsLostWhileTheCertificateIsBroken spoils the files in every way in which somebody can copy them wrongly. Each
// review comes over a connection of its own.
func TestNoReviewIsLostWhileTheCertificateIsBroken(t *testing.T) {
	t.Parallel()
	s := running(t, simple, "")
	reviews := 0
	review := func() {
		t.Helper()
		client := s.client()
		s.mustReview(client, 1, "default", 2)
		client.CloseIdleConnections()
		reviews++
	}
	for name, spoil := range map[string]func(crt, key []byte) (newCrt, newKey []byte){
		"the certificate is cut off":              func(crt, key []byte) ([]byte, []byte) { return crt[:len(crt)/2], key },
		"the key is cut off":                      func(crt, key []byte) ([]byte, []byte) { return crt, key[:len(key)/2] },
		"both are empty":                          func(_, _ []byte) ([]byte, []byte) { return nil, nil },
		"the key is another certificate's":        func(crt, _ []byte) ([]byte, []byte) { return crt, foreignKey(t) },
		"certificate and key have changed places": func(crt, key []byte) ([]byte, []byte) { return key, crt },
	} {
		before := s.served()
		failed := s.metric("certwatcher_read_certificate_errors_total")
		next := t.TempDir()
		if err := s.ca.WriteServingCert(next, "127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		crt, key := spoil(readFile(t, filepath.Join(next, "tls.crt")), readFile(t, filepath.Join(next, "tls.key")))
		s.write(filepath.Join(s.certDir, "tls.crt"), string(crt)) // in place, as `cp` does
		review()
		s.write(filepath.Join(s.certDir, "tls.key"), string(key))
		clustertest.Eventually(t, name+": the server has noticed", func() bool {
			review()
			return s.metric("certwatcher_read_certificate_errors_total") > failed
		})
		review()
		if now := s.served(); !now.Equal(before) {
			t.Errorf("%s: the certificate is not the last good one", name)
		}
		s.ready()
		s.sign()
		clustertest.Eventually(t, name+": the next good certificate is served", func() bool {
			review()
			return !s.served().Equal(before)
		})
	}
	t.Logf("%d reviews, none lost", reviews)
}

func (s *server) served() *x509.Certificate {
	s.Helper()
	served, err := rotation.Served(s.Context(), s.Webhook)
	if err != nil {
		s.Fatal(err)
	}
	return served
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	return testfile.Read(t, path)
}

func foreignKey(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	writePair(t, dir, time.Now(), time.Now().Add(time.Hour))
	return readFile(t, filepath.Join(dir, "tls.key"))
}

// TestReviewsGoOnWhenTheLogCannotBeWritten logs every review, to places where that does not work. What waited for the log
// would not review, reload or end any more.
func TestReviewsGoOnWhenTheLogCannotBeWritten(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(t *testing.T) (path string){
		"the disk is full": func(*testing.T) string { return "/dev/full" },
		"nobody reads": func(t *testing.T) string {
			pipe := filepath.Join(t.TempDir(), "pipe")
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			reader, err := os.OpenFile(pipe, os.O_RDWR, 0) // a writer alone would wait for a reader
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { reader.Close() })
			return pipe
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := filepath.Join(t.TempDir(), "webhook")
			if err := os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nexec %q \"$@\" 2>%q\n", program, open(t)), 0o700); err != nil {
				t.Fatal(err)
			}
			s := newServer(t, simple)
			s.startAs(script, "", "--log-level=debug")
			client := s.client()
			var reviews atomic.Int64
			clustertest.Eventually(t, "lines of the log are lost", func() bool {
				s.refused(client) // which is logged as well
				var reviewers sync.WaitGroup
				for range 8 {
					reviewers.Go(func() {
						for range 50 {
							if ndots, _, err := s.ndots(client, "default"); err != nil || ndots != 2 {
								t.Errorf("ndots %d, error %v", ndots, err)
								return
							}
							reviews.Add(1)
						}
					})
				}
				reviewers.Wait()
				return t.Failed() || s.metric("shorthop_log_lines_lost_total") > 100
			})
			s.ready()
			s.write(s.policy, strings.Replace(simple, "ndots: 2", "ndots: 4", 1))
			clustertest.Eventually(t, "a new policy is in force", func() bool {
				ndots, _, err := s.ndots(client, "default")
				if err != nil {
					t.Fatal(err)
				}
				reviews.Add(1)
				return ndots == 4
			})
			anonymous, _ := s.memory()
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			defer cancel()
			if code, err := s.Stop(ctx); err != nil || code != 0 {
				t.Errorf("asked to stop it ended with exit code %d and error %v", code, err)
			}
			t.Logf("%d reviews, none lost; %.1f MiB of memory", reviews.Load(), anonymous)
		})
	}
}

// refused sends what is refused because of its content type.
func (s *server) refused(client *http.Client) {
	s.Helper()
	request, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.URL, strings.NewReader("{}"))
	if err != nil {
		s.Fatal(err)
	}
	request.Header.Set("Content-Type", "text/plain")
	response, err := client.Do(request)
	if err != nil {
		s.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnsupportedMediaType {
		s.Fatalf("status %d", response.StatusCode)
	}
}

// dial connects without TLS being begun.
func (s *server) dial() net.Conn {
	s.Helper()
	conn, err := new(net.Dialer).DialContext(s.Context(), "tcp", s.address())
	if err != nil {
		s.Fatal(err)
	}
	return conn
}

// dialTLS connects for HTTP/1.1.
func (s *server) dialTLS() *tls.Conn {
	s.Helper()
	conn := tls.Client(s.dial(), &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}})
	if err := conn.HandshakeContext(s.Context()); err != nil {
		s.Fatal(err)
	}
	return conn
}
