package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Leaves live a day, which is longer than any test and any demo; the CA outlives the last leaf that it can sign in that
// time. All of them are valid from an hour ago, for clocks that differ.
const (
	leafLifetime = 24 * time.Hour
	caLifetime   = 2 * leafLifetime
	clockSkew    = time.Hour
)

// CA signs serving certificates for webhooks, and certificates of their clients. Its key is only in memory.
type CA struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

// NewCA creates a CA. All CAs have the same name, so a test that serves with one and registers another gets the failure
// that a rotation can cause: a known issuer with the wrong key.
func NewCA() (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the CA's key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "shorthop-test-ca"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing the CA: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the CA: %w", err)
	}
	return &CA{key: key, cert: cert}, nil
}

// Bundle returns the CA's certificate as PEM, as a webhook configuration's caBundle wants it.
func (ca *CA) Bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// WriteServingCert signs a new leaf for the hosts (names or IP addresses) and writes it to dir as tls.crt and tls.key,
// replacing the ones that are there.
func (ca *CA) WriteServingCert(dir string, hosts ...string) error {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "shorthop-test"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return ca.writeLeaf(dir, template)
}

// WriteClientCert does the same for a client, by its common name and DNS names.
func (ca *CA) WriteClientCert(dir, commonName string, dnsNames ...string) error {
	return ca.writeLeaf(dir, &x509.Certificate{
		Subject:     pkix.Name{CommonName: commonName},
		DNSNames:    dnsNames,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (ca *CA) writeLeaf(dir string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generating a leaf's key: %w", err)
	}
	now := time.Now()
	template.NotBefore, template.NotAfter = now.Add(-clockSkew), now.Add(leafLifetime)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	certDER, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return fmt.Errorf("signing a leaf: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding a leaf's key: %w", err)
	}

	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating the certificate's folder: %w", err)
	}
	if err := writePEM(filepath.Join(dir, "tls.key"), "PRIVATE KEY", keyDER); err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, "tls.crt"), "CERTIFICATE", certDER)
}

// writePEM replaces a file at once: a server that watches it never reads half of it.
func writePEM(path, blockType string, der []byte) error {
	next := path + ".next"
	if err := os.WriteFile(next, pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), 0o600); err != nil {
		return fmt.Errorf("writing a PEM file: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("replacing a PEM file: %w", err)
	}
	return nil
}

// ServingCert writes tls.crt and tls.key for the hosts to dir, signed by a CA of its own, and returns that CA's bundle.
// Use NewCA where several leaves must have the same issuer.
func ServingCert(dir string, hosts ...string) (caBundle []byte, err error) {
	ca, err := NewCA()
	if err != nil {
		return nil, err
	}
	if err := ca.WriteServingCert(dir, hosts...); err != nil {
		return nil, err
	}
	return ca.Bundle(), nil
}
