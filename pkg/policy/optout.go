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

// asked is what the opt-out labels of one object say.
type asked struct {
	inject, serviceHost, dns labelValue
	// invalid is true where a label counts as unset because of its value.
	invalid bool
}

// ofFeature is what a feature's label says, or an alias of it.
func (a *asked) ofFeature(f Feature) labelValue {
	if f == FeatureServiceHost {
		return a.serviceHost
	}
	return a.dns
}

// read reads one label.
func (a *asked) read(labels map[string]string, key string) labelValue {
	value, present := labels[key]
	if !present {
		return unset
	}
	v, known := parseLabelValue(value)
	a.invalid = a.invalid || !known
	return v
}

// asked reads the opt-out labels, those of features with their aliases:
//
//	canonical label   aliases             counts as
//	valid             any                 the canonical label
//	unset, invalid    one says disabled   disabled
//	unset, invalid    one says enabled    enabled (not if the alias is disableOnly)
//	unset, invalid    none                unset
func (c *Compiled) asked(labels map[string]string) asked {
	var a asked
	if len(labels) == 0 {
		return a
	}
	a.inject, a.serviceHost, a.dns = a.read(labels, LabelInject), a.read(labels, LabelServiceHost), a.read(labels, LabelDNS)
	var byAlias asked
	for i := range c.aliases {
		alias := &c.aliases[i]
		said := &byAlias.dns
		if alias.feature == FeatureServiceHost {
			said = &byAlias.serviceHost
		}
		switch v := a.read(labels, alias.label); {
		case v == disabled:
			*said = disabled
		case v == enabled && !alias.disableOnly && *said == unset:
			*said = enabled
		}
	}
	if a.serviceHost == unset {
		a.serviceHost = byAlias.serviceHost
	}
	if a.dns == unset {
		a.dns = byAlias.dns
	}
	return a
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
func (c *Compiled) enablement(f Feature, r *Request, pod, namespace *asked, byDefault, fromRule bool) (on bool, reason Reason) {
	closed := namespace.inject == disabled && r.heeds(ReasonNamespaceClosed)
	if c.final && closed {
		return false, ReasonNamespaceClosed
	}
	for _, v := range [...]labelValue{pod.ofFeature(f), pod.inject} {
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
	switch v := namespace.ofFeature(f); {
	case v == enabled:
		return true, ReasonEnabledByNamespaceLabel
	case v == disabled && r.heeds(ReasonDisabledByNamespaceLabel):
		return false, ReasonDisabledByNamespaceLabel
	case namespace.inject == enabled:
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
	pod, namespace := c.asked(r.Pod.Metadata.Labels), c.asked(r.NamespaceLabels)
	_, reason := c.enablement(f, r, &pod, &namespace, true, false)
	return reason.Earlier() == EarlierStays
}

// labelWarnings names the opt-out labels whose value counts as unset. where is
// "pod" or "namespace".
func (c *Compiled) labelWarnings(warnings []string, where string, labels map[string]string) []string {
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
