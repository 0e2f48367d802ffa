package savings

import (
	"encoding/json"
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Strategy is one way to set resolver options. What pods get is decided, patched
// and read as in a cluster: a policy, mutate.Review, the JSON Patch applied.
type Strategy struct {
	Name string
	// Ours is true for the strategies of Shorthop that promise to break no lookup: the
	// test holds their rows to that.
	Ours bool
	// dns is the policy's spec.dns; empty means that there is no policy, and pods stay
	// as they are.
	dns string
	// overwrites removes the pod's own dnsConfig before the policy is applied.
	overwrites bool
	// spec adds what is known of a world to the policy.
	spec func(w *world, s *policy.Spec) error
	// floor, if not 0, puts advice in force that goes no lower.
	floor int
	// local is true where the cluster DNS answers "svc." itself.
	local bool
	// oracle picks for each workload, with hindsight, the ndots with the fewest queries
	// in the month that is judged, among those that break nothing in it. With reckless
	// it picks among all.
	oracle, reckless bool
}

// The rows of the page, the values of others as their documentation or source has
// them: ACK's and UCloud's nodeLocal injection, CCE's (its empty "timeout" has no
// effect and is left out), Zalando's pod admitter (pod.default.dns-ndots), and the
// samples add-ndots and dns-policy-and-dns-config of Kyverno.
const (
	nameKubelet = "kubelet's 5"
	nameDefault = "Shorthop, default 4"
	nameKnown   = "Shorthop, resolvers known"
	nameReread  = "the same, new tags read"
	nameAdvice  = "Shorthop, advice as rules"
	nameInForce = "Shorthop, advice in force"
	nameBuilds  = "the same, every build of an image"
	nameFloor   = "the same, with a floor of 1"
	nameOracle  = "oracle, breaking nothing"
	nameCheap   = "oracle, whatever breaks"
)

func strategies() []Strategy {
	resolversOf := func(month func(w *world) []workload) func(w *world, s *policy.Spec) error {
		return func(w *world, s *policy.Spec) error {
			s.Resolvers = known(month(w))
			return nil
		}
	}
	now, next := func(w *world) []workload { return w.now }, func(w *world) []workload { return w.next }
	return []Strategy{
		{Name: nameKubelet},
		{Name: "fixed 4", dns: "{ndots: 4}"},
		{Name: "fixed 3", dns: "{ndots: 3}"},
		{Name: "fixed 2 (Zalando)", dns: "{ndots: 2}"},
		{Name: "fixed 1", dns: "{ndots: 1}"},
		{Name: "Kyverno add-ndots: 1, forced", dns: "{ndots: 1}", overwrites: true},
		{Name: "Kyverno dns-policy: 2, cache only", overwrites: true,
			dns: `{mode: NodeLocal, ndots: 2, options: [{name: timeout, value: "1"}, {name: attempts, value: "1"}], nodeLocal: {servers: [169.254.25.10], fallbackServers: [], daemonSet: ""}}`},
		{Name: "ACK: 3, cache and kube-dns",
			dns: `{mode: NodeLocal, ndots: 3, options: [{name: timeout, value: "1"}, {name: attempts, value: "2"}], nodeLocal: {servers: [169.254.20.10], fallbackServers: [10.96.0.10], daemonSet: ""}}`},
		{Name: "CCE: 5, cache and CoreDNS",
			dns: `{mode: NodeLocal, ndots: 5, options: [{name: single-request-reopen}], nodeLocal: {servers: [169.254.20.10], fallbackServers: [10.96.0.10], daemonSet: ""}}`},
		{Name: nameDefault, Ours: true, dns: "{}"},
		{Name: nameKnown, Ours: true, dns: "{}", local: true, spec: resolversOf(now)},
		{Name: nameReread, Ours: true, dns: "{}", local: true, spec: resolversOf(next)},
		{Name: nameAdvice, dns: "{}", local: true, spec: asRules},
		{Name: nameInForce, dns: "{advice: Apply, minConfidence: medium}", local: true, spec: resolversOf(now), floor: policy.DefaultAdviceFloor},
		{Name: nameBuilds, dns: "{advice: Apply, minConfidence: medium}", local: true, floor: policy.DefaultAdviceFloor, spec: func(w *world, s *policy.Spec) error {
			s.Advice.Match = policy.AdviceMatchRepository
			return resolversOf(now)(w, s)
		}},
		{Name: nameFloor, dns: "{advice: Apply, minConfidence: medium}", local: true, floor: 1, spec: func(w *world, s *policy.Spec) error {
			s.Advice.Match, s.Advice.Floor = policy.AdviceMatchRepository, new(int32(1))
			return resolversOf(now)(w, s)
		}},
		{Name: nameOracle, oracle: true},
		{Name: nameCheap, oracle: true, reckless: true},
	}
}

// decider is the policy of a strategy in a world, and the advice beside it.
type decider struct {
	compiled *policy.Compiled // nil for none
	advice   *policy.Advice
}

func (s *Strategy) decider(w *world) (d decider, err error) {
	if s.dns == "" {
		return d, nil
	}
	p, err := policy.Parse(fmt.Appendf(nil, "apiVersion: %s\nkind: %s\nmetadata: {name: %q}\nspec: {cluster: {domain: %s, dnsServers: [%s]}, dns: %s}\n",
		policy.APIVersion, policy.Kind, "savings", clusterDomain, clusterDNS, s.dns))
	if err != nil {
		return d, fmt.Errorf("%s: %w", s.Name, err)
	}
	if s.spec != nil {
		if err := s.spec(w, &p.Spec); err != nil {
			return d, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	if s.floor != 0 {
		if d.advice, err = inForce(w, s.floor); err != nil {
			return d, fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	d.compiled, err = policy.Compile(p, "shorthop")
	return d, err
}

// gates are the gates with a cluster DNS that answers "svc." itself or, without local,
// asks the outside. public says that a namespace is a name that the outside knows.
func (s *Strategy) gates(public bool) *policy.Gates {
	reason := policy.ReasonServiceNotLocal
	if s.local {
		reason = ""
	}
	return &policy.Gates{Upstreams: map[policy.Upstream]policy.Reason{policy.UpstreamCluster: reason}, PublicNamespace: public}
}

// admit is the workload's pod as it is admitted.
func (s *Strategy) admit(d decider, l *workload, public bool) (policy.Pod, error) {
	p := l.pod()
	if s.overwrites {
		p.Spec.DNSConfig = nil
	}
	if d.compiled == nil {
		return p, nil
	}
	review := mutate.Review(d.compiled, policy.Request{
		Operation: policy.OperationCreatePod, Namespace: l.namespace, NamespaceKnown: true, Pod: &p, Gates: s.gates(public), Advice: d.advice,
	})
	if len(review.Operations) == 0 {
		return p, nil
	}
	document, err := json.Marshal(&p)
	if err != nil {
		return p, err
	}
	operations, err := json.Marshal(review.Operations)
	if err != nil {
		return p, err
	}
	patch, err := jsonpatch.DecodePatch(operations)
	if err != nil {
		return p, err
	}
	if document, err = patch.Apply(document); err != nil {
		return p, err
	}
	var admitted policy.Pod
	err = json.Unmarshal(document, &admitted)
	return admitted, err
}

// clients are the containers' resolvers in a pod as it is admitted.
func (w *world) clients(l *workload, p *policy.Pod) []resolver.Client {
	dns := resolver.PodDNS{Namespace: l.namespace, Policy: p.Spec.DNSPolicy}
	if config := p.Spec.DNSConfig; config != nil {
		dns.Config = &resolver.DNSConfig{Nameservers: config.Nameservers, Searches: config.Searches}
		for _, option := range config.Options {
			dns.Config.Options = append(dns.Config.Options, resolver.Option{Name: option.Name, Value: option.Value})
		}
	}
	conf, _ := w.node.ResolvConf(dns)
	clients := make([]resolver.Client, len(l.containers))
	for i := range l.containers {
		kind := imageKinds[l.containers[i].kind]
		clients[i] = resolver.Client{Resolver: kind.client, CLibrary: kind.library, ResolvConf: conf, Hostname: "pod"}
		for _, env := range p.Spec.Containers[i].Env {
			if env.Name == policy.EnvResOptions {
				clients[i].ResOptions = env.Value
			}
		}
	}
	return clients
}
