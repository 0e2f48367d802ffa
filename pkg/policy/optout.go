package policy

import "fmt"

// labelValue is what an opt-out label says.
type labelValue int8

const (
	unset labelValue = iota
	enabled
	disabled
)

// labelValues are all spellings that count.
var labelValues = [...]struct {
	text  string
	means labelValue
}{
	{"enabled", enabled}, {"enable", enabled}, {"true", enabled},
	{"disabled", disabled}, {"disable", disabled}, {"false", disabled},
}

// EnablingValues are the values of a label that enable.
func EnablingValues() []string { return spellings(enabled) }

// DisablingValues are the values of a label that disable.
func DisablingValues() []string { return spellings(disabled) }

func spellings(of labelValue) []string {
	var texts []string
	for i := range labelValues {
		if labelValues[i].means == of {
			texts = append(texts, labelValues[i].text)
		}
	}
	return texts
}

// parseLabelValue reads the value of an opt-out label. known is false for a
// value that is none of the allowed ones and so counts as unset.
func parseLabelValue(value string) (v labelValue, known bool) {
	if value == "" {
		return unset, false
	}
	for i := range labelValues {
		if labelValues[i].text == value {
			return labelValues[i].means, true
		}
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
func (c *Compiled) enablement(f Feature, r *Request, byDefault, fromRule bool) (on bool, reason Reason) {
	podLabels, namespaceLabels := r.Pod.Metadata.Labels, r.NamespaceLabels
	namespaceInject, _ := parseLabelValue(namespaceLabels[LabelInject])
	closed := namespaceInject == disabled && r.heeds(ReasonNamespaceClosed)
	if c.final && closed {
		return false, ReasonNamespaceClosed
	}
	podInject, _ := parseLabelValue(podLabels[LabelInject])
	for _, v := range [...]labelValue{c.featureValue(f, podLabels), podInject} {
		switch {
		case v == enabled:
			return true, ReasonEnabledByPodLabel
		case v == disabled && r.heeds(ReasonDisabledByPodLabel):
			return false, ReasonDisabledByPodLabel
		}
	}
	if closed {
		return false, ReasonNamespaceClosed
	}
	switch v := c.featureValue(f, namespaceLabels); {
	case v == enabled:
		return true, ReasonEnabledByNamespaceLabel
	case v == disabled && r.heeds(ReasonDisabledByNamespaceLabel):
		return false, ReasonDisabledByNamespaceLabel
	case namespaceInject == enabled:
		return true, ReasonEnabledByNamespaceLabel
	}
	switch {
	case fromRule && (byDefault || !r.heeds(ReasonDisabledByRule)):
		return true, ReasonEnabledByRule
	case fromRule:
		return false, ReasonDisabledByRule
	case byDefault || !r.heeds(ReasonDisabledByPolicy):
		return true, ReasonEnabledByPolicy
	}
	return false, ReasonDisabledByPolicy
}

// LeavesAlone reports whether somebody asked for a feature of the pod to be left
// alone, or whether that cannot be ruled out, even where Decide gives a reason
// that comes before the labels: a pod that serves DNS, a disabled feature.
// What an earlier review put there then stays, as for a pod that the API
// server did not send at all.
func (c *Compiled) LeavesAlone(f Feature, r *Request) bool {
	if f == FeatureFallthrough { // which has no label of its own
		f = FeatureDNS
	}
	if !r.NamespaceKnown || c.settingsFor(r).mode == ModeOff {
		return true
	}
	_, reason := c.enablement(f, r, true, false)
	return reason.Earlier() == EarlierStays
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
