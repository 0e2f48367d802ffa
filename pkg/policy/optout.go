package policy

import "fmt"

// labelValue is what an opt-out label says.
type labelValue int8

const (
	unset labelValue = iota
	enabled
	disabled
)

// parseLabelValue reads the value of an opt-out label. known is false for a
// value that is none of the allowed ones and so counts as unset.
func parseLabelValue(value string) (v labelValue, known bool) {
	switch value {
	case "enabled", "enable", "true":
		return enabled, true
	case "disabled", "disable", "false":
		return disabled, true
	}
	return unset, false
}

// featureLabel is the canonical label of a feature.
func featureLabel(f Feature) string {
	if f == FeatureServiceHost {
		return LabelServiceHost
	}
	return LabelDNS
}

// featureValue reads a feature's label with its aliases:
//
//	canonical label   aliases             counts as
//	valid             any                 the canonical label
//	unset, invalid    one says disabled   disabled
//	unset, invalid    one says enabled    enabled (not if the alias is disableOnly)
//	unset, invalid    none                unset
func (c *Compiled) featureValue(f Feature, labels map[string]string) labelValue {
	if len(labels) == 0 {
		return unset
	}
	if v, _ := parseLabelValue(labels[featureLabel(f)]); v != unset {
		return v
	}
	result := unset
	for i := range c.aliases {
		alias := &c.aliases[i]
		if alias.feature != f {
			continue
		}
		switch v, _ := parseLabelValue(labels[alias.label]); {
		case v == disabled:
			return disabled
		case v == enabled && !alias.disableOnly:
			result = enabled
		}
	}
	return result
}

// enablement decides whether a feature is on for a pod. The first line that
// applies wins. "feature" is the feature's label or an alias of it.
//
//	   where       label     value      outcome   reason
//	0  namespace   inject    disabled   off       namespace_closed (only under namespaceOptOut Final)
//	1  pod         feature   either     as said   enabled_/disabled_by_pod_label
//	2  pod         inject    either     as said   enabled_/disabled_by_pod_label
//	3  namespace   inject    disabled   off       namespace_closed
//	4  namespace   feature   either     as said   enabled_/disabled_by_namespace_label
//	5  namespace   inject    enabled    on        enabled_by_namespace_label
//	6  rule        enabled   either     as said   enabled_/disabled_by_rule
//	7  policy      enabled   either     as said   enabled_/disabled_by_policy
//
// So a pod beats its namespace in both directions, and a closed namespace
// beats the namespace's own feature labels.
func (c *Compiled) enablement(f Feature, podLabels, namespaceLabels map[string]string, byDefault, fromRule bool) (on bool, reason Reason) {
	namespaceInject, _ := parseLabelValue(namespaceLabels[LabelInject])
	if c.final && namespaceInject == disabled {
		return false, ReasonNamespaceClosed
	}
	switch c.featureValue(f, podLabels) {
	case enabled:
		return true, ReasonEnabledByPodLabel
	case disabled:
		return false, ReasonDisabledByPodLabel
	case unset:
	}
	switch v, _ := parseLabelValue(podLabels[LabelInject]); v {
	case enabled:
		return true, ReasonEnabledByPodLabel
	case disabled:
		return false, ReasonDisabledByPodLabel
	case unset:
	}
	if namespaceInject == disabled {
		return false, ReasonNamespaceClosed
	}
	switch c.featureValue(f, namespaceLabels) {
	case enabled:
		return true, ReasonEnabledByNamespaceLabel
	case disabled:
		return false, ReasonDisabledByNamespaceLabel
	case unset:
	}
	if namespaceInject == enabled {
		return true, ReasonEnabledByNamespaceLabel
	}
	switch {
	case fromRule && byDefault:
		return true, ReasonEnabledByRule
	case fromRule:
		return false, ReasonDisabledByRule
	case byDefault:
		return true, ReasonEnabledByPolicy
	}
	return false, ReasonDisabledByPolicy
}

// labelWarnings names the opt-out labels whose value counts as unset. where is
// "pod" or "namespace".
func (c *Compiled) labelWarnings(warnings []string, where string, labels map[string]string) []string {
	if len(labels) == 0 {
		return warnings
	}
	check := func(key string) {
		value, present := labels[key]
		if !present {
			return
		}
		if _, known := parseLabelValue(value); !known {
			warnings = append(warnings, fmt.Sprintf("%s label %s: %s is not one of enabled, disabled: ignored", where, key, quote(value)))
		}
	}
	check(LabelInject)
	check(LabelServiceHost)
	check(LabelDNS)
	for i := range c.aliases {
		check(c.aliases[i].label)
	}
	return warnings
}
