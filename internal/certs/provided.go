// Package certs has the sources of the serving certificate.
package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
)

// The names that cert-manager and Secrets of type kubernetes.io/tls use.
const (
	certFile = "tls.crt"
	keyFile  = "tls.key"
	// caFile is only in Secrets of CAs.
	caFile = "ca.crt"
)

// Provided serves the pair in a folder, which cert-manager or somebody else
// renews. A changed pair is used for new connections as soon as it is
// complete; until then, and if it is broken, the old one stays.
type Provided struct {
	watcher *certwatcher.CertWatcher
	log     logr.Logger
}

// NewProvided loads tls.crt and tls.key from dir. notAfter is called with the
// expiry of the pair, now and at each change.
func NewProvided(dir string, notAfter func(time.Time), log logr.Logger) (*Provided, error) {
	watcher, err := certwatcher.New(filepath.Join(dir, certFile), filepath.Join(dir, keyFile))
	if err != nil {
		return nil, fmt.Errorf("loading the serving certificate: %w", err)
	}
	watcher.RegisterCallback(func(pair tls.Certificate) { notAfter(pair.Leaf.NotAfter) })
	return &Provided{watcher: watcher, log: log}, nil
}

// GetCertificate returns the pair in use, for tls.Config.
func (p *Provided) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return p.watcher.GetCertificate(hello)
}

// Start follows the files until ctx ends. It returns nil.
func (p *Provided) Start(ctx context.Context) error {
	for {
		err := p.watcher.Start(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// The watcher gives up after 10 s in which a file is not there. We have
		// a pair to serve, so that is no reason to end.
		p.log.Error(err, "cannot watch the serving certificate, the last good one stays in use")
	}
}

// Healthy returns nil once there is a certificate to serve. An expired one
// counts: clients will say so, and the expiry is a metric.
func (p *Provided) Healthy() error {
	if pair, err := p.watcher.GetCertificate(nil); err != nil || pair == nil {
		return errors.Join(errors.New("no certificate is loaded"), err)
	}
	return nil
}
