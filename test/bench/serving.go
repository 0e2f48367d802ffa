package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/test/bench/contender"
	"github.com/shorthop/shorthop/test/cluster"
)

// serverCore is the core that the servers of this part have to themselves: what sends the reviews is kept off it.
const serverCore = 0

// turns is how often each measurement is interrupted by those that it is compared with.
const turns = 4

// rates are reviews per second; 0 is as many as 32 senders get answers to.
var rates = []int{0, 500, 1000, 2000}

// servingRow is one server under one load.
type servingRow struct {
	Server string
	Rate   int
	// PerSecond is how many were answered, CPU the server's time per review in µs, P50 and P99 latencies in ms from the
	// moment a review was due.
	PerSecond, CPU, P50, P99 float64
}

// target is a server that gets reviews.
type target struct {
	name, url string
	pid       int
}

const policyWithoutCluster = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: bench}
spec:
  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}
  serviceHost: {host: api.example.com}
  dns:
    mode: NodeLocal
    nodeLocal: {servers: [169.254.20.10], daemonSet: ""}
`

// serving measures HTTPS: the real program, which writes a patch, against servers of the same Go that do less.
func (b *bench) serving(ctx context.Context) (rows []servingRow, err error) {
	review, err := os.ReadFile(filepath.Join(reviewsDir, "typical.json"))
	if err != nil {
		return nil, fmt.Errorf("reading a review: %w", err)
	}
	targets, stop, err := b.startServers(ctx)
	defer stop()
	if err != nil {
		return nil, err
	}
	restore, err := leaveCore(serverCore)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()

	for _, rate := range rates {
		sums := make([]sent, len(targets))
		clients := make([]*http.Client, len(targets))
		for i := range targets {
			clients[i] = b.reviewClient()
		}
		for slice := range turns {
			for i := range targets {
				at := (i + slice) % len(targets)
				if err := sums[at].add(ctx, clients[at], &targets[at], review, rate, b.time/turns); err != nil {
					return nil, fmt.Errorf("sending reviews to %s: %w", targets[at].name, err)
				}
			}
		}
		for i, s := range sums {
			clients[i].CloseIdleConnections()
			rows = append(rows, servingRow{
				Server: targets[i].name, Rate: rate,
				PerSecond: float64(len(s.latencies)) / s.took.Seconds(),
				CPU:       s.cpu.Seconds() * 1e6 / float64(len(s.latencies)),
				P50:       quantile(s.latencies, 0.5), P99: quantile(s.latencies, 0.99),
			})
		}
	}
	return rows, nil
}

// startServers starts each on the same core. Only one of them has work at a time.
func (b *bench) startServers(ctx context.Context) (targets []target, stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	policyFile := filepath.Join(b.dir, "serving.yaml")
	if err := os.WriteFile(policyFile, []byte(policyWithoutCluster), 0o600); err != nil {
		return nil, stop, fmt.Errorf("writing a policy: %w", err)
	}
	err = onCore(serverCore, func() error {
		ours, err := cluster.StartProcess(ctx, cluster.WebhookOptions{Policy: policyFile, CertDir: b.certDir})
		if err != nil {
			return err
		}
		stops = append(stops, ours.Kill)
		targets = append(targets, target{nameShorthop, ours.URL, ours.PID()})
		for _, s := range []served{
			{Kind: kindConstant},
			{Kind: kindNull},
			{Kind: kindConventional, Settings: contender.Settings{
				Host: "api.example.com", NodeLocal: []string{"169.254.20.10", "10.0.0.10"},
				Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("3")}},
			}},
		} {
			s.CertDir = b.certDir
			p, err := startContender(ctx, b.dir, s)
			if err != nil {
				return err
			}
			stops = append(stops, p.stop)
			targets = append(targets, target{servingNames[s.Kind], p.url, p.pid()})
		}
		return nil
	})
	return targets, stop, err
}

const nameShorthop = "shorthop"

var servingNames = map[string]string{
	kindConstant:     "bare TLS handler",
	kindNull:         "controller-runtime null",
	kindConventional: "conventional",
}

// sent sums up the slices of one measurement.
type sent struct {
	latencies []float64 // ms
	took, cpu time.Duration
}

// add sends reviews for a while.
func (s *sent) add(ctx context.Context, client *http.Client, to *target, review []byte, rate int, lasting time.Duration) error {
	// The first one pays for the connection.
	if _, err := post(ctx, client, to.url, review); err != nil {
		return err
	}
	before, err := cpuTime(to.pid)
	if err != nil {
		return err
	}
	began := time.Now()
	latencies, err := sendReviews(ctx, began, rate, lasting, func() error {
		_, err := post(ctx, client, to.url, review)
		return err
	})
	if err != nil {
		return err
	}
	s.took += time.Since(began)
	s.latencies = append(s.latencies, latencies...)
	after, err := cpuTime(to.pid)
	s.cpu += after - before
	return err
}

// sendReviews calls send from 32 goroutines: rate times per second, by the clock, or as often as it returns. A call that was
// due and had to wait counts from when it was due.
func sendReviews(ctx context.Context, began time.Time, rate int, lasting time.Duration, send func() error) (latencies []float64, err error) {
	ctx, cancel := context.WithDeadline(ctx, began.Add(lasting))
	defer cancel()
	waiting := 0
	if rate > 0 {
		waiting = 4096 // a server that is too slow builds up a queue, which its latencies show
	}
	due := make(chan time.Time, waiting)
	go func() {
		defer close(due)
		for n := 1; ctx.Err() == nil; n++ {
			at := time.Now()
			if rate > 0 {
				at = began.Add(time.Duration(n) * time.Second / time.Duration(rate))
				time.Sleep(time.Until(at))
			}
			select {
			case due <- at:
			case <-ctx.Done():
			}
		}
	}()
	var mu sync.Mutex
	var senders sync.WaitGroup
	for range 32 {
		senders.Go(func() {
			for at := range due {
				if rate == 0 {
					at = time.Now()
				}
				failure := send()
				took := time.Since(at)
				mu.Lock()
				latencies = append(latencies, float64(took)/float64(time.Millisecond))
				err = errors.Join(err, failure)
				mu.Unlock()
				if failure != nil {
					cancel()
				}
			}
		})
	}
	senders.Wait()
	return latencies, err
}

// post returns the answer to a review.
func post(ctx context.Context, client *http.Client, url string, review []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(review))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	response, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
		return nil, fmt.Errorf("status %s over %s", response.Status, response.Proto)
	}
	return answer, nil
}

// reviewClient is a client with a connection of its own, as each API server has.
func (b *bench) reviewClient() *http.Client {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.caBundle)
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}}
}
