package savings

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"sigs.k8s.io/yaml"
)

//go:embed mixes/*.yaml
var mixFiles embed.FS

// Mix says what runs in a cluster and what it looks up. Every share names its
// source; one that begins with "assumption" has none but ourselves.
type Mix struct {
	Name  string `json:"name"`
	About string `json:"about"`
	// NodeSearches are search domains of the nodes.
	NodeSearches []string `json:"nodeSearches,omitzero"`
	// Images are kinds of images, in percent of the containers.
	Images []Share `json:"images"`
	// Names are forms of names, in percent of those that a workload looks up.
	Names []Share `json:"names"`
	// Pods is what is true of some pods, in percent of the workloads.
	Pods []Share `json:"pods"`
	// NextMonth is what happens until the month that is judged, in percent of the
	// workloads.
	NextMonth []Share `json:"nextMonth"`
}

// Share is a part of a whole.
type Share struct {
	Kind    string `json:"kind"`
	Percent int    `json:"percent"`
	Source  string `json:"source"`
}

// What is true of some pods.
const (
	podUnread   = "image not read" // resolvers cannot read the image
	podEnvFrom  = "envFrom"        // variables from a ConfigMap or Secret
	podOwnNdots = "own ndots"      // dnsConfig has ndots 2
	podSidecar  = "sidecar"        // one more container, of any kind of image
)

// What happens until the next month.
const (
	nextNames = "new names"
	nextTag   = "new tag"
	nextBase  = "new base image" // with a new tag
)

// Mixes reads all mixes.
func Mixes() ([]Mix, error) {
	files, err := fs.Glob(mixFiles, "mixes/*.yaml")
	if err != nil {
		return nil, err
	}
	mixes := make([]Mix, len(files))
	for i, file := range files {
		text, err := mixFiles.ReadFile(file)
		if err == nil {
			err = yaml.UnmarshalStrict(text, &mixes[i])
		}
		if err == nil {
			err = mixes[i].validate()
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Base(file), err)
		}
	}
	return mixes, nil
}

func (m *Mix) validate() error {
	var errs []error
	check := func(field string, shares []Share, whole bool, known func(kind string) bool) {
		sum := 0
		for _, s := range shares {
			sum += s.Percent
			if !known(s.Kind) {
				errs = append(errs, fmt.Errorf("%s: %q is not known", field, s.Kind))
			}
			if s.Percent < 0 || s.Percent > 100 {
				errs = append(errs, fmt.Errorf("%s: %s: %d percent", field, s.Kind, s.Percent))
			}
			if s.Source == "" {
				errs = append(errs, fmt.Errorf("%s: %s has no source", field, s.Kind))
			}
		}
		if whole && sum != 100 {
			errs = append(errs, fmt.Errorf("%s: %d percent in all", field, sum))
		}
	}
	among := func(kinds ...string) func(string) bool {
		return func(kind string) bool { return slices.Contains(kinds, kind) }
	}
	check("images", m.Images, true, func(kind string) bool { return imageKinds[kind].client != "" })
	check("names", m.Names, true, func(kind string) bool { return forms[kind] != nil })
	check("pods", m.Pods, false, among(podUnread, podEnvFrom, podOwnNdots, podSidecar))
	check("nextMonth", m.NextMonth, false, among(nextNames, nextTag, nextBase))
	if m.Name == "" || m.About == "" {
		errs = append(errs, errors.New("name and about must be there"))
	}
	return errors.Join(errs...)
}

// percentOf is a share's, 0 where it is not there.
func percentOf(shares []Share, kind string) int {
	for _, s := range shares {
		if s.Kind == kind {
			return s.Percent
		}
	}
	return 0
}
