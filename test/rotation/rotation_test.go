package rotation_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/rotation"
)

// settle is short, for many rotations in a test; it is what makes up for the
// injector being late.
const settle = 2 * time.Second

// selfManaged creates the empty Secret, as the chart does, and returns how to
// start a server that has its certificate from there.
func (s *site) selfManaged(delay time.Duration) cluster.WebhookOptions {
	s.Helper()
	s.createSecret()
	return cluster.WebhookOptions{Kubeconfig: s.connection(delay), Args: []string{
		"--cert-source", "self-managed", "--ca-secret", s.name, "--service", s.name, "--webhook-configuration", s.name,
		"--ca-duration", "1h", "--leaf-duration", "24s", "--ca-settle", settle.String(),
	}}
}

func (s *site) createSecret() {
	s.Helper()
	_, err := shared.Client.CoreV1().Secrets(s.name).Create(s.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.name}}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(err)
	}
}

// ca returns the CA in the Secret, nil while there is none.
func (s *site) ca() *x509.Certificate {
	s.Helper()
	secret, err := shared.Client.CoreV1().Secrets(s.name).Get(s.Context(), s.name, metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	block, _ := pem.Decode(secret.Data["ca.crt"])
	if block == nil {
		return nil
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.Fatal(err)
	}
	return ca
}

// discardCA empties the Secret, so that the servers make a new CA.
func (s *site) discardCA() {
	s.Helper()
	patch := []byte(`[{"op": "remove", "path": "/data"}]`)
	if _, err := shared.Client.CoreV1().Secrets(s.name).Patch(s.Context(), s.name, "application/json-patch+json", patch, metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
}

// TestSelfManaged renews leaf and CA of two servers while everything that they
// write to the webhook configuration arrives two seconds late.
func TestSelfManaged(t *testing.T) {
	s := newSite(t, "self-managed")
	s.register(nil)
	options := s.selfManaged(2 * time.Second)
	for range 2 {
		s.start(options)
	}
	s.underLoad(func() {
		old := s.ca()
		s.renewed(s.served())
		for _, leaf := range s.served() {
			if err := leaf.CheckSignatureFrom(old); err != nil {
				t.Errorf("a leaf was renewed by another CA: %v", err)
			}
		}

		before := s.served()
		s.discardCA()
		after := s.renewed(before)
		clustertest.Eventually(t, "the servers have the new CA's certificates", func() bool {
			ca := s.ca()
			after = s.served()
			return ca != nil && !ca.Equal(old) && !slices.ContainsFunc(after, func(leaf *x509.Certificate) bool { return leaf.CheckSignatureFrom(ca) != nil })
		})
		for _, webhook := range s.configuration().Webhooks {
			for what, ca := range map[string]*x509.Certificate{"old": old, "new": s.ca()} {
				if !bytes.Contains(webhook.ClientConfig.CABundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})) {
					t.Errorf("entry %s does not have the %s CA", webhook.Name, what)
				}
			}
		}
	})
}

// TestTheCASecretIsDeleted takes the Secret away from a server that runs, and starts another without it. The first goes on; the
// second is not ready and says why, until there is a Secret again, as the next `helm upgrade` makes it: then both get on with
// the new CA, and the old one is trusted as long as it is served.
func TestTheCASecretIsDeleted(t *testing.T) {
	s := newSite(t, "no-secret")
	s.register(nil)
	options := s.selfManaged(0)
	s.start(options)
	s.underLoad(func() {
		old, before := s.ca(), s.served()
		if err := shared.Client.CoreV1().Secrets(s.name).Delete(t.Context(), s.name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		await := s.startUnready(options)
		await("the new server says what it lacks", http.StatusServiceUnavailable,
			"it needs a CA in Secret "+s.name+"/"+s.name+": Secret "+s.name+"/"+s.name+" is not there")
		s.createSecret()
		await("the new server is ready", http.StatusOK, "readyz check passed")
		s.renewed(before)
		if ca := s.ca(); ca == nil || ca.Equal(old) {
			t.Error("there is no new CA")
		}
	})
}

// TestProvided replaces the files of two servers as kubelet does: a leaf of
// the same CA, then one of a new CA after the bundle has both.
func TestProvided(t *testing.T) {
	s := newSite(t, "provided")
	ca := clustertest.CA(t)
	s.register(ca.Bundle())
	folder := &rotation.Folder{Dir: t.TempDir()}
	publish := func() {
		t.Helper()
		if err := folder.Publish(func(dir string) error { return ca.WriteServingCert(dir, s.hostname()) }); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	for range 2 {
		s.start(cluster.WebhookOptions{CertDir: folder.Dir, Kubeconfig: shared.Kubeconfig()})
	}
	s.underLoad(func() {
		before := s.served()
		publish()
		before = s.renewed(before)

		next := clustertest.CA(t)
		s.register(slices.Concat(ca.Bundle(), next.Bundle()))
		time.Sleep(settle) // as who replaces a CA has to
		ca = next
		publish()
		s.renewed(before)
		s.register(ca.Bundle())
	})
}

// TestRollingRestart ends each of two servers in turn and replaces it, three
// times, and once under -short.
func TestRollingRestart(t *testing.T) {
	s := newSite(t, "restart")
	s.rollingRestart()
}

// TestRollingRestartWithSlowHandshakes does so while every handshake of the API
// server takes 200 ms more, and connections come until just before a server ends:
// some handshakes are in flight when it closes.
func TestRollingRestartWithSlowHandshakes(t *testing.T) {
	s := newSite(t, "handshakes")
	s.balancer.HoldFinished(200 * time.Millisecond)
	s.balancer.SetLag(shutdownDelay - 2*rotation.PollInterval)
	s.rollingRestart()
}

func (s *site) rollingRestart() {
	s.Helper()
	s.register(nil)
	options := s.selfManaged(0)
	for range 2 {
		s.start(options)
	}
	s.underLoad(func() {
		for range 3 {
			for _, webhook := range slices.Clone(s.servers) {
				s.stop(webhook)
				s.start(options)
			}
		}
	})
}
