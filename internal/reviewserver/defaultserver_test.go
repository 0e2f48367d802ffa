package reviewserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr/funcr"
	"go.uber.org/zap"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// rival is a server under comparison, and what the test sees of it.
type rival struct {
	server  webhook.Server
	address string
	// certificates is how often it was asked for its certificate: once a handshake.
	certificates *atomic.Int64
	roots        *x509.CertPool
	// http is the http.Server behind it, which the handlers find.
	http atomic.Pointer[http.Server]
	// held counts requests that wait for release.
	held    atomic.Int64
	release chan struct{}
}

// newRival is DefaultServer as its options make it, or ours.
func newRival(t *testing.T, ours bool) *rival {
	t.Helper()
	certificate, roots := newCertificate(t)
	r := &rival{address: clustertest.FreeAddresses(t, 1)[0], certificates: new(atomic.Int64), roots: roots, release: make(chan struct{})}
	counted := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		r.certificates.Add(1)
		return certificate(hello)
	}
	if ours {
		r.server = New(Options{Address: r.address, GetCertificate: counted, Log: zap.NewNop()})
	} else {
		host, text, err := net.SplitHostPort(r.address)
		if err != nil {
			t.Fatal(err)
		}
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		r.server = webhook.NewServer(webhook.Options{Host: host, Port: port, TLSOpts: []func(*tls.Config){
			func(config *tls.Config) { config.GetCertificate = counted },
		}})
	}
	r.server.Register(webhookconfig.Path, reviewHandler(t))
	r.server.Register("/held", http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.http.Store(req.Context().Value(http.ServerContextKey).(*http.Server))
		r.held.Add(1)
		<-r.release
		fmt.Fprint(w, req.Context().Err())
	}))
	return r
}

// waitHeld returns once so many requests are held.
func (r *rival) waitHeld(t *testing.T, n int64) {
	t.Helper()
	clustertest.Eventually(t, "all requests are held", func() bool { return r.held.Load() >= n })
}

// contextAtTheEnd holds a request, tells the server to end, and returns what became
// of the request's context.
func (r *rival) contextAtTheEnd(t *testing.T) string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Start(ctx) }()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}, ForceAttemptHTTP2: true}}
	answer := make(chan string, 1)
	go func() {
		for {
			response, err := client.Get("https://" + r.address + "/held")
			if err != nil { // it does not listen yet
				continue
			}
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			answer <- string(body)
			return
		}
	}()
	r.waitHeld(t, 1)
	stop()
	time.Sleep(20 * time.Millisecond) // whoever cancels it has done so
	close(r.release)
	defer func() { <-ended }()
	return <-answer
}

// header is the block of HTTP/2 that asks for /held with so long a header. It does
// not depend on what was sent before.
func header(size int) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: "webhook"},
		{Name: ":path", Value: "/held"}, {Name: "x-long", Value: strings.Repeat("x", size)},
	} {
		field.Sensitive = true        // never indexed
		_ = encoder.WriteField(field) // to memory
	}
	return block.Bytes()
}

// holdHeaders holds 240 requests on 3 connections, each with a header nearly as
// long as the server takes, and returns how much memory that keeps in use.
func (r *rival) holdHeaders(t *testing.T) int64 {
	t.Helper()
	const conns, streams = 3, 80
	stop := start(t, r.server)
	defer stop()
	defer close(r.release)
	block := header(r.http.Load().MaxHeaderBytes - 1<<10)
	held := r.held.Load()
	before := inUse()
	for range conns {
		r.hold(t, block, streams)
	}
	r.waitHeld(t, held+conns*streams)
	return inUse() - before
}

// hold sends so many requests with these headers over a new connection, which stays
// open.
func (r *rival) hold(t *testing.T, block []byte, streams uint32) {
	t.Helper()
	conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: r.roots, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, nil)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for s := range streams {
		if err := writeHeaders(framer, 2*s+1, block); err != nil {
			t.Fatal(err)
		}
	}
}

// writeHeaders sends a block in frames of the least size that HTTP/2 allows.
func writeHeaders(framer *http2.Framer, stream uint32, block []byte) error {
	first, rest := block[:min(len(block), maxFrame)], block[min(len(block), maxFrame):]
	err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: true, EndHeaders: len(rest) == 0})
	for err == nil && len(rest) > 0 {
		n := min(len(rest), maxFrame)
		err = framer.WriteContinuation(stream, n == len(rest), rest[:n])
		rest = rest[n:]
	}
	return err
}

