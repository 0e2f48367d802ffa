package policy

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateMatch(m *Match, excluded *Excluded, at *field.Path) field.ErrorList {
	errs := validatePatterns(m.Namespaces, at.Child("namespaces"))
	for i, namespace := range m.Namespaces {
		if strings.ContainsAny(namespace, ".:") {
			errs = append(errs, field.Invalid(at.Child("namespaces").Index(i), namespace, "no namespace has such a name: they are labels, without dots and colons"))
		}
		if strings.ContainsAny(namespace, "*?") {
			continue // patterns simply do not reach what is excluded
		}
		if prefix := excluded.prefixOf(namespace); prefix != "" {
			errs = append(errs, field.Invalid(at.Child("namespaces").Index(i), namespace, "spec.excludedNamespaces has "+prefix+"*, so the rule could never apply to it"))
		} else if excluded.Has(namespace) {
			errs = append(errs, field.Invalid(at.Child("namespaces").Index(i), namespace, "the namespace is in spec.excludedNamespaces, so the rule could never apply to it"))
		}
	}
	errs = append(errs, validateNotEmpty(m.Namespaces, at.Child("namespaces"))...)
	errs = append(errs, validateNotEmpty(m.Owners, at.Child("owners"))...)
	errs = append(errs, validateNotEmpty(m.ServiceAccounts, at.Child("serviceAccounts"))...)
	errs = append(errs, validateSelector(m.NamespaceSelector, at.Child("namespaceSelector"))...)
	errs = append(errs, validateSelector(m.PodSelector, at.Child("podSelector"))...)
	for i, owner := range m.Owners {
		at := at.Child("owners").Index(i)
		if owner.Kind == "" && owner.Name == "" {
			errs = append(errs, field.Required(at, "kind, name or both"))
		}
		if owner.Kind != "" && !kindSyntax.MatchString(owner.Kind) {
			errs = append(errs, field.Invalid(at.Child("kind"), owner.Kind, `must be a kind such as "Deployment"; patterns are for names only`))
		}
		if owner.Name != "" {
			errs = append(errs, validatePattern(owner.Name, at.Child("name"))...)
		}
	}
	errs = append(errs, validatePatterns(m.ServiceAccounts, at.Child("serviceAccounts"))...)
	return append(errs, validateMatchSpec(m, at)...)
}

// dnsPolicies are the values of spec.dnsPolicy that the API server accepts.
var dnsPolicies = []string{"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"}

// validateMatchSpec is about the conditions on annotations and on the pod's
// spec.
func validateMatchSpec(m *Match, at *field.Path) field.ErrorList {
	errs := validateByKey(m.PodAnnotations, valueSyntax, at.Child("podAnnotations"))
	errs = append(errs, validateByKey(m.NodeSelector, labelSyntax, at.Child("nodeSelector"))...)
	errs = append(errs, validateNotEmpty(m.Tolerations, at.Child("tolerations"))...)
	for i, pattern := range m.Tolerations {
		if len(pattern) > maxPattern {
			errs = append(errs, field.TooLong(at.Child("tolerations").Index(i), pattern, maxPattern))
		} else if !keySyntax.MatchString(pattern) {
			errs = append(errs, field.Invalid(at.Child("tolerations").Index(i), pattern, "must be the key of a taint, in which * stands for any characters and ? for one"))
		}
	}
	for _, list := range []struct {
		name     string
		patterns []string
	}{{"runtimeClasses", m.RuntimeClasses}, {"priorityClasses", m.PriorityClasses}} {
		errs = append(errs, validateNotEmpty(list.patterns, at.Child(list.name))...)
		errs = append(errs, validatePatterns(list.patterns, at.Child(list.name))...)
	}
	errs = append(errs, validateNotEmpty(m.DNSPolicies, at.Child("dnsPolicies"))...)
	for i, dnsPolicy := range m.DNSPolicies {
		errs = append(errs, oneOf(at.Child("dnsPolicies").Index(i), dnsPolicy, dnsPolicies...)...)
	}
	return errs
}

// Values of annotations may be anything, and those of labels little. Neither
// pattern has characters that are special to path.Match but * and ?.
var (
	valueSyntax = regexp.MustCompile(`^[^\\[\]]*$`)
	labelSyntax = regexp.MustCompile(`^[-A-Za-z0-9_.*?]*$`)
	keySyntax   = regexp.MustCompile(`^[A-Za-z0-9*?][-A-Za-z0-9_./*?]*$`)
)

func validateByKey(patterns map[string]string, syntax *regexp.Regexp, at *field.Path) field.ErrorList {
	if patterns != nil && len(patterns) == 0 {
		return field.ErrorList{field.Invalid(at, "{}", emptyCondition)}
	}
	var errs field.ErrorList
	for _, key := range slices.Sorted(maps.Keys(patterns)) {
		// Of annotations the API server takes upper case as well.
		for _, message := range validation.IsQualifiedName(strings.ToLower(key)) {
			errs = append(errs, field.Invalid(at, key, message))
		}
		if pattern := patterns[key]; len(pattern) > maxPattern {
			errs = append(errs, field.TooLong(at.Key(key), pattern, maxPattern))
		} else if !syntax.MatchString(pattern) {
			errs = append(errs, field.Invalid(at.Key(key), pattern, "must be a value, in which * stands for any characters and ? for one; other patterns are not known"))
		}
	}
	return errs
}

var kindSyntax = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)

// patternSyntax is a name in which * and ? may stand anywhere. It has none of
// the other characters that are special to path.Match.
var patternSyntax = regexp.MustCompile(`^[a-z0-9*?]([-a-z0-9.*?:]*[a-z0-9*?])?$`)

func validatePatterns(patterns []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, pattern := range patterns {
		errs = append(errs, validatePattern(pattern, at.Index(i))...)
	}
	return errs
}

// maxPattern is how long names are at most, and so patterns for them and for
// what else is matched.
const maxPattern = validation.DNS1123SubdomainMaxLength

func validatePattern(pattern string, at *field.Path) field.ErrorList {
	if len(pattern) > maxPattern {
		return field.ErrorList{field.TooLong(at, pattern, maxPattern)}
	}
	if _, err := path.Match(pattern, ""); err != nil || !patternSyntax.MatchString(pattern) {
		return field.ErrorList{field.Invalid(at, pattern, "must be a name in lower case, in which * stands for any characters and ? for one")}
	}
	return nil
}

// emptyCondition is why a condition that is named must not be empty: a template
// that renders nothing must not turn a rule loose on every pod.
const emptyCondition = "must not be empty: it would hold for every pod; name at least one, or leave the field out if that is meant"

func validateNotEmpty[T any](list []T, at *field.Path) field.ErrorList {
	if list != nil && len(list) == 0 {
		return field.ErrorList{field.Invalid(at, "[]", emptyCondition)}
	}
	return nil
}

func validateSelector(selector *metav1.LabelSelector, at *field.Path) field.ErrorList {
	if selector == nil {
		return nil
	}
	if selector.MatchLabels == nil && selector.MatchExpressions == nil {
		return field.ErrorList{field.Invalid(at, "{}", emptyCondition)}
	}
	if selector.MatchLabels != nil && len(selector.MatchLabels) == 0 {
		return field.ErrorList{field.Invalid(at.Child("matchLabels"), "{}", emptyCondition)}
	}
	if errs := validateNotEmpty(selector.MatchExpressions, at.Child("matchExpressions")); len(errs) > 0 {
		return errs
	}
	return metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{}, at)
}
