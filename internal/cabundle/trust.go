package cabundle

import (
	"crypto/x509"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
)

// trust knows since when each CA has been in every caBundle of the webhook
// configuration. The zero value knows none.
type trust struct {
	mu  sync.Mutex
	cas map[string]trustedCA // by their DER encoding
}

type trustedCA struct {
	cert  *x509.Certificate
	since time.Time
}

// observe learns what the configuration has now; nil stands for one that does
// not exist. A CA that was away in between starts anew.
func (t *trust) observe(config *admissionv1.MutatingWebhookConfiguration, now time.Time) {
	current := map[string]trustedCA{}
	if config != nil {
		in := map[string]int{}
		for i := range config.Webhooks {
			certs, _ := parse(config.Webhooks[i].ClientConfig.CABundle)
			for _, cert := range certs {
				in[string(cert.Raw)]++
				current[string(cert.Raw)] = trustedCA{cert: cert, since: now}
			}
		}
		for der, entries := range in {
			if entries < len(config.Webhooks) {
				delete(current, der)
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for der, known := range t.cas {
		if _, still := current[der]; still {
			current[der] = known
		}
	}
	t.cas = current
}

// verifies reports whether a serving certificate can be verified now with CAs
// that have been trusted since the given time or longer.
func (t *trust) verifies(leaf *x509.Certificate, since, now time.Time) bool {
	roots := x509.NewCertPool()
	t.mu.Lock()
	for _, ca := range t.cas {
		if !ca.since.After(since) {
			roots.AddCert(ca.cert)
		}
	}
	t.mu.Unlock()
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err == nil
}
