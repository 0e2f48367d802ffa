package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	servertls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
)

// adoptInterval is the time between two looks for a newly signed certificate that
// may be served.
const adoptInterval = time.Second

// Publisher publishes the CA to the API servers.
type Publisher interface {
	// Start publishes until ctx ends.
	Start(ctx context.Context) error
	// Trusted reports whether API servers have had a CA that verifies the leaf for
	// at least that long.
	Trusted(leaf *x509.Certificate, forAtLeast time.Duration) bool
	// Serving says which leaf is served from now on.
	Serving(leaf *x509.Certificate)
	// Trouble says why API servers will not trust a new CA, "" where nothing is
	// known to be wrong.
	Trouble() string
}

// SelfManagedOptions says what to sign. All fields but Log are required.
type SelfManagedOptions struct {
	// Namespace and Secret that hold the CA and its key. The Secret is there,
	// and may be empty. It is filled and renewed by whichever replica is first.
	Namespace, Secret string
	// DNSNames of the serving certificate.
	DNSNames []string
	// CADuration and LeafDuration are the lifetimes. Both are renewed when a
	// third is left. CADuration is the longer one.
	CADuration, LeafDuration time.Duration
	// Settle is how long a new leaf waits before it is served. Its CA must have been
	// in the webhook configuration for that long, so that every API server has it;
	// and the leaf's NotBefore must be that long ago, for API servers whose clock is
	// behind. NotBefore is set back when the leaf is signed, by five minutes or by a
	// tenth of its life, whichever is less, so usually only the CA is waited for.
	Settle time.Duration
	// Publisher puts the CA into the webhook configuration.
	Publisher Publisher
	Client    kubernetes.Interface
	// NotAfter is called with the expiry of each certificate that is served.
	NotAfter func(time.Time)
	Log      logr.Logger
}

// SelfManaged signs its own serving certificate, with a key that never leaves
// the process, by a CA that the replicas share in a Secret.
//
// Publish before use: a new certificate waits until API servers have been able
// to verify it for Settle. Until then the old one is served, which they still
// trust, and a replica that has none is not healthy.
type SelfManaged struct {
	o       SelfManagedOptions
	signed  *servertls.DynamicSource
	serving atomic.Pointer[tls.Certificate]

	mu sync.Mutex
	// waiting is the last certificate of which the log says that it has to wait, so
	// that it says so once.
	waiting *tls.Certificate
}

// NewSelfManaged returns a source that has no certificate before it is
// started.
func NewSelfManaged(o SelfManagedOptions) *SelfManaged {
	return &SelfManaged{o: o, signed: &servertls.DynamicSource{
		DNSNames: o.DNSNames,
		Authority: &authority{
			namespace: o.Namespace, secret: o.Secret, caDuration: o.CADuration, leafDuration: o.LeafDuration,
			client: o.Client, log: o.Log,
		},
	}}
}

// GetCertificate returns the certificate in use, for tls.Config.
func (s *SelfManaged) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if serving := s.serving.Load(); serving != nil {
		return serving, nil
	}
	return nil, servertls.ErrNotAvailable
}

// Start renews and publishes until ctx ends.
func (s *SelfManaged) Start(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.o.Publisher.Start(ctx) })
	group.Go(func() error {
		// At its level for information the library logs its own workings, every
		// second while it waits: that is for our debug level.
		if err := s.signed.Start(logr.NewContext(ctx, s.o.Log.V(1))); err != nil && ctx.Err() == nil {
			return fmt.Errorf("signing the serving certificate: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		tick := time.NewTicker(adoptInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				_ = s.adopt(time.Now()) // readiness says why it does not
			}
		}
	})
	return group.Wait()
}

// adopt serves the certificate that was signed last, or returns why it may not
// be served yet.
func (s *SelfManaged) adopt(now time.Time) error {
	next, err := s.signed.GetCertificate(nil)
	if err != nil {
		return fmt.Errorf("no certificate is signed yet: it needs a CA in Secret %s/%s%s", s.o.Namespace, s.o.Secret, s.trouble())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if next == s.serving.Load() {
		return nil
	}
	if why := s.tooNew(next.Leaf, now); why != nil {
		if next != s.waiting {
			s.waiting = next
			s.o.Log.Info("signed a new certificate, which has to wait", "serial", next.Leaf.SerialNumber.String(), "reason", why.Error())
		}
		return fmt.Errorf("a certificate is signed, but not served yet: %w", why)
	}
	s.serving.Store(next)
	s.o.Publisher.Serving(next.Leaf)
	s.waiting = nil
	s.o.NotAfter(next.Leaf.NotAfter)
	s.o.Log.Info("serving a new certificate", "serial", next.Leaf.SerialNumber.String(), "notAfter", next.Leaf.NotAfter)
	return nil
}

// tooNew returns why a certificate may not be served yet, or nil.
func (s *SelfManaged) tooNew(leaf *x509.Certificate, now time.Time) error {
	if !s.o.Publisher.Trusted(leaf, s.o.Settle) {
		return fmt.Errorf("the webhook configuration has not had its CA in every caBundle for %s yet%s", s.o.Settle, s.trouble())
	}
	if now.Sub(leaf.NotBefore) < s.o.Settle {
		return fmt.Errorf("it has not been valid for %s yet", s.o.Settle)
	}
	return nil
}

// trouble is the publisher's trouble, as the end of an error message.
func (s *SelfManaged) trouble() string {
	if trouble := s.o.Publisher.Trouble(); trouble != "" {
		return ": " + trouble
	}
	return ""
}

// Healthy returns nil once there is a certificate to serve, and from then on: a
// renewal that is stuck shows in the expiry of the certificate that is served.
func (s *SelfManaged) Healthy() error {
	if s.serving.Load() != nil {
		return nil
	}
	return s.adopt(time.Now())
}
