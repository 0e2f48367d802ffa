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

// A bundle has a bound, as every API server parses it and every watcher gets it
// whole: somebody who adds a CA at each renewal and removes none would fill it.
// An authority of ours has some 700 bytes, a large one of a company 2.5 KiB.
const (
	maxCertificates = 20
	maxBytes        = 32 << 10
)

// Dropped is why something of a bundle was left out.
type Dropped string

// The reasons.
const (
	// DroppedExpired is a certificate that expired grace ago.
	DroppedExpired Dropped = "expired"
	// DroppedDuplicate is the same certificate again.
	DroppedDuplicate Dropped = "duplicate"
	// DroppedUnreadable is what API servers do not take for a certificate.
	DroppedUnreadable Dropped = "unreadable"
	// DroppedExcess is a certificate for which there was no room.
	DroppedExcess Dropped = "excess"
)

// AllDropped lists the reasons.
func AllDropped() []Dropped {
	return []Dropped{DroppedExpired, DroppedDuplicate, DroppedUnreadable, DroppedExcess}
}

// merge returns the bundle with what it lacks of cas, and whether that is a
// change. An unchanged bundle keeps its every byte. cas are in the order of
// their age, and the last one matters most: its leaves are served.
//
//	in the bundle                     in the result
//	a certificate, whoever added it   in its place, if there is room
//	one that expired grace ago        no
//	the same one again                once
//	anything else                     no
//
//	in cas
//	a certificate                     at the end, unless it is in the bundle
//	an expired one                    not added
//
//	room is given to                  in the order of
//	cas                               the last one first, which always has room
//	those named like one of cas       their beginning, the newest first: other
//	                                  replicas may still serve what they signed
//	all others                        the bundle
func merge(bundle []byte, cas []*x509.Certificate, now time.Time) (merged []byte, dropped map[Dropped]int, changed bool) {
	found, dropped := parse(bundle)
	kept := slices.DeleteFunc(slices.Clone(found), func(c *x509.Certificate) bool { return now.After(c.NotAfter.Add(grace)) })
	dropped[DroppedExpired] = len(found) - len(kept)
	for _, ca := range cas {
		if !contains(kept, ca) && now.Before(ca.NotAfter) {
			kept = append(kept, ca)
		}
	}
	fitting := fit(kept, cas)
	dropped[DroppedExcess] = len(kept) - len(fitting)
	// A CA that finds no room changes nothing.
	if dropped[DroppedUnreadable]+dropped[DroppedDuplicate] == 0 && slices.EqualFunc(found, fitting, (*x509.Certificate).Equal) {
		return bundle, dropped, false
	}
	for _, c := range fitting {
		merged = append(merged, encode(c)...)
	}
	return merged, dropped, true
}

// fit leaves out what there is no room for.
func fit(certs, cas []*x509.Certificate) []*x509.Certificate {
	named := map[string]bool{}
	for _, ca := range cas {
		named[string(ca.RawSubject)] = true
	}
	class := func(c *x509.Certificate) int {
		switch {
		case contains(cas, c):
			return 0
		case named[string(c.RawSubject)]:
			return 1
		}
		return 2
	}
	byRank := slices.Clone(certs)
	slices.SortStableFunc(byRank, func(a, b *x509.Certificate) int {
		classA, classB := class(a), class(b)
		switch {
		case classA != classB:
			return classA - classB
		case classA == 0:
			return slices.IndexFunc(cas, b.Equal) - slices.IndexFunc(cas, a.Equal)
		case classA == 1:
			return b.NotBefore.Compare(a.NotBefore)
		}
		return 0
	})
	size, room := 0, map[*x509.Certificate]bool{}
	for i, c := range byRank {
		size += len(encode(c))
		if i > 0 && (i >= maxCertificates || size > maxBytes) {
			break
		}
		room[c] = true
	}
	return slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool { return !room[c] })
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw})
}

// parse returns the certificates that an API server takes from the bundle,
// each of them once, and how much else there is in it.
func parse(bundle []byte) (certs []*x509.Certificate, others map[Dropped]int) {
	others = map[Dropped]int{}
	for {
		block, rest := pem.Decode(bundle)
		if block == nil {
			if len(bytes.TrimSpace(bundle)) > 0 {
				others[DroppedUnreadable]++
			}
			return certs, others
		}
		bundle = rest
		// As x509.CertPool.AppendCertsFromPEM, which API servers use.
		if block.Type != pemCertificate || len(block.Headers) > 0 {
			others[DroppedUnreadable]++
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			others[DroppedUnreadable]++
		case contains(certs, cert):
			others[DroppedDuplicate]++
		default:
			certs = append(certs, cert)
		}
	}
}

func contains(certs []*x509.Certificate, cert *x509.Certificate) bool {
	return slices.ContainsFunc(certs, cert.Equal)
}
