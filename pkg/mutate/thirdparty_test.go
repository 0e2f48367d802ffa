package mutate_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/podgen"
)

var thirdPartyPods = flag.Uint64("third-party-pods", 20000, "how many pods TestReviewAfterAThirdParty draws; a tenth under -short")

// thirdParty edits a pod between two reviews: as another webhook, a restore
// into another cluster or a person may. It says what it did.
type thirdParty struct {
	*rand.Rand
	x     *trial
	donor object // another generated pod, whose fields are taken
	did   []string
}

func (x *trial) thirdParty() *thirdParty {
	donor, err := toObject(x.marshal(podgen.Pod(x.rng, x.request.Namespace)))
	if err != nil {
		x.failf("%v", err)
	}
	return &thirdParty{Rand: x.rng, x: x, donor: donor}
}

// edit makes some edits, or none.
func (p *thirdParty) edit(pod object) {
	metadata, spec := asObject(pod["metadata"]), asObject(pod["spec"])
	for range p.IntN(4) {
		switch p.IntN(12) {
		case 0:
			p.takeField(spec, asObject(p.donor["spec"]), "spec")
		case 1:
			p.takeField(metadata, asObject(p.donor["metadata"]), "metadata")
		case 2, 3:
			p.editContainer(spec)
		case 4:
			p.say("a container is taken out")
			list := listIn(spec, "containers")
			if len(list) > 1 {
				i := p.IntN(len(list))
				spec["containers"] = slices.Delete(slices.Clone(list), i, i+1)
			}
		case 5:
			p.say("dnsPolicy changes")
			spec["dnsPolicy"] = p.pick("None", "Default", "ClusterFirst", "ClusterFirstWithHostNet")
		case 6:
			p.say("dnsConfig is replaced")
			spec["dnsConfig"] = object{"nameservers": []any{p.pick("192.0.2.53", "169.254.20.10")}, "options": []any{object{"name": "ndots", "value": "7"}}}
		case 7:
			p.editDNS(spec)
		case 8:
			p.say("the pod moves to a virtual node")
			spec["nodeSelector"] = object{"type": "virtual-kubelet"}
		case 9:
			p.say("the pod moves to a Windows node")
			spec["nodeSelector"] = object{"kubernetes.io/os": "windows"}
		case 10:
			p.say("a label changes")
			labels := maps.Clone(asObject(metadata["labels"]))
			if labels == nil {
				labels = object{}
			}
			labels[p.pick(policy.LabelInject, policy.LabelServiceHost, policy.LabelDNS, policy.LabelPinned, "k8s-app")] = p.pick("disabled", "enabled", "coredns")
			metadata["labels"] = labels
		case 11:
			p.say("a sidecar is added")
			name := fmt.Sprintf("injected-%d", p.Uint32())
			spec["containers"] = append(listIn(spec, "containers"), object{"name": name, "image": "proxy"})
		}
	}
}

func (p *thirdParty) say(what string) { p.did = append(p.did, what) }

func (p *thirdParty) pick(from ...string) string { return from[p.IntN(len(from))] }

// takeField gives an object a field of the donor's, or takes one out.
func (p *thirdParty) takeField(to, from object, where string) {
	if p.IntN(4) == 0 {
		if keys := slices.Sorted(maps.Keys(to)); len(keys) > 0 {
			key := keys[p.IntN(len(keys))]
			p.say(where + "." + key + " is taken out")
			delete(to, key)
		}
		return
	}
	if keys := slices.Sorted(maps.Keys(from)); len(keys) > 0 {
		key := keys[p.IntN(len(keys))]
		p.say(where + "." + key + " is another pod's")
		to[key] = from[key]
	}
}

// editContainer is what webhooks do to the containers of others.
func (p *thirdParty) editContainer(spec object) {
	list := listIn(spec, p.pick("containers", "containers", "initContainers"))
	if len(list) == 0 {
		return
	}
	container := asObject(list[p.IntN(len(list))])
	env := slices.Clone(listIn(container, "env"))
	switch p.IntN(8) {
	case 0:
		p.say("variables are prepended")
		env = slices.Insert(env, 0, any(object{"name": "FIRST", "value": "$(KUBERNETES_SERVICE_HOST)"}), any(object{"name": "SECOND"}))
	case 1:
		p.say("env is reordered")
		p.Shuffle(len(env), func(i, j int) { env[i], env[j] = env[j], env[i] })
	case 2:
		p.say("a container is renamed")
		container["name"] = fmt.Sprintf("renamed-%d", p.Uint32())
	case 3:
		p.say("the host is set in front of ours")
		env = slices.Insert(env, 0, any(object{"name": "KUBERNETES_SERVICE_HOST", "value": p.pick("192.0.2.1", "api.example.com")}))
	case 4:
		p.say("a port or option is set behind ours")
		env = append(env, object{"name": p.pick("KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS", "RES_OPTIONS"), "value": p.pick("443", "6443", "8443")})
	case 5:
		p.say("a variable changes")
		if len(env) > 0 {
			i := p.IntN(len(env))
			env[i] = object{"name": asObject(env[i])["name"], "value": "192.0.2.1"}
		}
	case 6:
		p.say("a variable is taken out")
		if len(env) > 0 {
			i := p.IntN(len(env))
			env = slices.Delete(env, i, i+1)
		}
	case 7:
		donors := listIn(asObject(p.donor["spec"]), "containers")
		donor := maps.Clone(asObject(donors[p.IntN(len(donors))]))
		delete(donor, "name")
		p.takeField(container, donor, "container")
		return
	}
	container["env"] = env
}