func inUse() int64 {
	runtime.GC()
	runtime.GC() // what has a finalizer is gone after the second
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// streams returns how many streams of a connection the server announces.
func (r *rival) streams(t *testing.T) uint32 {
	t.Helper()
	value, _ := announced(t, r.address, r.roots).Value(http2.SettingMaxConcurrentStreams)
	return value
}

// dialsPerProbe returns how many handshakes ten calls of the readiness check make,
// by ten.
func (r *rival) dialsPerProbe(t *testing.T) float64 {
	t.Helper()
	check, before := r.server.StartedChecker(), r.certificates.Load()
	for range 10 {
		if err := check(nil); err != nil {
			t.Error(err)
		}
	}
	return float64(r.certificates.Load()-before) / 10
}

// TestAgainstDefaultServer gives the reasons for not using webhook.DefaultServer, as
// a table of what both do (go test -v). A reason that has gone fails the test: it
// is time then to look again whether this package is needed.
func TestAgainstDefaultServer(t *testing.T) {
	if testing.Short() {
		t.Skip("240 requests with 1 MiB of headers each")
	}
	var mu sync.Mutex
	var logged strings.Builder
	ctrllog.SetLogger(funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(args, "Shutting down") {
			logged.Reset()
			logged.WriteString(args)
		}
	}, funcr.Options{}))

	type measured struct {
		contextAtTheEnd string
		handshake       error
		headerBytes     int
		headerTime      time.Duration
		answerTime      time.Duration
		streams         uint32
		dials           float64
		held            int64
	}
	measure := func(ours bool) (m measured) {
		_, m.handshake = func() (string, error) {
			r := newRival(t, ours)
			return heldBackAtTheEnd(t, r.server, r.address, r.roots, true)
		}()
		first := newRival(t, ours)
		m.contextAtTheEnd = first.contextAtTheEnd(t)
		m.headerBytes, m.headerTime, m.answerTime = first.http.Load().MaxHeaderBytes, first.http.Load().ReadHeaderTimeout, first.http.Load().WriteTimeout
		second := newRival(t, ours)
		stop := start(t, second.server)
		m.streams, m.dials = second.streams(t), second.dialsPerProbe(t)
		stop()
		third := newRival(t, ours)
		third.http.Store(first.http.Load())
		m.held = third.holdHeaders(t)
		return m
	}
	theirs, ours := measure(false), measure(true)

	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 3, ' ', 0)
	row := func(what string, theirs, ours any) { fmt.Fprintf(w, "%s\t%v\t%v\n", what, theirs, ours) }
	row("", "DefaultServer", "here")
	row("headers of a request, bytes", theirs.headerBytes, ours.headerBytes)
	row("streams of a connection", theirs.streams, ours.streams)
	row("memory of 240 held requests on 3 connections, MiB", theirs.held>>20, ours.held>>20)
	row("time for the headers", theirs.headerTime, ours.headerTime)
	row("time for the answer (0: no limit)", theirs.answerTime, ours.answerTime)
	row("a handshake in flight at the end", theirs.handshake, ours.handshake)
	row("the context of a request in flight at the end", theirs.contextAtTheEnd, ours.contextAtTheEnd)
	row("handshakes with itself for a readiness probe", theirs.dials, ours.dials)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("\n%sDefaultServer says of its end:\n%s", table.String(), logged.String())

	for reason, holds := range map[string]bool{
		"it takes longer headers":                  theirs.headerBytes > ours.headerBytes,
		"it takes more streams":                    theirs.streams > ours.streams,
		"held requests take ten times the memory":  theirs.held > 10*ours.held,
		"it waits longer for headers":              theirs.headerTime > ours.headerTime,
		"it waits for ever for an answer's reader": theirs.answerTime == 0 && ours.answerTime > 0,
		"it aborts handshakes at its end":          theirs.handshake != nil && ours.handshake == nil,
		"it cancels requests at its end":           theirs.contextAtTheEnd == context.Canceled.Error() && ours.contextAtTheEnd == "<nil>",
		"its end has a fixed bound":                strings.Contains(logged.String(), "timeout of 1 minute"),
		"its readiness probe dials":                theirs.dials >= 1 && ours.dials == 0,
	} {
		if !holds {
			t.Errorf("no reason any more: %s", reason)
		}
	}
}
