package certs

import (
	"context"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// trusting stands for a webhook configuration that has had every CA for long.
type trusting struct{}

func (trusting) Start(context.Context) error                   { return nil }
func (trusting) Serving(*x509.Certificate)                     {}
func (trusting) Trouble() string                               { return "" }
func (trusting) Trusted(*x509.Certificate, time.Duration) bool { return true }

// TestTheClockJumps between the signing of a certificate and the look at it. API servers go by their own clocks: a
// certificate that is new by ours is not served, and until it is the old one stays.
func TestTheClockJumps(t *testing.T) {
	t.Parallel()
	s := NewSelfManaged(SelfManagedOptions{Publisher: trusting{}, Settle: 10 * time.Second})
	signed := time.Now()
	leaf := &x509.Certificate{NotBefore: signed, NotAfter: signed.Add(time.Hour)}
	const wait = "it has not been valid for 10s yet"
	for name, test := range map[string]struct {
		jump time.Duration
		want string // empty: it is served
	}{
		"not at all":            {0, wait},
		"back by a second":      {-time.Second, wait},
		"back by a day":         {-24 * time.Hour, wait},
		"ahead, and not enough": {10*time.Second - time.Nanosecond, wait},
		"ahead by ten seconds":  {10 * time.Second, ""},
		"ahead by a day":        {24 * time.Hour, ""}, // Trusted, which looks at the expiry, has the say
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := s.tooNew(leaf, signed.Add(test.jump)); err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
