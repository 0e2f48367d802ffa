package certs_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shorthop/shorthop/internal/certs"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// publisher stands for the webhook configuration: API servers trust what the
// test says.
type publisher struct {
	mu      sync.Mutex
	trusted bool
	asked   *x509.Certificate
	settle  time.Duration
	started atomic.Bool
}

func (p *publisher) Start(ctx context.Context) error {
	p.started.Store(true)
	<-ctx.Done()
	return nil
}

func (p *publisher) Trusted(leaf *x509.Certificate, forAtLeast time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked, p.settle = leaf, forAtLeast
	return p.trusted
}

func (p *publisher) Serving(*x509.Certificate) {}

func (p *publisher) Trouble() string { return "somebody takes it out" }

func (p *publisher) trust(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trusted = yes
}

// last returns what was asked for last.
func (p *publisher) last() (leaf *x509.Certificate, settle time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, p.settle
}

// replica is a running source.
type replica struct {
	*testing.T
	*certs.SelfManaged
	publisher publisher
	notAfter  atomic.Int64
}

const caSecret = "shorthop-ca"

// startReplica starts a source with the Secret in namespace default.
func startReplica(t *testing.T, control *cluster.Cluster, settle time.Duration) *replica {
	t.Helper()
	r := &replica{T: t}
	r.SelfManaged = certs.NewSelfManaged(certs.SelfManagedOptions{
		Namespace: "default", Secret: caSecret, DNSNames: []string{"shorthop.default.svc", "shorthop.default"},
		CADuration: 3 * time.Hour, LeafDuration: time.Hour, Settle: settle, Publisher: &r.publisher, Client: control.Client,
		NotAfter: func(at time.Time) { r.notAfter.Store(at.Unix()) }, Log: logr.Discard(),
	})
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- r.Start(ctx) }()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("a replica is healthy: %v", r.Healthy())
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Start: %v", err)
		}
	})
	return r
}

// unhealthy waits for a reason.
func (r *replica) unhealthy(reason string) {
	r.Helper()
	clustertest.Eventually(r, reason, func() bool {
		err := r.Healthy()
		return err != nil && strings.Contains(err.Error(), reason)
	})
	if _, err := r.GetCertificate(nil); err == nil {
		r.Error("it serves, and is not healthy")
	}
}

func (r *replica) served() *tls.Certificate {
	r.Helper()
	served, err := r.GetCertificate(nil)
	if err != nil {
		r.Fatal(err)
	}
	return served
}

func TestSelfManaged(t *testing.T) {
	control := clustertest.Start(t, cluster.Options{})
	secrets := control.Client.CoreV1().Secrets("default")
	// ca returns what is in the Secret, nil where that is nothing.
	ca := func() *x509.Certificate {
		t.Helper()
		secret, err := secrets.Get(t.Context(), caSecret, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(secret.Data["ca.crt"])
		if block == nil {
			return nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	// As the chart creates it.
	_, err := secrets.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: caSecret, Labels: map[string]string{"release": "ours"}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}

	// Neither of two replicas serves before its CA is published.
	replicas := []*replica{startReplica(t, control, 0), startReplica(t, control, 0)}
	for _, r := range replicas {
		r.unhealthy("a certificate is signed, but not served yet: the webhook configuration has not had its CA in every caBundle for 0s yet: somebody takes it out")
		if !r.publisher.started.Load() {
			t.Error("nobody publishes")
		}
	}
	first := ca()
	for _, r := range replicas {
		r.publisher.trust(true)
		clustertest.Eventually(r, "it is healthy", func() bool { return r.Healthy() == nil })
		leaf := r.served().Leaf
		if err := leaf.CheckSignatureFrom(first); err != nil {
			t.Errorf("not signed by the CA in the Secret: %v", err)
		}
		if diff := cmp.Diff([]string{"shorthop.default.svc", "shorthop.default"}, leaf.DNSNames); diff != "" {
			t.Errorf("names (-want +got):\n%s", diff)
		}
		if got := leaf.NotAfter.Sub(leaf.NotBefore); got != time.Hour {
			t.Errorf("it lives for %s", got)
		}
		if r.notAfter.Load() != leaf.NotAfter.Unix() {
			t.Error("its expiry is not told")
		}
	}
	if replicas[0].served().Leaf.Equal(replicas[1].served().Leaf) {
		t.Error("the replicas share a certificate")
	}
	if got := first.NotAfter.Sub(first.NotBefore); got != 3*time.Hour {
		t.Errorf("the CA lives for %s", got)
	}

	// A new CA: what is served stays until that is published.
	old := make([]*tls.Certificate, len(replicas))
	for i, r := range replicas {
		old[i] = r.served()
		r.publisher.trust(false)
	}
	if _, err := secrets.Patch(t.Context(), caSecret, types.JSONPatchType, []byte(`[{"op": "remove", "path": "/data"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(t, "there is a new CA", func() bool {
		current := ca()
		return current != nil && !current.Equal(first)
	})
	second := ca()
	for i, r := range replicas {
		clustertest.Eventually(r, "a new certificate waits", func() bool {
			leaf, _ := r.publisher.last()
			return leaf.CheckSignatureFrom(second) == nil
		})
		if r.served() != old[i] || r.Healthy() != nil {
			t.Errorf("the old certificate is not served any more, healthy: %v", r.Healthy())
		}
		r.publisher.trust(true)
		clustertest.Eventually(r, "the new certificate is served", func() bool { return r.served().Leaf.CheckSignatureFrom(second) == nil })
		if r.notAfter.Load() != r.served().Leaf.NotAfter.Unix() {
			t.Error("its expiry is not told")
		}
	}

	// A clock that is behind by less than settle accepts what is served.
	young := startReplica(t, control, time.Hour)
	young.publisher.trust(true)
	young.unhealthy("it has not been valid for 1h0m0s yet")
	if _, settle := young.publisher.last(); settle != time.Hour {
		t.Errorf("a CA is used after %s", settle)
	}

	secret, err := secrets.Get(t.Context(), caSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if secret.Labels["release"] != "ours" || secret.Type != corev1.SecretTypeOpaque {
		t.Errorf("the Secret itself has changed: %v, type %s", secret.Labels, secret.Type)
	}
}
