package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	// maxDocument bounds a manifest, and whatever else is not a layer.
	maxDocument = 4 << 20
	// stall is how long nothing may come.
	stall = time.Minute
)

// layerKey marks the context of requests for layers.
type layerKey struct{}

// boundedTransport bounds what registries answer, and how long they are silent.
type boundedTransport struct {
	http.RoundTripper
	stall time.Duration
	bytes atomic.Int64 // of all bodies
}

func newTransport() *boundedTransport {
	t := &boundedTransport{RoundTripper: remote.DefaultTransport, stall: stall}
	if base, ok := remote.DefaultTransport.(*http.Transport); ok {
		t.RoundTripper = base.Clone()
	}
	return t
}

// silence is the error of a registry from which nothing comes.
type silence time.Duration

func (s silence) Error() string { return fmt.Sprintf("nothing came for %s", time.Duration(s)) }

var errLongDocument = fmt.Errorf("it answers with more than %d MiB where a manifest or the like is due", maxDocument>>20)

// RoundTrip sends a request.
func (t *boundedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	timer := time.AfterFunc(t.stall, func() { cancel(silence(t.stall)) })
	response, err := t.RoundTripper.RoundTrip(request.WithContext(ctx))
	if err != nil {
		timer.Stop()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	body := &boundedBody{ReadCloser: response.Body, transport: t, timer: timer, ctx: ctx, cancel: cancel, left: maxDocument}
	if request.Context().Value(layerKey{}) != nil {
		body.left = -1
	}
	response.Body = body
	return response, nil
}

type boundedBody struct {
	io.ReadCloser
	transport *boundedTransport
	timer     *time.Timer
	ctx       context.Context //nolint:containedctx // of the request whose body this is
	cancel    context.CancelCauseFunc
	left      int64 // negative: no bound
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errLongDocument
	}
	if b.left > 0 {
		p = p[:min(int64(len(p)), b.left)]
	}
	n, err := b.ReadCloser.Read(p)
	b.timer.Reset(b.transport.stall)
	b.transport.bytes.Add(int64(n))
	if b.left > 0 {
		b.left -= int64(n)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}

func (b *boundedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}