// editDNS puts something into dnsConfig or takes something out.
func (p *thirdParty) editDNS(spec object) {
	config := maps.Clone(asObject(spec["dnsConfig"]))
	if config == nil {
		config = object{}
	}
	key := p.pick("nameservers", "searches", "options")
	list := slices.Clone(listIn(config, key))
	value := map[string]any{
		"nameservers": p.pick("192.0.2.53", "169.254.20.10", "10.0.0.10"),
		"searches":    p.pick("other.example.com", "svc.cluster.local"),
		"options":     object{"name": p.pick("ndots", "timeout", "inet6"), "value": "7"},
	}[key]
	switch at := p.IntN(len(list) + 1); p.IntN(3) {
	case 0:
		p.say("one of " + key + " is inserted")
		list = slices.Insert(list, at, value)
	case 1:
		p.say(key + " are reordered")
		p.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	case 2:
		p.say("one of " + key + " is taken out")
		if at < len(list) {
			list = slices.Delete(list, at, at+1)
		}
	}
	config[key] = list
	spec["dnsConfig"] = config
}

// TestReviewAfterAThirdParty: a pod is reviewed, somebody edits it, and it is
// reviewed again, under equal or other facts and policies.
func TestReviewAfterAThirdParty(t *testing.T) {
	t.Parallel()
	policies := propertyPolicies(t)
	var (
		mu  sync.Mutex
		saw = map[string]int{}
	)
	t.Run("trials", func(t *testing.T) {
		forEachTrial(t, *thirdPartyPods, func(x *trial) {
			x.json = x.typedRoundTrip(x.json)
			before, first := x.patched(policies[x.rng.IntN(len(policies))], x.json)
			if first.DryRun() {
				before = x.json
			}
			edits := x.thirdParty()
			o, err := toObject(before)
			if err != nil {
				x.failf("%v", err)
			}
			edits.edit(o)
			uniqueContainerNames(o)
			edited := x.marshal(o)
			if x.rng.IntN(3) == 0 {
				x.request.NamespaceLabels = podgen.NamespaceLabels(x.rng)
			}
			if x.rng.IntN(3) == 0 { // other facts: all gates closed, nothing known
				x.request.Gates = &policy.Gates{}
			}
			after, second := x.patched(x.policy, edited)
			second.Request.ObjectSize = 0
			x.checkDryRun(&second)
			if err := onlyOursChanged(decode(t, before), edited, after, &first, &second); err != nil {
				x.failf("%v\nedits: %v\nedited: %s\npatch: %s\nfirst %+v\nsecond %+v", err, edits.did, edited, patchOf(t, second), first.Decision, second.Decision)
			}
			x.checkExplained(decode(t, edited), decode(t, after), &second, edits.did)

			mu.Lock()
			defer mu.Unlock()
			for _, what := range edits.did {
				saw[what]++
			}
			saw["service host "+string(second.ServiceHostEarlier)]++
			saw["dns "+string(second.DNSEarlier)]++
			saw["res options "+string(second.FallthroughEarlier)]++
			if second.DryRun() && len(second.Operations) > 0 {
				saw["operations under DryRun"]++
			}
			reading := mutate.ReadRecord(decode(t, edited))
			saw[fmt.Sprintf("service host lost %t", reading.LostServiceHost)]++
			saw[fmt.Sprintf("dns lost %t", reading.LostDNS)]++
			saw[fmt.Sprintf("res options lost %t", reading.LostResOptions)]++
		})
	})
	for _, what := range []string{
		"variables are prepended", "env is reordered", "a container is renamed", "dnsConfig is replaced", "dnsPolicy changes", "a container is taken out",
		"the pod moves to a virtual node", "the pod moves to a Windows node", "a label changes", "service host stays", "service host comes_out", "dns stays", "dns comes_out",
		"res options stays", "res options comes_out", "res options lost true", "service host lost true", "dns lost true", "operations under DryRun",
	} {
		if saw[what] == 0 {
			t.Errorf("%s: never", what)
		}
	}
	t.Log(saw)
}

