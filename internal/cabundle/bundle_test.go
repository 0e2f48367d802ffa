package cabundle

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
)

// authority is a CA that signs leaves.
type authority struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// newAuthority makes a CA. All have the same name, as those that follow each
// other in a Secret.
func newAuthority(t *testing.T, notAfter time.Time) authority {
	t.Helper()
	return newAuthorityFor(t, notAfter, "shorthop-ca")
}

func newAuthorityFor(t *testing.T, notAfter time.Time, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: notAfter.Add(-24 * time.Hour), NotAfter: notAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return authority{sign(t, template, template, key, key), key}
}

func (a authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: a.Raw})
}

func (a authority) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	return sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"shorthop.shorthop.svc"}, NotBefore: a.NotBefore, NotAfter: a.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.Certificate, a.key, a.key)
}

func sign(t *testing.T, template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestMerge(t *testing.T) {
	t.Parallel()
	now := time.Now()
	old, current, foreign := newAuthority(t, now.Add(time.Minute)), newAuthority(t, now.Add(time.Hour)), newAuthorityFor(t, now.Add(time.Hour), "somebody")
	expired, lately := newAuthority(t, now.Add(-grace-time.Second)), newAuthority(t, now.Add(-grace+time.Second))
	cas := []*x509.Certificate{old.Certificate, current.Certificate}
	only := []*x509.Certificate{current.Certificate}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("key")})
	withHeader := pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Headers: map[string]string{"a": "b"}, Bytes: foreign.Raw})
	join := slices.Concat[[]byte]

	type counts = map[Dropped]int
	for name, test := range map[string]struct {
		bundle  []byte
		cas     []*x509.Certificate
		want    []byte // nil: unchanged
		dropped counts
	}{
		"an empty bundle gets all":                            {nil, cas, join(old.pem(), current.pem()), nil},
		"the new one comes behind the old one":                {old.pem(), cas, join(old.pem(), current.pem()), nil},
		"an old one that is not ours to know stays":           {old.pem(), only, join(old.pem(), current.pem()), nil},
		"a foreign one stays":                                 {foreign.pem(), only, join(foreign.pem(), current.pem()), nil},
		"one that has all is left alone":                      {join(current.pem(), old.pem()), cas, nil, nil},
		"more white space is no reason to write":              {join([]byte("\n\n"), current.pem(), []byte("\n \n")), only, nil, nil},
		"a comment is no reason to write":                     {join([]byte("# ours\n"), current.pem()), only, nil, nil},
		"an expired one is dropped":                           {join(expired.pem(), current.pem()), only, current.pem(), counts{DroppedExpired: 1}},
		"one that has just expired stays":                     {join(lately.pem(), current.pem()), only, nil, nil},
		"one that has just expired is not added":              {current.pem(), []*x509.Certificate{lately.Certificate, current.Certificate}, nil, nil},
		"text alone is replaced":                              {[]byte("garbage"), only, current.pem(), counts{DroppedUnreadable: 1}},
		"text behind is dropped":                              {join(current.pem(), []byte("x")), only, current.pem(), counts{DroppedUnreadable: 1}},
		"what is no plain certificate is dropped":             {join(pem.EncodeToMemory(&pem.Block{Type: "TRUSTED CERTIFICATE", Bytes: foreign.Raw}), current.pem()), only, current.pem(), counts{DroppedUnreadable: 1}},
		"a key is dropped":                                    {join(key, current.pem()), only, current.pem(), counts{DroppedUnreadable: 1}},
		"what API servers do not read is dropped":             {join(withHeader, current.pem()), only, current.pem(), counts{DroppedUnreadable: 1}},
		"a block that is no certificate is dropped":           {join(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: []byte("x")}), current.pem()), only, current.pem(), counts{DroppedUnreadable: 1}},
		"the same one twice is there once":                    {join(current.pem(), current.pem()), only, current.pem(), counts{DroppedDuplicate: 1}},
		"the same one twice, and a key":                       {join(current.pem(), key, current.pem()), only, current.pem(), counts{DroppedDuplicate: 1, DroppedUnreadable: 1}},
		"several replicas with other knowledge agree, first":  {join(old.pem(), current.pem()), only, nil, nil},
		"several replicas with other knowledge agree, second": {join(old.pem(), current.pem()), cas, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, dropped, changed := merge(test.bundle, test.cas, now)
			maps.DeleteFunc(dropped, func(_ Dropped, n int) bool { return n == 0 })
			if !maps.Equal(dropped, test.dropped) {
				t.Errorf("dropped %v, want %v", dropped, test.dropped)
			}
			if changed != (test.want != nil) {
				t.Fatalf("changed is %t", changed)
			}
			if !changed {
				if !bytes.Equal(got, test.bundle) {
					t.Error("unchanged, and not the same")
				}
				return
			}
			if diff := cmp.Diff(string(test.want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, _, again := merge(got, test.cas, now); again {
				t.Error("a second merge changes it again")
			}
		})
	}
}

