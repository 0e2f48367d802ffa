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

// decidedDNS returns the dnsPolicy and the dnsConfig that are decided for a
// pod, and fills in the record.
func decidedDNS(r *policy.Request, d *policy.DNSDecision, record *Record) (dnsPolicy string, config *policy.DNSConfig) {
	pod, added := r.Pod, &record.Added
	record.DNS = d.Mode
	added.DNSConfig = pod.Spec.DNSConfig == nil
	dnsPolicy, config = pod.Spec.DNSPolicy, &policy.DNSConfig{}
	if pod.Spec.DNSConfig != nil {
		*config = *pod.Spec.DNSConfig
	}
	if d.Mode == policy.DNSModeNodeLocal {
		added.DNSPolicy = &pod.Spec.DNSPolicy
		dnsPolicy = dnsNone
		config.Nameservers, added.Nameservers, added.UserNameservers = putInFront(
			config.Nameservers, d.Servers, d.FallbackServers)
		config.Searches, added.Searches, added.UserSearches = putInFront(
			config.Searches, clusterSearches(r.Namespace, d.Domain), d.ExtraSearches)
	}
	if d.Mode == policy.DNSModeOptions && len(d.ExtraSearches) > 0 {
		config.Searches = slices.Concat(config.Searches, d.ExtraSearches)
		added.ExtraSearches = d.ExtraSearches
	}
	for i := range d.Options {
		option := &d.Options[i]
		if pod.HasOption(option.Name) {
			continue
		}
		if len(added.Options) == 0 {
			// Appending must not reach into the pod.
			config.Options = append(make([]policy.DNSOption, 0, len(config.Options)+len(d.Options)), config.Options...)
		}
		value := policy.DNSOption{Name: option.Name}
		if option.Value != "" {
			value.Value = &option.Value
		}
		config.Options = append(config.Options, value)
		added.Options = append(added.Options, option.Name)
	}
	return dnsPolicy, config
}

// setDNS gives the pod a dnsPolicy and a dnsConfig, which are either decided for
// the original pod or the original pod's own.
func (w *rewrite) setDNS(dnsPolicy string, want *policy.DNSConfig) {
	switch dnsPolicy {
	case w.actual.Spec.DNSPolicy:
	case "": // as the pod was before it became None
		w.ops = append(w.ops, remove("/spec/dnsPolicy"))
	default:
		// Adding a member that exists replaces it (RFC 6902, section 4.1), so
		// this also works for a pod that names no policy.
		w.ops = append(w.ops, add("/spec/dnsPolicy", dnsPolicy))
	}
	have := w.actual.Spec.DNSConfig
	switch {
	case have == nil && want == nil:
		return
	case have == nil:
		w.ops = append(w.ops, add("/spec/dnsConfig", want))
		return
	case want == nil:
		w.ops = append(w.ops, remove("/spec/dnsConfig"))
		return
	}
	equal := func(a, b string) bool { return a == b }
	w.ops = listOperations(w.ops, "/spec/dnsConfig/nameservers", have.Nameservers, want.Nameservers, equal)
	w.ops = listOperations(w.ops, "/spec/dnsConfig/searches", have.Searches, want.Searches, equal)
	var user []policy.DNSOption
	if w.original.Spec.DNSConfig != nil {
		user = w.original.Spec.DNSConfig.Options
	}
	w.ops = optionOperations(w.ops, have.Options, user, want.Options, &w.earlier)
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
