package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// optionRanges are the options of resolv.conf(5) that take a number, with the
// range within which glibc does not cap them. musl allows more.
var optionRanges = map[string][2]int{
	"attempts": {1, 5},
	"timeout":  {1, 30},
}

// flagOptions are the options of resolv.conf(5) that take no value.
var flagOptions = []string{
	"debug", "edns0", "no-aaaa", "no-check-names", "no-reload", "no-tld-query",
	"rotate", "single-request", "single-request-reopen", "trust-ad", "use-vc",
}

// OptionNames are the options that a policy may set, those that take a number
// first. ndots is none of them.
func OptionNames() []string {
	return append(slices.Sorted(maps.Keys(optionRanges)), flagOptions...)
}

// problem says what is wrong with an option, or "".
//
// The API server accepts any option name and any value, and resolvers ignore
// what they do not know, so a typo would have no effect and no error; Go even
// leaves its own resolver for libc's when it meets an unknown option.
func (o Option) problem() string {
	if o.Name == "ndots" {
		return "ndots has a field (annotation " + AnnotationNdots + ") of its own"
	}
	if bounds, ok := optionRanges[o.Name]; ok {
		// Of digits Atoi refuses what is too large, and returns the largest number then.
		if n, _ := strconv.Atoi(o.Value); !isDigits(o.Value) || n < bounds[0] || n > bounds[1] {
			return fmt.Sprintf("%s takes a number from %d to %d", o.Name, bounds[0], bounds[1])
		}
		return ""
	}
	if !slices.Contains(flagOptions, o.Name) {
		return "must be one of " + strings.Join(OptionNames(), ", ")
	}
	if o.Value != "" {
		return o.Name + " takes no value"
	}
	return ""
}

// String is the option as resolv.conf has it.
func (o Option) String() string {
	if o.Value == "" {
		return o.Name
	}
	return o.Name + ":" + o.Value
}

// parseOption reads an option as resolv.conf has it.
func parseOption(text string) Option {
	name, value, _ := strings.Cut(text, ":")
	return Option{Name: name, Value: value}
}

func ndotsOption(ndots int32) Option {
	return Option{Name: "ndots", Value: strconv.Itoa(int(ndots))}
}
