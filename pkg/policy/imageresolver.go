package policy

import (
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// imageResolvers finds what spec.resolvers says of an image. References without
// wildcards, of which tools write one for each image of a cluster, are found by
// one look-up; patterns are tried one after the other.
type imageResolvers struct {
	exact    map[string]imageResolver
	patterns []imageResolver
}

// imageResolver is one image of spec.resolvers.
type imageResolver struct {
	image string // as the policy writes it
	order int
	hint  *ImageResolver
}

func compileResolvers(hints []ImageResolver) imageResolvers {
	compiled := imageResolvers{exact: map[string]imageResolver{}}
	order := 0
	for i := range hints {
		for _, image := range hints[i].Images {
			r := imageResolver{image, order, &hints[i]}
			order++
			if strings.ContainsAny(image, "*?") {
				compiled.patterns = append(compiled.patterns, r)
			} else if _, known := compiled.exact[image]; !known {
				compiled.exact[image] = r
			}
		}
	}
	return compiled
}

// of returns the first entry for an image; its hint is nil where there is none.
// It does not allocate.
func (r *imageResolvers) of(image string) imageResolver {
	if len(image) > maxImagePattern { // nobody can name it
		return imageResolver{}
	}
	found := r.exact[image]
	for i := range r.patterns {
		p := &r.patterns[i]
		if found.hint != nil && found.order < p.order {
			break
		}
		if matchImage(p.image, image) {
			return *p
		}
	}
	return found
}

// matchImage matches a pattern in which * stands for any characters, unlike in
// path.Match also for slashes, and ? for one.
func matchImage(pattern, image string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(image) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == image[i]):
			p, i = p+1, i+1
		case star >= 0: // the last * takes one more
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// ResolverOf returns what the policy says is in an image, nil where it says
// nothing, and the pattern that says so. The hint must not be changed.
func (c *Compiled) ResolverOf(image string) (hint *ImageResolver, pattern string) {
	found := c.resolvers.of(image)
	return found.hint, found.image
}

// has reports whether something else looks up names in the image.
func (h *ImageResolver) has(beside ResolverBeside) bool { return slices.Contains(h.Beside, beside) }

// imagePatternSyntax has the characters of image references, and none that is
// special to path.Match but * and ?.
var imagePatternSyntax = regexp.MustCompile(`^[A-Za-z0-9*?][-A-Za-z0-9._+/:@*?]*$`)

// maxImagePattern leaves room for a name of 255 characters, a tag of 128 and a
// digest.
const maxImagePattern = 512

func validateResolvers(hints []ImageResolver, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range hints {
		errs = append(errs, hints[i].Validate(at.Index(i))...)
	}
	return errs
}

// Validate returns all that is wrong with an entry of spec.resolvers, which
// stands at a path.
func (h *ImageResolver) Validate(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(h.Images) == 0 {
		errs = append(errs, field.Required(at.Child("images"), "name at least one pattern"))
	}
	for i, image := range h.Images {
		if len(image) > maxImagePattern {
			errs = append(errs, field.TooLong(at.Child("images").Index(i), image, maxImagePattern))
		} else if !imagePatternSyntax.MatchString(image) {
			errs = append(errs, field.Invalid(at.Child("images").Index(i), image, "must be an image, in which * stands for any characters and ? for one"))
		}
	}
	errs = append(errs, oneOf(at.Child("resolver"), h.Resolver,
		ResolverGlibc, ResolverMusl, ResolverMuslBefore124, ResolverGo, ResolverCAres)...)
	for i, beside := range h.Beside {
		errs = append(errs, oneOf(at.Child("beside").Index(i), beside, BesideGoCgo, BesideNetDNS)...)
	}
	errs = append(errs, validateUnique(h.Beside, at.Child("beside"))...)
	if h.Resolver == ResolverGo && len(h.Beside) > 0 {
		errs = append(errs, field.Forbidden(at.Child("beside"), "resolver go is for images that hold nothing else"))
	}
	errs = append(errs, validateImageVariable(h.ResOptions, at.Child("resOptions"))...)
	return append(errs, validateImageVariable(h.LocalDomain, at.Child("localDomain"))...)
}

// maxImageVariable bounds, in bytes, what a variable of an image's ENV holds.
const maxImageVariable = 256

func validateImageVariable(value *string, at *field.Path) field.ErrorList {
	switch {
	case value == nil:
		return nil
	case len(*value) > maxImageVariable:
		return field.ErrorList{field.TooLong(at, *value, maxImageVariable)}
	case strings.ContainsFunc(*value, func(r rune) bool { return r < ' ' || r > '~' }):
		return field.ErrorList{field.Invalid(at, *value, "must be printable ASCII, as in the image's ENV")}
	}
	return nil
}

// coveringWork bounds, in characters looked at, the search for patterns that
// cover others: about a second or two, for patterns that were made to take long.
// Of what is left then nothing is said.
const coveringWork = 1 << 30

// imageIndex finds image patterns that cover others without trying each of
// them. A pattern is filed under its longest run of letters, which every image
// that it matches contains.
type imageIndex struct {
	worked   int // of coveringWork
	patterns []indexedImage
	byRun    map[string][]int
	lengths  []int // of the runs of patterns with wildcards, distinct
}

type indexedImage struct{ image, at string }

// add files a pattern that stands at a path.
func (x *imageIndex) add(image, at string) {
	if x.byRun == nil {
		x.byRun = map[string][]int{}
	}
	run := longestRun(image)
	if run != image && !slices.Contains(x.lengths, len(run)) {
		x.lengths = append(x.lengths, len(run))
	}
	x.byRun[run] = append(x.byRun[run], len(x.patterns))
	x.patterns = append(x.patterns, indexedImage{image, at})
}

func longestRun(text string) string {
	longest := ""
	for run := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '*' || r == '?' }) {
		if len(run) > len(longest) {
			longest = run
		}
	}
	return longest
}

// covering returns the first pattern that matches every image that other
// matches; nil where there is none. Two images stand for all that other matches:
// the shortest, in which each * of other is nothing, and a long one, in which it
// is a run of NULs. No pattern has a NUL in it, and the run is longer than all ?
// of a pattern together, so nothing but a * of the pattern can match it.
func (x *imageIndex) covering(other string) *indexedImage {
	standing := func(star string) string { return strings.NewReplacer("*", star, "?", "\x00").Replace(other) }
	short := standing("")
	found := len(x.patterns)
	ask := func(run string) {
		x.worked += len(run)
		for _, i := range x.byRun[run] {
			if i >= found || x.worked > coveringWork {
				return // they are in order
			}
			p := &x.patterns[i]
			x.worked += len(short) * len(p.image)
			if !matchImage(p.image, short) {
				continue
			}
			long := standing(strings.Repeat("\x00", strings.Count(p.image, "?")+1))
			x.worked += len(long) * len(p.image)
			if matchImage(p.image, long) {
				found = i
			}
		}
	}
	ask(other)
	for _, length := range x.lengths {
		if x.worked > coveringWork {
			break
		}
		for at := 0; at+length <= len(short); at++ {
			ask(short[at : at+length])
			if length == 0 {
				break
			}
		}
	}
	if found == len(x.patterns) {
		return nil
	}
	return &x.patterns[found]
}
