package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/shorthop/shorthop/pkg/printable"
)

const (
	// maxDocument bounds a manifest, and whatever else is not a layer.
	maxDocument = 4 << 20
	// maxHeaders bounds the headers of an answer. Those of all redirects are kept
	// until the last.
	maxHeaders = 1 << 20
	// maxRedirects is where net/http ends by itself; the library has clients that
	// follow without end.
	maxRedirects = 10
	// patience is how long a document may take, with the tokens, redirects and
	// repetitions on the way to it, and how long a layer may take until it begins.
	patience = time.Minute
	// leastOfLayer is what has to come of a layer in each minute of waiting: with
	// all workers at once, what a modem brings.
	leastOfLayer = 64 << 10
)

// layerKey marks the context of requests for layers.
type layerKey struct{}

// endKey is for the time at which the patience with the requests of a context ends.
type endKey struct{}

// boundedTransport bounds what registries answer, how often they redirect, and
// how long they take.
type boundedTransport struct {
	http.RoundTripper
	patience time.Duration
	bytes    atomic.Int64 // of all bodies
}

func newTransport() *boundedTransport {
	t := &boundedTransport{RoundTripper: remote.DefaultTransport, patience: patience}
	if base, ok := remote.DefaultTransport.(*http.Transport); ok {
		base = base.Clone()
		base.MaxResponseHeaderBytes = maxHeaders
		t.RoundTripper = base
	}
	return t
}

// inTime is a context whose requests have the time of one document together. It
// runs from the first of them: before that, a helper for credentials may ask
// somebody for a password.
func (t *boundedTransport) inTime(ctx context.Context) context.Context {
	return context.WithValue(ctx, endKey{}, sync.OnceValue(func() time.Time { return time.Now().Add(t.patience) }))
}

// slow is the error of a registry from which too little comes.
type slow struct {
	within time.Duration
	came   int64 // bytes
	layer  bool  // it has begun
	before bool  // what is asked before anything of an image: see isBefore
}

func (s slow) Error() string {
	seconds := s.within.Seconds()
	switch {
	case s.before && s.came == 0:
		return fmt.Sprintf("no answer came within %g s", seconds)
	case s.layer && s.came == 0:
		return fmt.Sprintf("nothing more of it came within %g s", seconds)
	case s.layer:
		return fmt.Sprintf("only %d bytes more of it came within %g s, and a layer has to bring %d KiB", s.came, seconds, leastOfLayer>>10)
	case s.came == 0:
		return fmt.Sprintf("nothing of it came within %g s", seconds)
	}
	return fmt.Sprintf("only %d bytes of it came within %g s, and a manifest, a configuration or a token has to come whole", s.came, seconds)
}

// garbled is the error of an answer that is not HTTP.
type garbled struct{ error }

func (g garbled) Unwrap() error { return g.error }

// interrupted is the error of a body that ends too early, or is not HTTP.
type interrupted struct{ error }

func (i interrupted) Unwrap() error { return i.error }

func (i interrupted) Error() string {
	if closed(i.error) {
		return "the connection was closed before all of it had come"
	}
	return "it is not HTTP that can be read: " + quoted(i.error.Error())
}

