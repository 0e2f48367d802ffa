package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shorthop/shorthop/test/cluster"
)

// fault is something that breaks, or that somebody does to the server, while reviews are sent and pods are created. do
// returns once everything works again.
type fault struct {
	name string
	// reviews and pods say what may happen to them.
	reviews, pods promise
	do            func(*site, context.Context, *replica) error
}

// promise says what may be lost.
type promise string

const (
	// noneLost: every review is answered as the policy says; every pod is created and injected.
	noneLost promise = "none lost"
	// noneMissed: pods may be refused by the API server; those that are created are injected.
	noneMissed promise = "none missed"
	// mayBeLost: those on a server that dies, and new ones until its Service has noticed. Pods are created as they are.
	mayBeLost promise = "may be lost"
)

// faults: *long-lived* is the server that is watched for leaks.
var faults = []fault{
	{"API server killed and restarted", noneLost, noneMissed, (*site).apiServerKilled},
	{"etcd stands still for 3 s", noneLost, noneMissed, (*site).etcdStopped},
	{"leaf and CA replaced", noneLost, noneLost, func(s *site, ctx context.Context, _ *replica) error { return s.rotate(ctx) }},
	{"certificate half written", noneLost, noneLost, (*site).certHalfWritten},
	{"policy rolled out", noneLost, noneLost, func(s *site, ctx context.Context, _ *replica) error { return s.rollout(ctx) }},
	{"policy file half written", noneLost, noneLost, (*site).policyHalfWritten},
	{"policy file deleted", noneLost, noneLost, (*site).policyDeleted},
	{"200 slow and 500 idle connections", noneLost, noneLost, (*site).slowAndIdle},
	{"garbage, oversized and deeply nested bodies", noneLost, noneLost, (*site).badBodies},
	{"16 scrapers of metrics without pause", noneLost, noneLost, (*site).scrapes},
	{"replica restarted (SIGTERM)", noneLost, noneLost, func(s *site, ctx context.Context, _ *replica) error { return s.replace(ctx, s.replicas[1]) }},
	{"replica killed (SIGKILL)", mayBeLost, mayBeLost, (*site).replicaKilled},
}

func (s *site) apiServerKilled(ctx context.Context, _ *replica) error {
	if err := s.cluster.RestartAPIServer(func() { _ = sleep(ctx, 3*time.Second) }); err != nil { // an end of ctx is noticed below
		return err
	}
	return s.injecting(ctx)
}

func (s *site) etcdStopped(ctx context.Context, _ *replica) error {
	if err := s.cluster.Pause(cluster.Etcd); err != nil {
		return err
	}
	_ = sleep(ctx, 3*time.Second) // it must go on even if ctx has ended
	if err := s.cluster.Resume(cluster.Etcd); err != nil {
		return err
	}
	return s.injecting(ctx)
}

func (s *site) certHalfWritten(ctx context.Context, longLived *replica) error {
	err := longLived.certs.Publish(func(dir string) error {
		if err := s.ca.WriteServingCert(dir, siteName+"."+siteName+".svc"); err != nil {
			return err
		}
		return os.Truncate(filepath.Join(dir, "tls.crt"), 300)
	})
	if err != nil {
		return err
	}
	// The file is looked at within 10 s, if the notification of the change does not come through.
	if err := sleep(ctx, 2*time.Second); err != nil {
		return err
	}
	return s.renew(ctx)
}

func (s *site) policyHalfWritten(ctx context.Context, longLived *replica) error {
	// Not at the end of a value: what is there then may be a policy.
	written := int64(strings.Index(document, "dnsServers"))
	return s.policyBroken(ctx, longLived, func() error { return os.Truncate(longLived.policyFile(), written) })
}

func (s *site) policyDeleted(ctx context.Context, longLived *replica) error {
	return s.policyBroken(ctx, longLived, func() error { return os.Remove(longLived.policyFile()) })
}

// policyBroken breaks the policy file until the server has noticed, and restores it.
func (s *site) policyBroken(ctx context.Context, r *replica, breakIt func() error) error {
	if err := breakIt(); err != nil {
		return fmt.Errorf("breaking the policy file: %w", err)
	}
	if err := until(ctx, "the broken policy file is noticed", func(ctx context.Context) (bool, error) {
		values, err := r.metrics(ctx)
		successful, found := values["shorthop_policy_last_reload_successful"]
		return found && successful == 0, err
	}); err != nil {
		return err
	}
	if err := r.publishPolicy(s.versions[s.current].text); err != nil {
		return err
	}
	return s.inForce(ctx, r, s.current)
}

