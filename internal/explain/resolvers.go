package explain

import (
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Resolver is which resolver a container is taken to have.
type Resolver struct {
	Container string `json:"container"`
	Image     string `json:"image"`
	// Resolver and Pattern are empty where no pattern of spec.resolvers matches
	// the image.
	Resolver policy.Resolver `json:"resolver,omitzero"`
	Pattern  string          `json:"pattern,omitzero"`
	// OtherName is another name of the image, which a pattern does match, where
	// none matches the one that the pod has.
	OtherName string `json:"otherName,omitzero"`
}

// resolversOf says which resolver each container is taken to have, where the
// policy knows any.
func resolversOf(compiled *policy.Compiled, pod *policy.Pod) []Resolver {
	if len(compiled.Document().Spec.Resolvers) == 0 {
		return nil
	}
	var all []Resolver
	for _, c := range pod.Spec.AllContainers() {
		r := Resolver{Container: c.Name, Image: c.Image}
		if hint, pattern := compiled.ResolverOf(c.Image); hint != nil {
			r.Resolver, r.Pattern = hint.Resolver, pattern
		} else {
			known := func(name string) bool {
				hint, _ := compiled.ResolverOf(name)
				return hint != nil
			}
			if names := otherNames(c.Image); slices.ContainsFunc(names, known) {
				r.OtherName = names[slices.IndexFunc(names, known)]
			}
		}
		all = append(all, r)
	}
	return all
}

// otherNames are names under which containerd, by its defaults, pulls the same image:
//
//	registry docker.io    may be left out, and is index.docker.io too
//	folder library        of docker.io may be left out
//	tag latest            may be left out where there is no digest
func otherNames(image string) []string {
	if image == "" {
		return nil
	}
	name, version := image, ""
	if at := strings.IndexByte(image, '@'); at >= 0 {
		name, version = image[:at], image[at:]
	}
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name, version = name[:at], name[at:]+version
	}
	names := []string{name}
	registry, path, ok := strings.Cut(name, "/")
	if !ok || !strings.ContainsAny(registry, ".:") && registry != "localhost" {
		registry, path = "docker.io", name
	}
	if registry == "docker.io" || registry == "index.docker.io" {
		paths := []string{path}
		if short, ok := strings.CutPrefix(path, "library/"); ok {
			paths = append(paths, short)
		} else if !strings.Contains(path, "/") {
			paths = append(paths, "library/"+path)
		}
		names = nil
		for _, path := range paths {
			names = append(names, path, "docker.io/"+path, "index.docker.io/"+path)
		}
	}
	versions := []string{version}
	switch version {
	case "":
		versions = append(versions, ":latest")
	case ":latest":
		versions = append(versions, "")
	}
	var others []string
	for _, name := range names {
		for _, version := range versions {
			if other := name + version; other != image {
				others = append(others, other)
			}
		}
	}
	return others
}