// closed reports whether a connection ended that was still needed.
func closed(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

var (
	errLongDocument = problem(fmt.Sprintf("it answers with more than %d MiB where a manifest or the like is due", maxDocument>>20))
	errLongHeaders  = problem(fmt.Sprintf("it answers with headers of more than %d MiB", maxHeaders>>20))
)

// RoundTrip sends a request.
func (t *boundedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	left := t.patience
	if end, ok := ctx.Value(endKey{}).(func() time.Time); ok {
		left = time.Until(end())
	}
	body := &boundedBody{transport: t, ctx: ctx, cancel: cancel, left: maxDocument, before: isBefore(request)}
	body.timer = time.AfterFunc(left, body.late)
	response, err := t.RoundTripper.RoundTrip(request.WithContext(ctx))
	if err != nil {
		body.timer.Stop()
		_, network := errors.AsType[net.Error](err)
		switch cause := context.Cause(ctx); {
		case cause != nil:
			err = cause
		case strings.Contains(err.Error(), "response headers exceeded"): // which has no type
			err = errLongHeaders
		case !network && !errors.Is(err, http.ErrSchemeMismatch):
			err = garbled{err}
		}
		cancel(nil)
		return nil, err
	}
	body.ReadCloser = response.Body
	if err := misled(request, response); err != nil {
		_ = body.Close() // what it says does not matter any more
		return nil, err
	}
	if request.Context().Value(layerKey{}) != nil && response.StatusCode == http.StatusOK && !body.before {
		body.timer.Stop()
		body.layer.Store(true)
	}
	response.Body = body
	return response, nil
}

// isBefore reports whether a request is what the library asks a registry, or who gives
// tokens for it, before anything of an image: whether it speaks the protocol, and for a
// token. Redirects, which may lead anywhere, do not count.
func isBefore(request *http.Request) bool {
	path := request.URL.Path
	return request.Response == nil && !strings.Contains(path, "/manifests/") && !strings.Contains(path, "/blobs/")
}

// misled is the error of a redirect that is not followed, nil for any other answer.
func misled(request *http.Request, response *http.Response) error {
	switch response.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil
	}
	location := response.Header.Get("Location")
	if location == "" {
		return nil
	}
	target, err := request.URL.Parse(location)
	if err != nil || target.Host == "" && (target.Scheme == "http" || target.Scheme == "https") {
		return problem(fmt.Sprintf("there is a redirect to %s, which is no address", printable.Quote(withoutSecrets(location), printable.MaxCell)))
	}
	if target.Scheme != "http" && target.Scheme != "https" {
		return problem(fmt.Sprintf("there is a redirect to an address that begins with %s, and only http: and https: are followed", printable.Quote(target.Scheme+":", printable.MaxCell)))
	}
	redirects := 1
	for earlier := request.Response; earlier != nil && earlier.Request != nil; earlier = earlier.Request.Response {
		redirects++
	}
	if redirects >= maxRedirects {
		return problem(fmt.Sprintf("there are %d redirects in a row, and the last is not followed", maxRedirects))
	}
	return nil
}

// boundedBody is the body of an answer. That of a document ends with the time of
// its context. Of a layer only the time counts in which somebody waits for it:
// unpacking what came may take longer than getting it.
type boundedBody struct {
	io.ReadCloser
	transport *boundedTransport
	timer     *time.Timer
	ctx       context.Context //nolint:containedctx // of the request whose body this is
	cancel    context.CancelCauseFunc
	left      int64 // of a document
	before    bool  // as slow has it
	layer     atomic.Bool
	came      atomic.Int64  // of a layer, since waited began
	waited    time.Duration // for leastOfLayer
}

// late ends what takes too long.
func (b *boundedBody) late() {
	b.cancel(slow{b.transport.patience, b.came.Load(), b.layer.Load(), b.before})
}

func (b *boundedBody) Read(p []byte) (n int, err error) {
	if b.layer.Load() {
		n, err = b.readLayer(p)
	} else {
		if b.left == 0 {
			return 0, errLongDocument
		}
		n, err = b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
		b.left -= int64(n)
		b.came.Add(int64(n))
	}
	b.transport.bytes.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		} else {
			err = interrupted{err}
		}
	}
	return n, err
}

func (b *boundedBody) readLayer(p []byte) (int, error) {
	begun := time.Now()
	b.timer.Reset(b.transport.patience - b.waited)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	b.waited += time.Since(begun)
	if b.came.Add(int64(n)) >= leastOfLayer {
		b.came.Store(0)
		b.waited = 0
	}
	return n, err
}

func (b *boundedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
