package mutate

import (
	"slices"
	"strconv"

	"gomodules.xyz/jsonpatch/v2"

	"github.com/shorthop/shorthop/pkg/policy"
)

// dnsNone is the dnsPolicy under which kubelet writes exactly what dnsConfig
// says. With any other, the cluster DNS comes first.
const dnsNone = "None"

// dnsOperations turns the actual pod's DNS into what is decided for the
// original pod, and fills in the record. It also returns the dnsConfig that
// the pod ends up with. earlier is the record of an earlier review, if any.
func dnsOperations(ops []jsonpatch.Operation, actual *policy.Pod, r *policy.Request, d *policy.DNSDecision, earlier, record *Record) ([]jsonpatch.Operation, *policy.DNSConfig) {
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

	switch dnsPolicy {
	case actual.Spec.DNSPolicy:
	case "": // as the pod was before it became None
		ops = append(ops, remove("/spec/dnsPolicy"))
	default:
		// Adding a member that exists replaces it (RFC 6902, section 4.1), so
		// this also works for a pod that names no policy.
		ops = append(ops, add("/spec/dnsPolicy", dnsPolicy))
	}
	have := actual.Spec.DNSConfig
	if have == nil {
		return append(ops, add("/spec/dnsConfig", &want)), &want
	}
	equal := func(a, b string) bool { return a == b }
	ops = listOperations(ops, "/spec/dnsConfig/nameservers", have.Nameservers, want.Nameservers, equal)
	ops = listOperations(ops, "/spec/dnsConfig/searches", have.Searches, want.Searches, equal)
	return optionOperations(ops, have.Options, user.Options, want.Options, earlier), &want
}

// optionOperations is listOperations for a list in which the user's options stay
// as they are: replacing it would lose what a newer API has in them beside name
// and value. So what an earlier review added is taken out, and what is decided
// now is appended.
func optionOperations(ops []jsonpatch.Operation, have, user, want []policy.DNSOption, earlier *Record) []jsonpatch.Operation {
	const path = "/spec/dnsConfig/options"
	appends := len(have) <= len(want) && slices.EqualFunc(have, want[:len(have)], sameOption)
	if len(user) == 0 || appends {
		return listOperations(ops, path, have, want, sameOption)
	}
	if len(have) > len(user) { // an earlier review was here
		have = slices.Clone(have)
		for _, name := range earlier.Added.Options {
			if i := optionIndex(have, name); i >= 0 {
				have = slices.Delete(have, i, i+1)
				ops = append(ops, remove(path+"/"+strconv.Itoa(i)))
			}
		}
	}
	for _, option := range want[len(user):] {
		ops = append(ops, add(path+"/-", option))
	}
	return ops
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
