package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxQuoted bounds, in bytes, how much of a user's value a warning repeats.
const maxQuoted = 64

// maxOverrides bounds how many options of an annotation are read, each of which
// can cost a warning: there are fewer names of options.
const maxOverrides = 32

// applyOverrides reads the annotations with which a developer tunes DNS.
//
//	annotation        allowed by podOverrides and valid   otherwise
//	ndots             replaces the policy's ndots         policy's value, warning
//	dns-mode          replaces the policy's mode          policy's value, warning
//	dns-options       each wins over the policy's option  that option is ignored, warning
//	                  of the same name
//
// What the pod's own dnsConfig says wins over all of it.
func (c *Compiled) applyOverrides(dns dnsSettings, pod *Pod, warnings []string) (dnsSettings, []string) {
	annotations := pod.Metadata.Annotations
	if len(annotations) == 0 {
		return dns, warnings
	}
	warn := func(key, value, problem, used string) {
		warnings = append(warnings, fmt.Sprintf("annotation %s: %s %s; using %s", key, quote(value), problem, used))
	}
	if value, ok := annotations[AnnotationDNSMode]; ok {
		switch mode := DNSMode(value); {
		case !c.overrides.mode:
			warn(AnnotationDNSMode, value, "is not allowed by the policy", string(dns.mode))
		case mode != DNSModeOptions && mode != DNSModeNodeLocal:
			warn(AnnotationDNSMode, value, "is not one of Options, NodeLocal", string(dns.mode))
		case mode == DNSModeNodeLocal && len(dns.servers) == 0:
			warn(AnnotationDNSMode, value, "is not available: the policy names no nodeLocal.servers", string(dns.mode))
		default:
			dns.mode = mode
		}
	}
	if value, ok := annotations[AnnotationNdots]; ok {
		used := dns.options[0].Value
		ndots, err := strconv.ParseInt(value, 10, 32)
		switch {
		case !c.overrides.ndots:
			warn(AnnotationNdots, value, "is not allowed by the policy", used)
		case err != nil || !isDigits(value):
			warn(AnnotationNdots, value, "is not a number", used)
		case ndots < int64(c.overrides.minNdots) || ndots > int64(c.overrides.maxNdots):
			warn(AnnotationNdots, value, fmt.Sprintf("is not between %d and %d", c.overrides.minNdots, c.overrides.maxNdots), used)
		default:
			dns.options = slices.Clone(dns.options)
			dns.options[0] = ndotsOption(int32(ndots))
		}
	}
	if value, ok := annotations[AnnotationDNSOptions]; ok {
		if !c.overrides.options {
			warn(AnnotationDNSOptions, value, "is not allowed by the policy", "the policy's options")
			return dns, warnings
		}
		dns.options = slices.Clone(dns.options)
		n := 0
		for text := range strings.FieldsSeq(value) {
			if n++; n > maxOverrides {
				warn(AnnotationDNSOptions, text, fmt.Sprintf("and what follows it is ignored: there are more than %d options", maxOverrides), "the others")
				break
			}
			option := parseOption(text)
			if problem := option.problem(); problem != "" {
				warn(AnnotationDNSOptions, text, "is ignored: "+problem, "the others")
				continue
			}
			if i := slices.IndexFunc(dns.options, func(o Option) bool { return o.Name == option.Name }); i >= 0 {
				dns.options[i] = option
			} else {
				dns.options = append(dns.options, option)
			}
		}
	}
	return dns, warnings
}

// quote repeats a user's value within bounds, with control characters
// escaped: a warning ends up on terminals.
func quote(value string) string {
	if len(value) > maxQuoted {
		return strconv.QuoteToASCII(value[:maxQuoted]) + "..."
	}
	return strconv.QuoteToASCII(value)
}