// A bundle has a bound. Within it there is always room for what is served by, and replicas with other knowledge do not undo
// each other's choice.
func TestMergeIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	var foreign, earlier []byte
	for range 300 {
		foreign = append(foreign, newAuthorityFor(t, now.Add(time.Hour), "somebody").pem()...)
	}
	for n := range 30 {
		earlier = append(earlier, newAuthority(t, now.Add(time.Hour+time.Duration(n)*time.Minute)).pem()...)
	}
	served, current, unknown := newAuthority(t, now.Add(10*time.Minute)), newAuthority(t, now.Add(2*time.Hour)), newAuthority(t, now.Add(3*time.Hour))
	huge := newAuthorityFor(t, now.Add(time.Hour), strings.Repeat("x", maxBytes))
	somebodys, renamed := newAuthorityFor(t, now.Add(time.Hour), "somebody"), newAuthorityFor(t, now.Add(time.Hour), "renamed")
	join := slices.Concat[[]byte]
	for name, test := range map[string]struct {
		bundle []byte
		cas    []authority
		kept   []authority
		count  int
	}{
		"foreign ones make room":                        {foreign, []authority{current, served}, []authority{current, served}, maxCertificates},
		"ours are behind them":                          {join(foreign, served.pem(), current.pem()), []authority{served}, []authority{current, served}, maxCertificates},
		"what other replicas may serve by goes first":   {join(foreign, unknown.pem()), []authority{current}, []authority{current, unknown}, maxCertificates},
		"of those, old ones as well":                    {join(foreign, served.pem()), []authority{current}, []authority{current, served}, maxCertificates},
		"of those, the newest":                          {join(earlier, unknown.pem(), foreign), []authority{served}, []authority{served, unknown}, maxCertificates},
		"whatever ours are named by now":                {join(foreign, unknown.pem()), []authority{renamed, current}, []authority{current, renamed, unknown}, maxCertificates},
		"of others, the first":                          {join(somebodys.pem(), foreign), []authority{served}, []authority{served, somebodys}, maxCertificates},
		"one that is too large is left out":             {huge.pem(), []authority{served}, []authority{served}, 1},
		"what is served by stays, however large":        {current.pem(), []authority{huge}, []authority{huge}, 1},
		"and others of ours make room for it":           {nil, []authority{current, huge}, []authority{huge}, 1},
		"garbage of a megabyte":                         {bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----\n"), 1<<15), []authority{served}, []authority{served}, 1},
		"as many as there is room for are left as they": {join(served.pem(), current.pem()), []authority{served}, []authority{served, current}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cas []*x509.Certificate
			for _, ca := range test.cas {
				cas = append(cas, ca.Certificate)
			}
			merged, dropped, _ := merge(test.bundle, cas, now)
			got, _ := parse(merged)
			for _, ca := range test.kept {
				if !contains(got, ca.Certificate) {
					t.Error("what has to be there is not")
				}
			}
			if len(got) != test.count || len(got) > 1 && len(merged) > maxBytes {
				t.Errorf("%d certificates of %d bytes, want %d; dropped: %v", len(got), len(merged), test.count, dropped)
			}
			known, _ := parse(test.bundle)
			for _, ca := range cas {
				if !contains(known, ca) {
					known = append(known, ca)
				}
			}
			if len(known)-len(got) != dropped[DroppedExcess] {
				t.Errorf("%d of %d are left, and %d are said to be dropped", len(got), len(known), dropped[DroppedExcess])
			}
			if _, _, again := merge(merged, cas, now); again {
				t.Error("a second merge changes it again")
			}
			if _, _, again := merge(merged, []*x509.Certificate{test.kept[0].Certificate}, now); again {
				t.Error("a replica that knows less changes it again")
			}
		})
	}
}