// checkDryRun: DryRun says what the mode of the policy or the pod's rule says,
// whatever the outcomes.
func (x *trial) checkDryRun(r *mutate.Result) {
	x.t.Helper()
	spec := &x.policy.Document().Spec
	want := spec.Mode == policy.ModeDryRun
	for i := range spec.Rules {
		want = want || spec.Rules[i].Name == r.Decision.Rule && spec.Rules[i].Mode == policy.ModeDryRun
	}
	if r.Decision.Rule != "" && r.DryRun() != want {
		x.failf("DryRun is %t in a policy of mode %s under rule %s", r.DryRun(), spec.Mode, r.Decision.Rule)
	}
	for _, o := range []policy.Outcome{r.Decision.ServiceHost.Outcome, r.Decision.DNS.Outcome, r.Decision.Fallthrough.Outcome} {
		if o.Action == policy.ActionDryRun && !r.DryRun() || o.Action == policy.ActionInject && r.DryRun() {
			x.failf("DryRun is %t, and an outcome is %+v", r.DryRun(), o)
		}
	}
}

// checkExplained: what is on a pod after a review is what its record says, and
// Undo of it is what was decided on.
func (x *trial) checkExplained(edited, after *policy.Pod, r *mutate.Result, did []string) {
	x.t.Helper()
	reading := mutate.ReadRecord(after)
	if len(r.Operations) > 0 && (reading.LostServiceHost || reading.LostDNS || reading.LostResOptions) {
		x.failf("the record does not describe the pod: %+v\nedits: %v", reading, did)
	}
	if r.RecordReason == "" {
		if diff := diffPods(withoutOurKeys(mutate.Undo(edited)), withoutOurKeys(mutate.Undo(after))); diff != "" {
			x.failf("Undo changes with the review (-before +after):\n%s\nedits: %v", diff, did)
		}
	}
	if d := &r.Decision; d.ServiceHost.Injects() || d.DNS.Injects() || d.Fallthrough.Injects() ||
		slices.Contains([]policy.Earlier{r.ServiceHostEarlier, r.DNSEarlier, r.FallthroughEarlier}, policy.EarlierComesOut) {
		if hash := x.policy.Hash(); r.RecordReason == "" {
			for f, injects := range map[policy.Feature]bool{
				policy.FeatureServiceHost: d.ServiceHost.Injects(), policy.FeatureDNS: d.DNS.Injects(), policy.FeatureFallthrough: d.Fallthrough.ThroughEnvironment(),
			} {
				has := map[policy.Feature]string{policy.FeatureServiceHost: reading.ServiceHost, policy.FeatureDNS: string(reading.DNS), policy.FeatureFallthrough: reading.ResOptions}[f] != ""
				if earlier := mutate.ReadRecord(edited); has && !injects && reading.By(f) != earlier.By(f) {
					x.failf("%s was done by %+v, and the record says %+v\nedits: %v", f, earlier.By(f), reading.By(f), did)
				}
				if injects && (!has || reading.By(f) != mutate.Provenance{Rule: d.Rule, Policy: hash}) {
					x.failf("%s is done by %+v now, and the record says %+v", f, d.Rule, reading)
				}
			}
		}
		pinned := after.Metadata.Labels[policy.LabelPinned] == policy.PinnedNodeLocal
		if r.RecordReason == "" && r.DNSEarlier != policy.EarlierStays && reading.DNS == policy.DNSModeNodeLocal && !pinned {
			x.failf("node-local DNS without the label\nedits: %v", did)
		}
		if r.DNSEarlier == policy.EarlierComesOut && pinned {
			x.failf("the label without node-local DNS\nedits: %v", did)
		}
	}
}

