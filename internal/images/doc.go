// Package images finds out which resolver is in the images of a cluster: it
// lists the images that pods name, reads each once by its digest from its
// registry, with the credentials that the user has for it, and keeps what it
// found in a cache. What a file system says is internal/rootfs's.
//
// Whatever comes from a registry is bounded before it costs: manifests,
// configurations, layers, redirects, and how slowly they may come.
package images
