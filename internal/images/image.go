package images

import (
	"maps"
	"slices"

	"github.com/shorthop/shorthop/internal/rootfs"
	"github.com/shorthop/shorthop/pkg/printable"
)

// Image is an image as pods name it.
type Image struct {
	Reference string `json:"reference"`
	// Pods is in how many pods it is.
	Pods int `json:"pods,omitzero"`
	// running are the digests that running containers of it were started from.
	running []string
}

// Running is an image as pods name it, with the digests that running containers of it
// were started from. The tag may stand for another one by now.
func Running(reference string, digests ...string) Image {
	return Image{Reference: reference, running: digests}
}

// Result is what is known of an image.
type Result struct {
	Image
	// Digest is that of the image or index in the registry, "" where it could not
	// be read.
	Digest string `json:"digest,omitzero"`
	Found
	// Error says in one sentence, without a period, why the image could not be
	// read. Its resolver is unknown then.
	Error string `json:"error,omitzero"`
}

// Found is what an image has in it: the strictest of its platforms.
type Found struct {
	rootfs.Verdict
	// Platforms that were read.
	Platforms []string `json:"platforms,omitzero"`
	// Env has RES_OPTIONS and LOCALDOMAIN where the image sets them: containers
	// have them unless the pod sets them itself.
	Env map[string]string `json:"env,omitzero"`
}

// Document is what is printed as JSON. Fields are only ever added.
type Document struct {
	*List
	Images []Result `json:"images"`
}

// InWords says for two cells of a table which resolver the image has, and why.
func (r *Result) InWords() (resolver, because string) {
	resolver = string(r.Resolver)
	if r.Resolver == rootfs.Unknown {
		resolver = "unknown"
	}
	for _, beside := range r.Beside {
		resolver += ", " + string(beside)
	}
	if r.Error != "" {
		return resolver, "it cannot be read: " + r.Error
	}
	because = r.Because
	if r.File != "" {
		because += ": " + printable.Cell(r.File)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		because += "; its ENV has " + name + "=" + printable.Cell(r.Env[name])
	}
	return resolver, because
}

// Unknown counts the images whose resolver is not known, and of those the ones
// that could not be read.
func Unknown(results []Result) (unknown, unread int) {
	for i := range results {
		if results[i].Resolver == rootfs.Unknown {
			unknown++
		}
		if results[i].Error != "" {
			unread++
		}
	}
	return unknown, unread
}

// resolverVariables change what a resolver does.
var resolverVariables = []string{"RES_OPTIONS", "LOCALDOMAIN"}

// stricter is what two platforms, or two builds of a tag, come to.
func stricter(a, b Found) Found {
	both := Found{Verdict: rootfs.Stricter(a.Verdict, b.Verdict), Platforms: append(a.Platforms[:len(a.Platforms):len(a.Platforms)], b.Platforms...)}
	for _, env := range []map[string]string{a.Env, b.Env} {
		for name, value := range env {
			if both.Env == nil {
				both.Env = map[string]string{}
			}
			both.Env[name] = value
		}
	}
	return both
}
