package explain

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/pkg/policy"
)

// notesOn says what neither the decision nor the patch shows.
func notesOn(p *manifest.Pod, after *policy.Pod) []string {
	notes := []string{}
	if fields := appliedAgain(p, after); len(fields) > 0 {
		notes = append(notes, "Nobody owns the pod, and it names "+strings.Join(fields, ", ")+" itself. Applied again while it runs, the "+
			"manifest asks for its own value back, and the API server answers Forbidden: pod updates may not change fields. Delete the pod "+
			"before, let a workload make it, or label it "+policy.LabelDNS+"=disabled.")
	}
	return notes
}

// appliedAgain lists the fields that a bare pod names and that have another value
// after the patch, of which `kubectl apply` would make an update. Lists in
// dnsConfig are replaced as a whole; variables and annotations are merged by name.
func appliedAgain(p *manifest.Pod, after *policy.Pod) []string {
	if p.From.Kind != "" || len(p.Metadata.OwnerReferences) > 0 {
		return nil
	}
	var manifest policy.Pod // without the defaults that the API server fills in
	if json.Unmarshal(p.JSON, &manifest) != nil {
		return nil
	}
	var fields []string
	add := func(name string, named, same bool) {
		if named && !same {
			fields = append(fields, name)
		}
	}
	was, is := &manifest.Spec, &after.Spec
	add("dnsPolicy", was.DNSPolicy != "", was.DNSPolicy == is.DNSPolicy)
	if was.DNSConfig != nil && is.DNSConfig != nil {
		add("dnsConfig.nameservers", len(was.DNSConfig.Nameservers) > 0, slices.Equal(was.DNSConfig.Nameservers, is.DNSConfig.Nameservers))
		add("dnsConfig.searches", len(was.DNSConfig.Searches) > 0, slices.Equal(was.DNSConfig.Searches, is.DNSConfig.Searches))
		add("dnsConfig.options", len(was.DNSConfig.Options) > 0, len(was.DNSConfig.Options) == len(is.DNSConfig.Options))
	}
	return fields
}
