package cabundle

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"time"
)

const pemCertificate = "CERTIFICATE"

// grace is how long an expired certificate stays in a bundle. Replicas whose
// clocks differ by less than that agree on what to add and what to drop.
const grace = time.Hour

// merge returns the bundle with what it lacks of cas, and whether that is a
// change. An unchanged bundle keeps its every byte.
//
//	in the bundle                     in the result
//	a certificate, whoever added it   in its place
//	one that expired grace ago        no
//	the same one again                once
//	anything else                     no
//
//	in cas
//	a certificate                     at the end, unless it is in the bundle
//	an expired one                    not added
func merge(bundle []byte, cas []*x509.Certificate, now time.Time) (merged []byte, changed bool) {
	found, clean := parse(bundle)
	kept := slices.DeleteFunc(slices.Clone(found), func(c *x509.Certificate) bool { return now.After(c.NotAfter.Add(grace)) })
	changed = !clean || len(kept) < len(found)
	for _, ca := range cas {
		if !contains(kept, ca) && now.Before(ca.NotAfter) {
			kept, changed = append(kept, ca), true
		}
	}
	if !changed {
		return bundle, false
	}
	for _, c := range kept {
		merged = append(merged, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw})...)
	}
	return merged, true
}

// parse returns the certificates that an API server takes from the bundle,
// each of them once. clean reports that there is nothing else in it.
func parse(bundle []byte) (certs []*x509.Certificate, clean bool) {
	clean = true
	for {
		block, rest := pem.Decode(bundle)
		if block == nil {
			return certs, clean && len(bytes.TrimSpace(bundle)) == 0
		}
		bundle = rest
		// As x509.CertPool.AppendCertsFromPEM, which API servers use.
		if block.Type != pemCertificate || len(block.Headers) > 0 {
			clean = false
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || contains(certs, cert) {
			clean = false
			continue
		}
		certs = append(certs, cert)
	}
}

func contains(certs []*x509.Certificate, cert *x509.Certificate) bool {
	return slices.ContainsFunc(certs, cert.Equal)
}
