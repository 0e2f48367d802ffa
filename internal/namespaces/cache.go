// Package namespaces reads the labels of namespaces, and the annotations that tune
// their pods.
package namespaces

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/shorthop/shorthop/internal/loglimit"
	"github.com/shorthop/shorthop/pkg/policy"
)

// Whoever sends a review can name any namespace, and one that is not in the cache is
// read from the API server. So these reads are bounded:
//
//	bound            what beyond it
//	readTimeout      unknown: well below the webhook's own timeout, as what is not brought
//	                 in time is better decided as unknown than not at all
//	readsAtOnce      waits, within readTimeout
//	readsPerSecond,  the same, and unknown at once if there is no chance; the watch is at
//	burstOfReads     most some milliseconds late, so that few namespaces have to be read
//	absentFor        what does not exist is not looked for again for so long. One that is
//	                 created meanwhile is known as soon as the watch brings it, and no
//	                 API server sends a review of a namespace before it exists
//	maxAbsent        the one that was not asked for longest is forgotten
//	maxNamespace     unknown: an answer larger than etcd can hold (see Limit)
const (
	readTimeout    = 500 * time.Millisecond
	readsAtOnce    = 4
	readsPerSecond = 20
	burstOfReads   = 100
	absentFor      = time.Second
	maxAbsent      = 512
	maxNamespace   = 2 << 20
)

var resource = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

// Cache knows all namespaces from a watch on their metadata. A namespace that the
// watch has not brought yet, which is usual for the first pods of a new one, it reads
// when it is asked for.
type Cache struct {
	reader   metadata.Interface
	informer cache.SharedIndexInformer
	reads    singleflight.Group
	slots    chan struct{}
	rate     *rate.Limiter
	absent   *utilcache.LRUExpireCache
	log      logr.Logger
	lines    *loglimit.Limiter
}

// New returns a Cache that is filled once it is started. watcher lists and watches
// all namespaces. reader reads single ones, and must be made from a configuration
// that Limit returns.
func New(watcher, reader metadata.Interface, log logr.Logger) (*Cache, error) {
	informer := metadatainformer.NewFilteredMetadataInformer(watcher, resource, metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
	if err := informer.SetTransform(strip); err != nil {
		return nil, fmt.Errorf("preparing the namespace cache: %w", err)
	}
	return &Cache{
		reader: reader, informer: informer, slots: make(chan struct{}, readsAtOnce),
		rate: rate.NewLimiter(readsPerSecond, burstOfReads), absent: utilcache.NewLRUExpireCache(maxAbsent),
		log: log, lines: loglimit.New(),
	}, nil
}

// strip reduces a namespace to what is used of it, so that ten thousand of them, with
// all their annotations and managed fields, do not take much memory. UID and
// resourceVersion stay for the watch itself.
func strip(object any) (any, error) {
	namespace, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil // a tombstone, which holds what was stripped before
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name:            namespace.Name,
		Labels:          namespace.Labels,
		Annotations:     policy.NamespaceAnnotations(namespace.Annotations),
		UID:             namespace.UID,
		ResourceVersion: namespace.ResourceVersion,
	}}, nil
}

// Start keeps the cache up to date until ctx ends. It returns nil: an API
// server that is away is tried again and again, and meanwhile the cache
// answers with what it has.
func (c *Cache) Start(ctx context.Context) error {
	c.informer.RunWithContext(ctx)
	return nil
}

// Synced reports whether the cache has been filled once.
func (c *Cache) Synced() bool { return c.informer.HasSynced() }

// Names are the namespaces in the cache.
func (c *Cache) Names() []string { return c.informer.GetStore().ListKeys() }

// Get returns what is known of a namespace, which the caller must not change.
// Where it is not in the cache the API server is asked: once for all callers
// that want the same namespace at the same time, none of which waits longer
// than readTimeout or its own ctx. ok is false where that brings no answer, and
// for what is not the name of a namespace.
func (c *Cache) Get(ctx context.Context, namespace string) (known policy.Namespace, ok bool) {
	if known, ok := c.cached(namespace); ok {
		return known, true
	}
	if _, absent := c.absent.Get(namespace); absent || len(validation.IsDNS1123Label(namespace)) > 0 {
		return policy.Namespace{}, false // what is no valid name could turn the read into another request
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	result := c.reads.DoChan(namespace, func() (any, error) { return c.read(namespace) })
	select {
	case <-ctx.Done():
	case r := <-result:
		if known, ok = r.Val.(policy.Namespace); ok && r.Err == nil {
			return known, true
		}
	}
	return c.cached(namespace) // it may have come meanwhile
}

func (c *Cache) cached(namespace string) (known policy.Namespace, ok bool) {
	object, found, err := c.informer.GetStore().GetByKey(namespace)
	if err != nil || !found {
		return policy.Namespace{}, false
	}
	stripped := object.(*metav1.PartialObjectMetadata)
	return policy.Namespace{Labels: stripped.Labels, Annotations: stripped.Annotations}, true
}

// read asks the API server. It has a context of its own, as the caller that
// began it may leave before the others.
func (c *Cache) read(namespace string) (policy.Namespace, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), readTimeout, errors.New("the API server took too long"))
	defer cancel()
	known, err := c.get(ctx, namespace)
	if err == nil {
		return known, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if apierrors.IsNotFound(err) {
		c.absent.Add(namespace, nil, absentFor)
	}
	if leftOut, ok := c.lines.Allow(); ok {
		const quotedError = 100 // bytes, so that the line has less than 300
		c.log.Info("cannot read a namespace", loglimit.With([]any{"namespace", namespace, "error", loglimit.Quote(err.Error(), quotedError)}, leftOut)...)
	}
	return policy.Namespace{}, err
}

// errTooMany is why a namespace is not read: others are read, or wait to be.
var errTooMany = errors.New("too many namespaces to read that are not in the cache")

// get waits until the limits above allow a read, and reads a namespace.
func (c *Cache) get(ctx context.Context, namespace string) (policy.Namespace, error) {
	if c.rate.Wait(ctx) != nil {
		return policy.Namespace{}, errTooMany
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return policy.Namespace{}, errTooMany
	}
	object, err := c.reader.Resource(resource).Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		return policy.Namespace{}, err
	}
	return policy.Namespace{Labels: object.Labels, Annotations: policy.NamespaceAnnotations(object.Annotations)}, nil
}
