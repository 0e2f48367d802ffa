package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// An API server verifies by its own clock what was signed a moment ago, by a CA that was made a moment before: it may be
// five minutes behind, and the expiry bounds how far it may be ahead.
func TestAPIServersWithOtherClocksVerify(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, test := range []struct {
		life   time.Duration // of a leaf; the CA lives three times as long
		behind time.Duration // of the API server's clock
		want   bool
	}{
		{7 * 24 * time.Hour, 0, true},
		{7 * 24 * time.Hour, 10 * time.Second, true},
		{7 * 24 * time.Hour, -10 * time.Second, true},
		{7 * 24 * time.Hour, 5 * time.Minute, true},
		{7 * 24 * time.Hour, 5*time.Minute + 2*time.Second, false},
		{7 * 24 * time.Hour, -6 * 24 * time.Hour, true},
		{7 * 24 * time.Hour, -7 * 24 * time.Hour, false},
		{100 * time.Second, 10 * time.Second, true},
		{100 * time.Second, 12 * time.Second, false},
	} {
		t.Run(fmt.Sprintf("%s behind, in a life of %s", test.behind, test.life), func(t *testing.T) {
			t.Parallel()
			a := &authority{secret: "ca", caDuration: 3 * test.life, leafDuration: test.life, log: logr.Discard()}
			var secret corev1.Secret
			if err := a.fill(&secret, now); err != nil {
				t.Fatal(err)
			}
			ca, why := caIn(&secret, now)
			if why != "" {
				t.Fatal(why)
			}
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := a.signBy(ca, &x509.Certificate{PublicKey: key.Public(), DNSNames: []string{"a.b.svc"}}, now)
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(secret.Data[caFile])
			_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "a.b.svc", CurrentTime: now.Add(-test.behind)})
			if (err == nil) != test.want {
				t.Errorf("valid from %s to %s: %v", leaf.NotBefore, leaf.NotAfter, err)
			}
			if got := leaf.NotAfter.Sub(leaf.NotBefore); got != test.life {
				t.Errorf("it lives for %s", got)
			}
		})
	}
}

// What the Secret holds decides whether a new CA is made.
func TestCAInASecret(t *testing.T) {
	t.Parallel()
	now := time.Now()
	a := &authority{secret: "ca", caDuration: 3 * time.Hour, leafDuration: time.Hour, log: logr.Discard()}
	filled := func(change func(data map[string][]byte)) *corev1.Secret {
		secret := &corev1.Secret{}
		if err := a.fill(secret, now); err != nil {
			t.Fatal(err)
		}
		change(secret.Data)
		return secret
	}
	other := filled(func(map[string][]byte) {})
	for name, test := range map[string]struct {
		secret *corev1.Secret
		later  time.Duration
		usable bool
	}{
		"a CA":                         {filled(func(map[string][]byte) {}), 0, true},
		"a CA before its last third":   {filled(func(map[string][]byte) {}), 100 * time.Minute, true},
		"a CA in its last third":       {filled(func(map[string][]byte) {}), 2 * time.Hour, false},
		"nothing":                      {&corev1.Secret{}, 0, false},
		"no key":                       {filled(func(d map[string][]byte) { delete(d, keyFile) }), 0, false},
		"another certificate as ca":    {filled(func(d map[string][]byte) { d[caFile] = other.Data[caFile] }), 0, false},
		"another key":                  {filled(func(d map[string][]byte) { d[keyFile] = other.Data[keyFile] }), 0, false},
		"garbage":                      {filled(func(d map[string][]byte) { d[certFile], d[caFile] = []byte("x"), []byte("x") }), 0, false},
		"what others keep there stays": {filled(func(d map[string][]byte) { d["note"] = []byte("x") }), 0, true},
	} {
		if _, why := caIn(test.secret, now.Add(test.later)); (why == "") != test.usable {
			t.Errorf("%s: %q", name, why)
		}
	}
}

// Somebody empties the Secret as soon as it is filled: a new CA is made at once, and then less and less often.
func TestASecretThatIsEmptiedAgainAndAgain(t *testing.T) {
	t.Parallel()
	fills := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			fills++
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusConflict) // it has changed again
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409}`)
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{namespace: "default", secret: "ca", caDuration: 3 * time.Hour, leafDuration: time.Hour, client: client, log: logr.Discard()}
	empty := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ca"}}
	start := time.Now()
	ensure := func(at time.Duration) {
		t.Helper()
		if err := a.ensure(t.Context(), empty, start.Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	ensure(0)
	if fills != 1 {
		t.Errorf("it is filled %d times at once", fills)
	}
	for at := time.Duration(0); at < time.Hour; at += time.Second {
		ensure(at)
	}
	if fills < 10 || fills > 22 {
		t.Errorf("it is filled %d times in an hour", fills)
	}
	before := fills
	ensure(time.Hour + calm + time.Second)
	ensure(time.Hour + calm + 3*time.Second)
	if fills != before+2 {
		t.Errorf("after calm it is filled %d times in three seconds", fills-before)
	}
}
