package mutate

import (
	"encoding/json"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Reseal is the pod's record with the checksum that makes it trusted, as
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
	clamp(&r.Added.Nameservers, len(config.Nameservers))
	clamp(&r.Added.Searches, len(config.Searches))
	var present []string
	for _, name := range r.Added.Options {
		if optionIndex(config.Options, name) >= 0 {
			present = append(present, name)
		}
	}
	r.Added.Options = present
	r.seal(config)
	return r.text(), true
}
