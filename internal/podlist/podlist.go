// Package podlist reads pods one by one, from a cluster page by page or from a
// file, and holds none of them.
package podlist

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/clusterread"
)

const (
	// pageSize is how many pods are read at once.
	pageSize = 500
	// pageTimeout bounds the read of a page.
	pageTimeout = time.Minute
)

// Reader reads the pods of a cluster into P, which has the fields of a pod that
// its reader wants. Client is required; it is the REST client of the core API.
type Reader[P any] struct {
	Client rest.Interface
	// Page is called after each page with the number of pods read so far, and the
	// number left, 0 where the API server does not say. An error ends the reading.
	// Defaults to nothing.
	Page func(ctx context.Context, read, left int) error
}

// list is a list of pods, or a page of one.
type list[P any] struct {
	Metadata struct {
		Continue           string `json:"continue"`
		RemainingItemCount int    `json:"remainingItemCount"`
	} `json:"metadata"`
	Items items[P] `json:"items"`
}

// items hands on pods one by one, while the answer is still coming in, and counts
// them.
type items[P any] struct {
	each func(*P)
	n    int
}

// UnmarshalJSONFrom decodes a list and keeps nothing of it.
func (i *items[P]) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	if _, err := decoder.ReadToken(); err != nil {
		return err
	}
	for decoder.PeekKind() != jsontext.KindEndArray {
		pod := new(P)
		if err := json.UnmarshalDecode(decoder, pod); err != nil {
			return err
		}
		i.each(pod)
		i.n++
	}
	_, err := decoder.ReadToken()
	return err
}

// decode accepts names that come twice, and invalid UTF-8, as the decoding of reviews
// does: the text comes from the API server.
func decode[P any](r io.Reader, into *list[P]) error {
	return json.UnmarshalRead(r, into, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// Read calls each for every pod of a namespace, "" for all. It holds one pod at
// a time. Before an error it may have been called for some pods. consistent is false
// where the reading took so long that the API server went on with a newer list: each
// was then called once for every pod that was there from beginning to end, but
// perhaps not for others.
func (r *Reader[P]) Read(ctx context.Context, namespace string, each func(*P)) (consistent bool, err error) {
	consistent = true
	read, token, expired := 0, "", false
	for {
		next := &list[P]{Items: items[P]{each: each}}
		err := r.page(ctx, namespace, token, next)
		if further := clusterread.ContinueAfterExpiry(err); further != "" && !expired {
			consistent, token, expired = false, further, true
			continue
		}
		if err != nil {
			return consistent, fmt.Errorf("list pods: %w", err)
		}
		expired = false
		read += next.Items.n
		if r.Page != nil {
			if err := r.Page(ctx, read, next.Metadata.RemainingItemCount); err != nil {
				return consistent, err
			}
		}
		if token = next.Metadata.Continue; token == "" {
			return consistent, nil
		}
	}
}

func (r *Reader[P]) page(ctx context.Context, namespace, token string, into *list[P]) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pageTimeout, fmt.Errorf("no answer within %s", pageTimeout))
	defer cancel()
	request := r.Client.Get().Resource("pods").SetHeader("Accept", "application/json").Param("limit", strconv.Itoa(pageSize))
	if namespace != "" {
		request = request.Namespace(namespace)
	}
	if token != "" {
		request = request.Param("continue", token)
	}
	body, err := request.Stream(ctx)
	if err == nil {
		defer body.Close()
		err = decode(body, into)
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
