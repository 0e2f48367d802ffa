package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
)

// clientCAInterval is the time between two looks at the file.
const clientCAInterval = time.Second

// ClientCA lets in only clients that have a certificate by one of the CAs in a
// file. The file is followed:
//
//	the content is                          new connections are verified by
//	the one it looked at last               what they were
//	new, and was another a second ago       what they were: it may be half written
//	new, the same as a second ago, valid    the new CAs
//	new, the same as a second ago, broken   the last good CAs; the error is logged once
//
// That the file cannot be read counts as a broken content: nobody gets in who
// did not before, and API servers are not locked out. A connection that is
// open stays open.
type ClientCA struct {
	file  string
	names []string
	log   logr.Logger
	cas   atomic.Pointer[x509.CertPool]

	// settled is the content that was acted on last, candidate the one seen by
	// the last poll. Only NewClientCA and Start use them, one after the other.
	settled, candidate []byte
}

// NewClientCA loads the CAs, in PEM. names are the common names and DNS names
// of which a client's certificate must have one; without any, every
// certificate by these CAs will do.
func NewClientCA(file string, names []string, log logr.Logger) (*ClientCA, error) {
	c := &ClientCA{file: file, names: names, log: log}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("loading the CA of clients: %w", err)
	}
	cas, err := parseCAs(content)
	if err != nil {
		return nil, fmt.Errorf("loading the CA of clients: %s: %w", file, err)
	}
	c.cas.Store(cas)
	c.settled, c.candidate = content, content
	return c, nil
}

// Require returns a configuration that is config for clients with such a
// certificate, and refuses the others.
func (c *ClientCA) Require(config *tls.Config) *tls.Config {
	strict := config.Clone()
	strict.ClientAuth = tls.RequireAndVerifyClientCert
	strict.VerifyConnection = c.verifyName
	// A session that is resumed was verified by the CAs of its time.
	strict.SessionTicketsDisabled = true
	strict.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		current := strict.Clone()
		current.ClientCAs = c.cas.Load()
		return current, nil
	}
	return strict
}

// verifyName is called once the certificate is verified.
func (c *ClientCA) verifyName(state tls.ConnectionState) error {
	if len(c.names) == 0 {
		return nil
	}
	client := state.PeerCertificates[0]
	if slices.Contains(c.names, client.Subject.CommonName) ||
		slices.ContainsFunc(client.DNSNames, func(name string) bool { return slices.Contains(c.names, name) }) {
		return nil
	}
	return errors.New("the client's certificate has none of the names that are let in")
}

// Start follows the file until ctx ends. It returns nil.
func (c *ClientCA) Start(ctx context.Context) error {
	tick := time.NewTicker(clientCAInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.poll()
		}
	}
}

func (c *ClientCA) poll() {
	found, err := os.ReadFile(c.file)
	if err != nil {
		found = nil // as content, this is broken
	}
	previous := c.candidate
	c.candidate = found
	if bytes.Equal(found, c.settled) || !bytes.Equal(found, previous) {
		return
	}
	c.settled = found
	var cas *x509.CertPool
	if err == nil {
		cas, err = parseCAs(found)
	}
	if err != nil {
		c.log.Error(err, "the file with the CA of clients is broken, the last good one stays in use", "file", c.file)
		return
	}
	c.cas.Store(cas)
	c.log.Info("clients are verified by a new CA", "file", c.file)
}

// parseCAs wants at least one certificate, and nothing but CAs: an API server
// that a CA was forgotten for is easier to find here than there.
func parseCAs(content []byte) (*x509.CertPool, error) {
	cas, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		n++
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %d is a %.40q, want CERTIFICATE", n, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
		if !cert.IsCA {
			return nil, fmt.Errorf("PEM block %d is not a CA but the certificate of %.80q", n, cert.Subject.CommonName)
		}
		cas.AddCert(cert)
	}
	if n == 0 {
		return nil, errors.New("there is no certificate in PEM")
	}
	return cas, nil
}
