package audit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	// pageSize is how many pods are read at once.
	pageSize = 500
	// pageTimeout bounds the read of a page.
	pageTimeout = time.Minute
)

// Pod is the part of a running pod that is read.
type Pod struct {
	policy.Pod
	Metadata Metadata `json:"metadata"`
	Status   Status   `json:"status"`
	// Size is that of the pod in bytes of JSON.
	Size int `json:"-"`
}

// Metadata is the part of a running pod's metadata that is read.
type Metadata struct {
	policy.PodMetadata
	CreationTimestamp time.Time  `json:"creationTimestamp"`
	DeletionTimestamp *time.Time `json:"deletionTimestamp"`
}

// Status is the part of a pod's status that is read.
type Status struct {
	Phase corev1.PodPhase `json:"phase"`
}

// UnmarshalJSONFrom decodes a pod of a list in one pass.
func (p *Pod) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	type fields Pod // without this method
	start := decoder.InputOffset()
	if err := json.UnmarshalDecode(decoder, (*fields)(p)); err != nil {
		return err
	}
	p.Size = int(decoder.InputOffset() - start)
	p.Pod.Metadata = p.Metadata.PodMetadata
	return nil
}

// LeftOut is why a pod is not classified. The names are API.
type LeftOut string

// Pods that are left out.
const (
	// LeftOutFinished has Succeeded or Failed: nothing runs in it any more.
	LeftOutFinished LeftOut = "finished"
	// LeftOutDeleting is about to go.
	LeftOutDeleting LeftOut = "deleting"
	// LeftOutMirror mirrors a static pod, which no webhook can reach.
	LeftOutMirror LeftOut = "mirror"
)

// LeftOut returns why the pod is not classified, or "".
func (p *Pod) LeftOut() LeftOut {
	_, mirror := p.Metadata.Annotations[corev1.MirrorPodAnnotationKey]
	switch {
	case mirror:
		return LeftOutMirror
	case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		return LeftOutFinished
	case p.Metadata.DeletionTimestamp != nil:
		return LeftOutDeleting
	}
	return ""
}

// Reader reads pods. Client is required; it is the REST client of the core API.
type Reader struct {
	Client rest.Interface
	// Page is called after each page with the number of pods read so far, and
	// of those that are left; an error ends the reading. Defaults to nothing.
	Page func(ctx context.Context, read, left int) error
}

// page is a page of pods.
type page struct {
	Metadata struct {
		Continue           string `json:"continue"`
		RemainingItemCount int    `json:"remainingItemCount"`
	} `json:"metadata"`
	Items items `json:"items"`
}

// items are handed on one by one, while the answer is still coming in.
type items struct {
	each func(*Pod)
	n    int
}

// UnmarshalJSONFrom decodes a list and keeps nothing of it.
func (i *items) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	if _, err := decoder.ReadToken(); err != nil {
		return err
	}
	for decoder.PeekKind() != jsontext.KindEndArray {
		pod := &Pod{}
		if err := json.UnmarshalDecode(decoder, pod); err != nil {
			return err
		}
		i.each(pod)
		i.n++
	}
	_, err := decoder.ReadToken()
	return err
}

// Read calls each for every pod of a namespace, "" for all. It holds one pod at
// a time. On an error some pods have been read. consistent is false where the
// reading took so long that the API server went on with a newer list: every
// pod that was there from beginning to end has been read once, but others may
// be missing.
func (r *Reader) Read(ctx context.Context, namespace string, each func(*Pod)) (consistent bool, err error) {
	consistent = true
	read, token, expired := 0, "", false
	for {
		next := &page{Items: items{each: each}}
		err := r.read(ctx, namespace, token, next)
		if further := continueAfterExpiry(err); further != "" && !expired {
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

// continueAfterExpiry returns the token that the API server offers where the
// list that a token belongs to is not kept any more: with it the list goes on
// at the same key as it is now.
func continueAfterExpiry(err error) string {
	if !apierrors.IsResourceExpired(err) {
		return ""
	}
	var status apierrors.APIStatus // not an error by its methods
	if !errors.As(err, &status) {
		return ""
	}
	return status.Status().Continue
}

func (r *Reader) read(ctx context.Context, namespace, token string, into *page) error {
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
		// The API server is trusted, as in a review.
		err = json.UnmarshalRead(body, into, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
