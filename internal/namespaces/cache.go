// Package namespaces reads the labels of namespaces.
package namespaces

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/singleflight"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
)

// readTimeout bounds the read of a namespace that is not in the cache. It is
// well below the webhook's own timeout: what it does not bring in time is
// better decided as unknown than not at all.
const readTimeout = 500 * time.Millisecond

var resource = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

// Cache knows the labels of all namespaces from a watch on their metadata, and
// reads a namespace itself that the watch has not brought yet, which is usual
// for the first pods of a new one.
type Cache struct {
	client   metadata.Interface
	informer cache.SharedIndexInformer
	reads    singleflight.Group
	log      logr.Logger
}

// New returns a Cache that is filled once it is started.
func New(client metadata.Interface, log logr.Logger) (*Cache, error) {
	informer := metadatainformer.NewFilteredMetadataInformer(client, resource, metav1.NamespaceAll, 0, cache.Indexers{}, nil).Informer()
	if err := informer.SetTransform(strip); err != nil {
		return nil, fmt.Errorf("preparing the namespace cache: %w", err)
	}
	return &Cache{client: client, informer: informer, log: log}, nil
}

// strip keeps of a namespace what is used, so that ten thousand of them with
// all their annotations and managed fields do not cost much memory. The watch
// itself needs UID and resourceVersion.
func strip(object any) (any, error) {
	namespace, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil // a tombstone, which holds what was stripped before
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Name:            namespace.Name,
		Labels:          namespace.Labels,
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

// Labels returns the labels of a namespace, which the caller must not change.
// Where it is not in the cache the API server is asked: once for all callers
// that want the same namespace at the same time, none of which waits longer
// than readTimeout or its own ctx. ok is false where that brings no answer.
func (c *Cache) Labels(ctx context.Context, namespace string) (labels map[string]string, ok bool) {
	if object, found, err := c.informer.GetStore().GetByKey(namespace); err == nil && found {
		return object.(*metav1.PartialObjectMetadata).Labels, true
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	result := c.reads.DoChan(namespace, func() (any, error) { return c.read(namespace) })
	select {
	case <-ctx.Done():
		return nil, false
	case r := <-result:
		labels, ok = r.Val.(map[string]string)
		return labels, ok && r.Err == nil
	}
}

// read asks the API server. It has a context of its own, as the caller that
// began it may leave before the others.
func (c *Cache) read(namespace string) (map[string]string, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), readTimeout, errors.New("the API server took too long"))
	defer cancel()
	object, err := c.client.Resource(resource).Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		c.log.Info("cannot read a namespace", "namespace", namespace, "error", err.Error())
		return nil, err
	}
	return object.Labels, nil
}
