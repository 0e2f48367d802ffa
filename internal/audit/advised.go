package audit

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// advised is the finding of a feature that differs from a new pod's by the number of
// ndots alone, where advice gave the one or gives the other; else it is none. A variable
// comes and goes with the number of resolv.conf: where the one has none, what counts is
// what its resolv.conf has.
func (v *view) advised(f policy.Feature, now *mutate.Result) Finding {
	// That advice is known even where no container gets the number it has for fall-through.
	advises := now.Decision.Advice.Injects() || now.Decision.Advice.Reason == policy.ReasonAdvisedFallthrough
	if f == policy.FeatureServiceHost || v.record.Advice == "" && !advises {
		return Finding{}
	}
	carried, decided := v.options(f, now)
	ofPod, ofNew := v.options(policy.FeatureDNS, now)
	noLonger, notYet := false, false
	switch {
	case f == policy.FeatureFallthrough && v.carries(f):
		if noLonger = now.Decision.Fallthrough.Reason == policy.ReasonNdotsNotLower; noLonger {
			decided["ndots"] = ofNew["ndots"]
		}
	case f == policy.FeatureFallthrough:
		notYet = true
		carried["ndots"] = ofPod["ndots"]
	case !v.carries(f):
		return Finding{}
	}
	was, errWas := strconv.Atoi(carried["ndots"])
	is, errIs := strconv.Atoi(decided["ndots"])
	delete(carried, "ndots")
	delete(decided, "ndots")
	switch {
	case errWas != nil, errIs != nil, !maps.Equal(carried, decided), !noLonger && changesMoreThanOptions(f, now):
		return Finding{}
	case was < is:
		return Finding{Stale, ReasonAdviceRaised}
	case was == is && (noLonger || notYet), was > is && advises && !notYet:
		return Finding{OK, ReasonAdviceLower}
	}
	return Finding{}
}

// options are those of ours that the pod has, and that a new one would have.
func (v *view) options(f policy.Feature, now *mutate.Result) (carried, decided map[string]string) {
	carried, decided = map[string]string{}, map[string]string{}
	if f == policy.FeatureFallthrough {
		for text, options := range map[string]map[string]string{v.record.ResOptions: carried, now.Decision.Fallthrough.ResOptions: decided} {
			for word := range strings.FieldsSeq(text) {
				name, value, _ := strings.Cut(word, ":")
				options[name] = value
			}
		}
		return carried, decided
	}
	for _, option := range now.Decision.DNS.Options {
		if !now.Request.Pod.HasOption(option.Name) {
			decided[option.Name] = option.Value
		}
	}
	if config := v.pod.Spec.DNSConfig; config != nil {
		for _, option := range config.Options {
			if slices.Contains(v.record.Added.Options, option.Name) {
				carried[option.Name] = ""
				if option.Value != nil {
					carried[option.Name] = *option.Value
				}
			}
		}
	}
	return carried, decided
}

// changesMoreThanOptions tells of DNS whether a review changes something besides them.
// Of variables, the options are all that there is.
func changesMoreThanOptions(f policy.Feature, now *mutate.Result) bool {
	if f == policy.FeatureFallthrough {
		return !now.Decision.Fallthrough.ThroughEnvironment()
	}
	for i := range now.Operations {
		if path := now.Operations[i].Path; strings.HasPrefix(path, "/spec/dns") && !strings.HasPrefix(path, "/spec/dnsConfig/options") {
			return true
		}
	}
	return !now.Decision.DNS.Injects()
}
