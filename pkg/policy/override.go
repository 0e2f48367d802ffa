package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shorthop/shorthop/pkg/printable"
)

// maxQuoted bounds, in bytes, how much of a user's value a warning repeats.
const maxQuoted = 64

// maxOverrides bounds how many options of an annotation are read, each of which
// can cost a warning: there are fewer names of options.
const maxOverrides = 32

// tuningAnnotations are the annotations that tune DNS, on a pod and on its
// namespace. What reads namespaces keeps these and no others.
var tuningAnnotations = [...]string{AnnotationNdots, AnnotationDNSMode, AnnotationDNSOptions}

// maxNamespaceAnnotation bounds, in bytes, what a namespace may say in one of
// them: it is kept for every namespace.
const maxNamespaceAnnotation = 256

// NamespaceAnnotations returns those of a namespace's annotations that tune its
// pods, nil where there is none. A value that is too long to count is cut, but
// stays too long, so that it can be told.
func NamespaceAnnotations(annotations map[string]string) map[string]string {
	var kept map[string]string
	for _, key := range tuningAnnotations {
		value, ok := annotations[key]
		if !ok {
			continue
		}
		if kept == nil {
			kept = make(map[string]string, len(tuningAnnotations))
		}
		if len(value) > maxNamespaceAnnotation {
			value = strings.Clone(value[:maxNamespaceAnnotation+1])
		}
		kept[key] = value
	}
	return kept
}

// applyOverrides reads the annotations with which a developer tunes DNS. Per
// key, the first that there is wins; of options, per name:
//
//	1  the pod's own dnsConfig
//	2  the pod's annotation
//	3  the namespace's annotation, a team's default
//	4  the rule that names the field
//	5  advice
//	6  the policy
//
// An annotation counts as follows, on the pod as on the namespace:
//
//	annotation        allowed by podOverrides and valid   otherwise
//	ndots             replaces the ndots below it, and    those below it, warning
//	                  leaves no fall-through
//	dns-mode          replaces the mode below it          the one below it, warning
//	dns-options       each wins over the option of the    that option is ignored, warning
//	                  same name below it
func (c *Compiled) applyOverrides(dns dnsSettings, r *Request, warnings []string) (dnsSettings, []string) {
	if len(r.NamespaceAnnotations) > 0 {
		o := tuning{where: "namespace " + r.Namespace + ": ", limit: maxNamespaceAnnotation, annotations: r.NamespaceAnnotations, warnings: warnings}
		dns = c.apply(dns, &o)
		warnings = o.warnings
	}
	if len(r.Pod.Metadata.Annotations) > 0 {
		o := tuning{annotations: r.Pod.Metadata.Annotations, warnings: warnings}
		dns = c.apply(dns, &o)
		warnings = o.warnings
	}
	return dns, warnings
}

// tuning is what one object's annotations say.
type tuning struct {
	where       string // what warnings begin with
	limit       int    // of a value, in bytes; 0 for none
	annotations map[string]string
	warnings    []string
}

func (o *tuning) warn(key, value, problem, used string) {
	o.warnings = append(o.warnings, fmt.Sprintf("%sannotation %s: %s %s; using %s", o.where, key, quote(value), problem, used))
}

// value returns an annotation that is allowed and not too long.
func (o *tuning) value(key string, allowed bool, used string) (value string, ok bool) {
	value, ok = o.annotations[key]
	switch {
	case !ok:
		return "", false
	case !allowed:
		o.warn(key, value, "is not allowed by the policy", used)
	case o.limit > 0 && len(value) > o.limit:
		o.warn(key, value, fmt.Sprintf("has more than %d bytes", o.limit), used)
	default:
		return value, true
	}
	return "", false
}

func (c *Compiled) apply(dns dnsSettings, o *tuning) dnsSettings {
	if value, ok := o.value(AnnotationDNSMode, c.overrides.mode, string(dns.mode)); ok {
		switch mode := DNSMode(value); {
		case mode != DNSModeOptions && mode != DNSModeNodeLocal:
			o.warn(AnnotationDNSMode, value, "is not one of Options, NodeLocal", string(dns.mode))
		case mode == DNSModeNodeLocal && len(dns.nodeLocal.Servers) == 0:
			o.warn(AnnotationDNSMode, value, "is not available: the policy names no nodeLocal.servers", string(dns.mode))
		default:
			dns.mode = mode
		}
	}
	used := dns.options[0].Value
	if value, ok := o.value(AnnotationNdots, c.overrides.ndots, used); ok {
		ndots, err := strconv.ParseInt(value, 10, 32)
		switch {
		case err != nil || !isDigits(value):
			o.warn(AnnotationNdots, value, "is not a number", used)
		case ndots < int64(c.overrides.minNdots) || ndots > int64(c.overrides.maxNdots):
			o.warn(AnnotationNdots, value, fmt.Sprintf("is not between %d and %d", c.overrides.minNdots, c.overrides.maxNdots), used)
		default:
			dns.options, dns.variants = withNdots(dns.options, int32(ndots)), nil
			dns.ndotsNamed, dns.ndotsOnly = true, true
		}
	}
	if value, ok := o.value(AnnotationDNSOptions, c.overrides.options, "the policy's options"); ok {
		dns.options, dns.variants = applyOptions(slices.Clone(dns.options), value, o), nil
	}
	return dns
}

func applyOptions(options []Option, value string, o *tuning) []Option {
	n := 0
	for text := range strings.FieldsSeq(value) {
		if n++; n > maxOverrides {
			o.warn(AnnotationDNSOptions, text, fmt.Sprintf("and what follows it is ignored: there are more than %d options", maxOverrides), "the others")
			break
		}
		option := parseOption(text)
		if problem := option.problem(); problem != "" {
			o.warn(AnnotationDNSOptions, text, "is ignored: "+problem, "the others")
			continue
		}
		if i := slices.IndexFunc(options, func(o Option) bool { return o.Name == option.Name }); i >= 0 {
			options[i] = option
		} else {
			options = append(options, option)
		}
	}
	return options
}

// quote repeats a user's value in a warning, which ends up on terminals.
func quote(value string) string { return printable.Quote(value, maxQuoted) }