// Somebody who empties the Secret again and again gets a new CA each time.
func TestFewCAsAreRemembered(t *testing.T) {
	t.Parallel()
	retry := time.Now()
	contested := retry.Add(time.Hour)
	injector := &Injector{published: map[string]bool{}, contest: contest{next: contested}, retry: retry}
	cas := make([]*x509.Certificate, 2*maxSeen)
	for n := range cas {
		ca := newAuthority(t, time.Now().Add(time.Hour))
		cas[n] = ca.Certificate
		if n == 0 {
			injector.Serving(ca.leaf(t))
		}
		injector.remember([]*x509.Certificate{ca.Certificate})
		if !injector.due().Equal(retry) {
			t.Errorf("CA %d waits, although it was never there", n)
		}
		if injector.publish(); !injector.due().Equal(contested) {
			t.Errorf("CA %d does not wait, although it was there", n)
		}
	}
	if injector.retry = contested.Add(time.Minute); !injector.due().Equal(injector.retry) {
		t.Error("a write that failed is tried again too early")
	}
	if want := slices.Concat(cas[maxSeen+1:], cas[:1]); !slices.EqualFunc(injector.wanted(), want, (*x509.Certificate).Equal) || len(injector.published) != maxSeen {
		t.Errorf("%d CAs are wanted and %d known as published, want the last %d and, behind them, the one that is served by", len(injector.wanted()), len(injector.published), maxSeen-1)
	}
	idle := &Injector{published: map[string]bool{}}
	idle.remember(cas)
	idle.remember(cas[maxSeen+1 : maxSeen+2])                                              // is known
	idle.remember([]*x509.Certificate{newAuthority(t, time.Now().Add(time.Hour)).leaf(t)}) // is no CA
	if !slices.EqualFunc(idle.wanted(), cas[maxSeen:], (*x509.Certificate).Equal) {
		t.Error("where none is served by, others than the last are remembered")
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	old, next := newAuthority(t, start.Add(time.Hour)), newAuthority(t, start.Add(time.Hour))
	oldLeaf, nextLeaf := old.leaf(t), next.leaf(t)
	config := func(bundles ...[]byte) *admissionv1.MutatingWebhookConfiguration {
		c := &admissionv1.MutatingWebhookConfiguration{}
		for _, bundle := range bundles {
			c.Webhooks = append(c.Webhooks, admissionv1.MutatingWebhook{ClientConfig: admissionv1.WebhookClientConfig{CABundle: bundle}})
		}
		return c
	}
	both := slices.Concat(old.pem(), next.pem())

	var trusted trust
	check := func(what string, leaf *x509.Certificate, now, forSeconds int, want bool) {
		t.Helper()
		if got := trusted.verifies(leaf, at(now-forSeconds), at(now)); got != want {
			t.Errorf("%s: trusted for %d s at %d: %t", what, forSeconds, now, got)
		}
	}
	check("nothing is known", oldLeaf, 0, 0, false)
	trusted.observe(config(old.pem(), old.pem()), at(0))
	check("the only CA, at once", oldLeaf, 0, 0, true)
	check("the only CA, too early", oldLeaf, 9, 10, false)
	check("the only CA, in time", oldLeaf, 10, 10, true)
	check("a CA of the same name", nextLeaf, 10, 10, false)

	trusted.observe(config(both, old.pem()), at(20))
	check("in one of two entries", nextLeaf, 40, 10, false)
	check("the old one stays", oldLeaf, 40, 40, true)
	trusted.observe(config(both, both), at(40))
	check("in both, too early", nextLeaf, 49, 10, false)
	check("in both, in time", nextLeaf, 50, 10, true)

	trusted.observe(config(old.pem(), old.pem()), at(60))
	check("taken out", nextLeaf, 60, 0, false)
	trusted.observe(config(both, both), at(61))
	check("back again, too early", nextLeaf, 70, 10, false)
	check("back again, in time", nextLeaf, 71, 10, true)

	trusted.observe(nil, at(80))
	check("the configuration is gone", oldLeaf, 80, 0, false)
	trusted.observe(config(), at(81))
	check("a configuration without entries", oldLeaf, 90, 0, false)
	trusted.observe(config(both, both), at(90))
	check("expired", oldLeaf, 3601, 10, false)
}
