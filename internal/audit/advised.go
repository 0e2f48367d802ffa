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
// ndots alone, where advice gave the one or gives the other; else it is none.
func (v *view) advised(f policy.Feature, now *mutate.Result) Finding {
	if f == policy.FeatureServiceHost || !v.carries(f) || v.record.Advice == "" && !now.Decision.Advice.Injects() {
		return Finding{}
	}
	carried, decided := v.options(f, now)
	// A variable that is no longer needed, as resolv.conf has as much.
	notLower := f == policy.FeatureFallthrough && now.Decision.Fallthrough.Reason == policy.ReasonNdotsNotLower
	if notLower {
		_, ofResolvConf := v.options(policy.FeatureDNS, now)
		decided["ndots"] = ofResolvConf["ndots"]
	}
	was, errWas := strconv.Atoi(carried["ndots"])
	is, errIs := strconv.Atoi(decided["ndots"])
	delete(carried, "ndots")
	delete(decided, "ndots")
	switch {
	case errWas != nil, errIs != nil, !maps.Equal(carried, decided), !notLower && changesMoreThanOptions(f, now):
		return Finding{}
	case was < is:
		return Finding{Stale, ReasonAdviceRaised}
	case was > is && now.Decision.Advice.Injects():
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
