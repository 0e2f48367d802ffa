package policy

import (
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Excluded are the namespaces of spec.excludedNamespaces:
//
//	entry          means                                         kept out by the API server's filter with
//	vault          the namespace of that name                    a selector
//	openshift-*    every namespace whose name begins like that   a condition, which every pod pays for
//
// nil excludes none. Shorthop's own namespace is not among them.
type Excluded struct {
	// Names are whole, Prefixes without their *; each in the order of the
	// document.
	Names, Prefixes []string

	byName map[string]struct{}
}

// NewExcluded reads entries that validation has accepted.
func NewExcluded(entries []string) *Excluded {
	e := &Excluded{byName: make(map[string]struct{}, len(entries))}
	for _, entry := range entries {
		if prefix, found := strings.CutSuffix(entry, "*"); found {
			e.Prefixes = append(e.Prefixes, prefix)
			continue
		}
		e.Names = append(e.Names, entry)
		e.byName[entry] = struct{}{}
	}
	return e
}

// Has reports whether a namespace is among them.
func (e *Excluded) Has(namespace string) bool {
	if e == nil {
		return false
	}
	_, named := e.byName[namespace]
	return named || e.prefixOf(namespace) != ""
}

// prefixOf returns the prefix by which a name, or all names that begin like
// this, are excluded; empty for none.
func (e *Excluded) prefixOf(name string) string {
	for _, prefix := range e.Prefixes {
		if strings.HasPrefix(name, prefix) {
			return prefix
		}
	}
	return ""
}

// maxExcludedPrefixes bounds what the API server evaluates for every pod.
const maxExcludedPrefixes = 32

// excludedPrefix is the beginning of a namespace's name. It has no characters
// that an expression of the API server's filter would have to quote.
var excludedPrefix = regexp.MustCompile(`^[a-z0-9][-a-z0-9]{0,62}\*$`)

func validateExcludedNamespaces(entries []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	prefixes := 0
	for i, entry := range entries {
		at := at.Index(i)
		switch {
		case excludedPrefix.MatchString(entry):
			prefixes++
		case entry == "*":
			errs = append(errs, field.Invalid(at, entry, "would exclude every namespace: mode Off is for that"))
		case strings.ContainsAny(entry, "*?"):
			errs = append(errs, field.Invalid(at, entry, "must be a name, or the beginning of names with one * at its end, such as openshift-*; other patterns are not known here"))
		default:
			for _, message := range validation.IsDNS1123Label(entry) {
				errs = append(errs, field.Invalid(at, entry, message))
			}
		}
	}
	if prefixes > maxExcludedPrefixes {
		// Of names there may be as many as there are namespaces.
		e := field.TooMany(at, prefixes, maxExcludedPrefixes)
		e.Detail += " that end in *: the API server asks for each of them at every pod"
		errs = append(errs, e)
	}
	return errs
}

// excluded warns of what prefixes cost, and of those that add nothing.
func (l *linter) excluded(at *field.Path) {
	prefixes := NewExcluded(l.written.ExcludedNamespaces).Prefixes
	if len(prefixes) == 0 {
		return
	}
	for i, entry := range l.written.ExcludedNamespaces {
		prefix, found := strings.CutSuffix(entry, "*")
		if !found {
			continue // a name beside a prefix costs its pods no condition
		}
		wider := slices.IndexFunc(l.written.ExcludedNamespaces, func(other string) bool {
			shorter, isPrefix := strings.CutSuffix(other, "*")
			return isPrefix && shorter != prefix && strings.HasPrefix(prefix, shorter)
		})
		if wider < 0 {
			wider = slices.Index(l.written.ExcludedNamespaces[:i], entry)
		}
		if wider >= 0 {
			l.warn(at.Index(i), "adds nothing to %s (%s)", l.written.ExcludedNamespaces[wider], at.Index(wider))
		}
	}
	l.warn(at, "has a prefix (%s*): no selector can say that, so the API server evaluates a condition for every pod of the cluster, less than a millisecond each; the names of the namespaces instead cost nothing, where they are known and few",
		prefixes[0])
}

// unreachedNamespaces warns of a rule that names no namespace but excluded ones.
// A name is an error.
func (l *linter) unreachedNamespaces(patterns []string, at *field.Path) {
	excluded := NewExcluded(l.spec.ExcludedNamespaces)
	if len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return excluded.prefixOf(p) == "" }) {
		return
	}
	l.warn(at, "is never reached: spec.excludedNamespaces has %s*", excluded.prefixOf(patterns[0]))
}