// slowAndIdle opens connections to the long-lived server that send nothing, a header byte by byte, or a body byte by byte.
func (s *site) slowAndIdle(ctx context.Context, longLived *replica) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	at, err := url.Parse(longLived.URL)
	if err != nil {
		return err
	}
	const idle, slow = 500, 200
	var running sync.WaitGroup
	errs := make(chan error, idle+slow)
	for i := range idle + slow {
		running.Go(func() {
			conn, err := s.dial(ctx, at.Host)
			if err != nil {
				if ctx.Err() == nil {
					errs <- err
				}
				return
			}
			defer func() { _ = conn.Close() }() // the server may have been first
			text := ""
			switch {
			case i < idle:
			case i%2 == 0:
				text = "POST " + at.Path + " HTTP/1.1\r\nHost: soak\r\nX-Slow: " + strings.Repeat("x", 1000)
			default:
				text = "POST " + at.Path + " HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\nContent-Length: 4096\r\n\r\n" + strings.Repeat(" ", 1000)
				if _, err := io.WriteString(conn, text[:len(text)-1000]); err != nil {
					return // the server may hang up
				}
				text = text[len(text)-1000:]
			}
			for _, c := range []byte(text) {
				if _, err := conn.Write([]byte{c}); err != nil || sleep(ctx, 200*time.Millisecond) != nil {
					return
				}
			}
			<-ctx.Done()
		})
	}
	running.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return fmt.Errorf("opening connections: %w", err)
	}
	return nil
}

// dial opens a TLS connection to a server, past the balancer.
func (s *site) dial(ctx context.Context, host string) (net.Conn, error) {
	return (&tls.Dialer{Config: s.trust()}).DialContext(ctx, "tcp", host)
}

func (s *site) trust() *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.ca.Bundle())
	return &tls.Config{RootCAs: pool, ServerName: siteName + "." + siteName + ".svc", MinVersion: tls.VersionTLS12}
}

// badBodies sends what no API server sends. The answers are those of the table in internal/admission/handler.go.
func (s *site) badBodies(ctx context.Context, longLived *replica) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: s.trust()}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	review := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"version":"v1","kind":"Pod"},` +
		`"resource":{"version":"v1","resource":"pods"},"namespace":"` + openNamespace + `","operation":"CREATE","object":`
	for _, bad := range []struct {
		what string
		body []byte
		want []int
	}{
		{"garbage", bytes.Repeat([]byte{0, 0xff, '{', '"'}, 1000), []int{http.StatusBadRequest}},
		{"nothing", nil, []int{http.StatusBadRequest}},
		{"half a review", []byte(review + `{"metadata":`), []int{http.StatusBadRequest, http.StatusOK}},
		{"8 MiB", bytes.Repeat([]byte(" "), 8<<20), []int{http.StatusRequestEntityTooLarge}},
		{"a pod nested 1,000,000 deep", []byte(review + strings.Repeat("[", 1_000_000) + strings.Repeat("]", 1_000_000) + "}}"), []int{http.StatusBadRequest, http.StatusOK}},
		{"a review nested 1,000,000 deep", []byte(strings.Repeat(`{"request":`, 500_000) + strings.Repeat("}", 500_000)), []int{http.StatusBadRequest}},
	} {
		for range 5 {
			status, answer, err := post(ctx, client, longLived.URL, bad.body)
			if err != nil && bad.want[0] == http.StatusRequestEntityTooLarge && ctx.Err() == nil {
				continue // hung up on while it was still sending
			}
			if err != nil {
				return fmt.Errorf("sending %s: %w", bad.what, err)
			}
			if !slices.Contains(bad.want, status) || status == http.StatusOK && !bytes.Contains(answer, []byte(`"allowed":true`)) {
				return fmt.Errorf("%s is answered with status %d: %.300s", bad.what, status, answer)
			}
		}
	}
	return nil
}

func post(ctx context.Context, client *http.Client, url string, body []byte) (status int, answer []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}

func (s *site) scrapes(ctx context.Context, longLived *replica) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var scrapers sync.WaitGroup
	errs := make(chan error, 16)
	for range cap(errs) {
		scrapers.Go(func() {
			for ctx.Err() == nil {
				if _, err := longLived.metrics(ctx); err != nil && ctx.Err() == nil {
					errs <- err
					return
				}
			}
		})
	}
	scrapers.Wait()
	close(errs)
	return <-errs
}

func (s *site) replicaKilled(ctx context.Context, _ *replica) error {
	killed := s.replicas[1]
	killed.Kill()
	// As long as a Service sends it connections.
	if err := sleep(ctx, 2*s.options.lag()); err != nil {
		return err
	}
	s.forget(killed)
	if _, err := s.startReplica(ctx); err != nil {
		return err
	}
	return s.injecting(ctx)
}

// happened is a fault with what became of reviews and pods meanwhile.
type happened struct {
	fault         *fault
	times         int
	reviews, pods *tally
}

// kept reports whether the promises were kept.
func (h *happened) kept() bool {
	switch h.fault.reviews {
	case noneLost, noneMissed:
		if h.reviews.lost() > 0 {
			return false
		}
	case mayBeLost:
		// Lost is what was not answered; an answer is still the right one.
		if h.reviews.unpatched+h.reviews.other > 0 {
			return false
		}
	}
	switch h.fault.pods {
	case noneLost:
		return h.pods.lost() == 0
	case noneMissed:
		return h.pods.missed() == 0
	default:
		return h.pods.other+h.pods.failed == 0
	}
}

// problems are examples of what was not expected.
func (h *happened) problems() []string {
	found := map[string]bool{}
	for _, text := range slices.Concat(h.reviews.examples(), h.pods.examples()) {
		found[text] = true
	}
	return slices.Sorted(maps.Keys(found))
}

var errLongLivedEnded = errors.New("the long-lived server has ended")
