package mutate

import (
	"gomodules.xyz/jsonpatch/v2"

	"github.com/shorthop/shorthop/pkg/policy"
)

// dnsNone is the dnsPolicy under which kubelet writes exactly what dnsConfig
// says. With any other, the cluster DNS comes first.
const dnsNone = "None"

// dnsOperations turns the actual pod's DNS into what is decided for the
// original pod, and fills in the record. It also returns the dnsConfig that
// the pod ends up with.
func dnsOperations(ops []jsonpatch.Operation, actual *policy.Pod, r *policy.Request, d *policy.DNSDecision, record *Record) ([]jsonpatch.Operation, *policy.DNSConfig) {
	original := r.Pod
	var user policy.DNSConfig
	if original.Spec.DNSConfig != nil {
		user = *original.Spec.DNSConfig
	}
	record.DNS = d.Mode
	record.Added.DNSConfig = original.Spec.DNSConfig == nil

	want := user
	dnsPolicy := original.Spec.DNSPolicy
	if d.Mode == policy.DNSModeNodeLocal {
		record.Added.DNSPolicy = &original.Spec.DNSPolicy
		dnsPolicy = dnsNone
		want.Nameservers = concat(d.Servers, d.FallbackServers, user.Nameservers)
		record.Added.Nameservers = len(want.Nameservers) - len(user.Nameservers)
		want.Searches = concat(clusterSearches(r.Namespace, d.Domain), d.ExtraSearches, user.Searches)
		record.Added.Searches = len(want.Searches) - len(user.Searches)
	}
	for i := range d.Options {
		option := &d.Options[i]
		if original.HasOption(option.Name) {
			continue
		}
		if len(record.Added.Options) == 0 {
			want.Options = concat(user.Options) // appending must not reach into the pod
		}
		added := policy.DNSOption{Name: option.Name}
		if option.Value != "" {
			added.Value = &option.Value
		}
		want.Options = append(want.Options, added)
		record.Added.Options = append(record.Added.Options, option.Name)
	}

	if dnsPolicy != actual.Spec.DNSPolicy {
		// Adding a member that exists replaces it (RFC 6902, section 4.1), so
		// this also works for a pod that names no policy.
		ops = append(ops, add("/spec/dnsPolicy", dnsPolicy))
	}
	return dnsConfigOperations(ops, actual.Spec.DNSConfig, &want), &want
}

func dnsConfigOperations(ops []jsonpatch.Operation, have, want *policy.DNSConfig) []jsonpatch.Operation {
	if have == nil {
		return append(ops, add("/spec/dnsConfig", want))
	}
	equal := func(a, b string) bool { return a == b }
	ops = listOperations(ops, "/spec/dnsConfig/nameservers", have.Nameservers, want.Nameservers, equal)
	ops = listOperations(ops, "/spec/dnsConfig/searches", have.Searches, want.Searches, equal)
	return listOperations(ops, "/spec/dnsConfig/options", have.Options, want.Options, sameOption)
}

func sameOption(a, b policy.DNSOption) bool {
	return a.Name == b.Name && (a.Value == nil) == (b.Value == nil) && (a.Value == nil || *a.Value == *b.Value)
}

// clusterSearches is what kubelet writes for dnsPolicy ClusterFirst
// (generateSearchesForDNSClusterFirst) and what None takes away.
func clusterSearches(namespace, domain string) []string {
	return []string{namespace + ".svc." + domain, "svc." + domain, domain}
}

func concat[T any](lists ...[]T) []T {
	n := 0
	for _, list := range lists {
		n += len(list)
	}
	joined := make([]T, 0, n)
	for _, list := range lists {
		joined = append(joined, list...)
	}
	return joined
}
