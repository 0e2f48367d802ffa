package policy

import (
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// imageResolver is one image pattern of spec.resolvers.
type imageResolver struct {
	pattern
	image    string // as the policy writes it
	resolver Resolver
}

// unslashed takes the slashes out of an image, or of a pattern for images: a
// pattern's * stops at them, and of an image it must not.
func unslashed(image string) string { return strings.ReplaceAll(image, "/", "\n") }

func compileResolvers(hints []ImageResolver) []imageResolver {
	var compiled []imageResolver
	for i := range hints {
		for _, image := range hints[i].Images {
			compiled = append(compiled, imageResolver{compilePattern(unslashed(image)), image, hints[i].Resolver})
		}
	}
	return compiled
}

// ResolverOf returns the resolver that the policy says is in an image, and the
// pattern that says so. Both are empty where no pattern matches.
func (c *Compiled) ResolverOf(image string) (resolver Resolver, pattern string) {
	image = unslashed(image)
	for i := range c.resolvers {
		if hint := &c.resolvers[i]; hint.match(image) {
			return hint.resolver, hint.image
		}
	}
	return "", ""
}

// imagePatternSyntax has the characters of image references, and none that is
// special to path.Match but * and ?.
var imagePatternSyntax = regexp.MustCompile(`^[A-Za-z0-9*?][-A-Za-z0-9._+/:@*?]*$`)

func validateResolvers(hints []ImageResolver, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range hints {
		hint, at := &hints[i], at.Index(i)
		if len(hint.Images) == 0 {
			errs = append(errs, field.Required(at.Child("images"), "name at least one pattern"))
		}
		for j, image := range hint.Images {
			if !imagePatternSyntax.MatchString(image) {
				errs = append(errs, field.Invalid(at.Child("images").Index(j), image, "must be an image, in which * stands for any characters and ? for one"))
			}
		}
		errs = append(errs, oneOf(at.Child("resolver"), hint.Resolver,
			ResolverGlibc, ResolverMusl, ResolverMuslBefore124, ResolverGo, ResolverCAres)...)
	}
	return errs
}

// covers reports whether pattern matches every image that other matches. A * of
// other is tried as nothing, and as more characters than the pattern could match
// one by one, which none of its own letters is: only its * can take them.
func covers(pattern, other string) bool {
	compiled, filler := compilePattern(unslashed(pattern)), strings.Repeat("\x00", len(pattern)+1)
	for _, stands := range []string{"", filler} {
		image := strings.NewReplacer("*", stands, "?", "\x00").Replace(unslashed(other))
		if !compiled.match(image) {
			return false
		}
	}
	return true
}
