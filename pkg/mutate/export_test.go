package mutate

import (
	"encoding/json"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Reseal is the pod's record with the checksums that make it trusted, as
// somebody would forge it. ok is false where there is nothing to forge.
func Reseal(pod *policy.Pod) (text string, ok bool) {
	var r Record
	if json.Unmarshal([]byte(pod.Metadata.Annotations[policy.AnnotationInjected]), &r) != nil {
		return "", false
	}
	config := pod.Spec.DNSConfig
	if config == nil {
		config = &policy.DNSConfig{}
	}
	clamp := func(n *int, most int) { *n = min(max(*n, 0), most) }
	a := &r.Added
	clamp(&a.Nameservers, min(len(config.Nameservers), maxNameservers))
	clamp(&a.Searches, min(len(config.Searches), maxSearches))
	if !movedWithin(a.UserNameservers, a.Nameservers, len(config.Nameservers)) {
		a.UserNameservers = nil
	}
	if !movedWithin(a.UserSearches, a.Searches, len(config.Searches)) {
		a.UserSearches = nil
	}
	var present []string
	for _, name := range a.Options {
		if optionIndex(config.Options, name) >= 0 && len(present) < maxOptions {
			present = append(present, name)
		}
	}
	a.Options = present
	if r.Version == 0 {
		a.Sum = r.firstEditionSum(config)
	} else {
		r.seal(config)
	}
	return r.text(), true
}
