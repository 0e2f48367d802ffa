package policy

import "strings"

// kubeletNdots is what kubelet writes for pods that use the cluster DNS and
// whose dnsConfig names no ndots.
const kubeletNdots = 5

// shortNames are the forms of short address names of the cluster that have
// dots, by their number.
var shortNames = []string{"service.namespace", "service.namespace.svc", "pod.service.namespace.svc"}

// ShortNamesLost returns the forms of short names that a resolver which never
// tries the search list for a name with ndots dots, as musl, does not find.
// There are none from DefaultNdots on.
func ShortNamesLost(ndots int) []string {
	for i, name := range shortNames {
		if strings.Count(name, ".") >= ndots {
			return shortNames[i:]
		}
	}
	return nil
}