// onlyOursChanged compares the pod before and after the second review. What is
// gone must be what the first review had added, by value; what is new must be
// what the second decided. All else is as it was, byte by byte.
func onlyOursChanged(reviewed *policy.Pod, editedJSON, afterJSON []byte, first, second *mutate.Result) error {
	edited, err := toObject(editedJSON)
	if err != nil {
		return err
	}
	after, err := toObject(afterJSON)
	if err != nil {
		return err
	}
	withoutMetadataKeys(edited)
	withoutMetadataKeys(after)
	was, is := asObject(edited["spec"]), asObject(after["spec"])
	if forged := mutate.ReadRecord(reviewed); first.Operations == nil && forged.Found {
		return nil // the generator forged a record that is believed
	}
	for _, list := range []string{"initContainers", "containers"} {
		wasList, isList := listIn(was, list), listIn(is, list)
		for i := range min(len(wasList), len(isList)) {
			w, s := asObject(wasList[i]), asObject(isList[i])
			old := append(expectedVariables(&first.Decision.ServiceHost, object{"envFrom": envFromIn(reviewed, w["name"])}, nil), resOptionsOf(first)...)
			decided := append(expectedVariables(&second.Decision.ServiceHost, object{"envFrom": w["envFrom"]}, nil), resOptionsOf(second)...)
			if err := sameButOurs(listIn(w, "env"), listIn(s, "env"), old, decided, reflect.DeepEqual); err != nil {
				return fmt.Errorf("%s %v: env: %w", list, w["name"], err)
			}
			delete(w, "env")
			delete(s, "env")
		}
	}
	oldConfig, newConfig := decidedLists(first), decidedLists(second)
	wasConfig, isConfig := asObject(was["dnsConfig"]), asObject(is["dnsConfig"])
	for _, key := range []string{"nameservers", "searches", "options"} {
		if err := sameButOurs(listIn(wasConfig, key), listIn(isConfig, key), oldConfig[key], newConfig[key], reflect.DeepEqual); err != nil {
			return fmt.Errorf("dnsConfig.%s: %w", key, err)
		}
		delete(wasConfig, key)
		delete(isConfig, key)
	}
	if len(wasConfig) == 0 && len(isConfig) == 0 {
		delete(was, "dnsConfig")
		delete(is, "dnsConfig")
	}
	if was["dnsPolicy"] != is["dnsPolicy"] {
		back := was["dnsPolicy"] == "None" && first.Decision.DNS.Mode == policy.DNSModeNodeLocal
		local := second.Decision.DNS.Injects() && second.Decision.DNS.Mode == policy.DNSModeNodeLocal
		if local != (is["dnsPolicy"] == "None") || !local && !back {
			return fmt.Errorf("dnsPolicy %v became %v", was["dnsPolicy"], is["dnsPolicy"])
		}
		delete(was, "dnsPolicy")
		delete(is, "dnsPolicy")
	}
	if !reflect.DeepEqual(edited, after) {
		return fmt.Errorf("something else changed:\n%v\n%v", edited, after)
	}
	return nil
}

// resOptionsOf is what a container can get.
func resOptionsOf(r *mutate.Result) []any {
	if !r.Decision.Fallthrough.ThroughEnvironment() {
		return nil
	}
	return []any{object{"name": "RES_OPTIONS", "value": r.Decision.Fallthrough.ResOptions}}
}

// envFromIn is a list with something in it if the container of that name has
// variables by envFrom.
func envFromIn(pod *policy.Pod, name any) []any {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name == name && bool(c.EnvFrom) {
			return []any{"something"}
		}
	}
	return nil
}

// decidedLists are the values that a decision can put into dnsConfig.
func decidedLists(r *mutate.Result) map[string][]any {
	d := &r.Decision.DNS
	if !d.Injects() {
		return nil
	}
	lists := map[string][]any{"searches": toList(d.ExtraSearches)}
	if d.Mode == policy.DNSModeNodeLocal {
		lists["nameservers"] = toList(d.Servers, d.FallbackServers)
		lists["searches"] = toList([]string{r.Request.Namespace + ".svc." + d.Domain, "svc." + d.Domain, d.Domain}, d.ExtraSearches)
	}
	for _, option := range d.Options {
		added := object{"name": option.Name}
		if option.Value != "" {
			added["value"] = option.Value
		}
		lists["options"] = append(lists["options"], added)
	}
	return lists
}

// sameButOurs takes from both lists what may be ours, and wants the rest to be
// the same in the same order. Of what is taken from the list before, old may be
// gone, each once; what is there only after must be of decided, each once.
func sameButOurs(was, is, old, decided []any, same func(a, b any) bool) error {
	count := func(list []any, value any) (n int) {
		for _, other := range list {
			if same(value, other) {
				n++
			}
		}
		return n
	}
	for _, value := range slices.Concat(was, is) {
		gone := count(was, value) - count(is, value)
		switch {
		case gone > 0 && (gone > 1 || count(old, value) == 0):
			return fmt.Errorf("%v is gone, and was not ours: %v became %v", value, was, is)
		case gone < 0 && (gone < -1 || count(decided, value) == 0):
			return fmt.Errorf("%v came, and is not decided: %v became %v", value, was, is)
		}
	}
	mayBeOurs := func(value any) bool { return count(old, value)+count(decided, value) > 0 }
	users, stay := slices.DeleteFunc(slices.Clone(was), mayBeOurs), slices.DeleteFunc(slices.Clone(is), mayBeOurs)
	if len(users)+len(stay) > 0 && !reflect.DeepEqual(users, stay) {
		return fmt.Errorf("the user's changed: %v became %v", was, is)
	}
	return nil
}
