package advisor

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// WorkloadKey names a workload.
type WorkloadKey struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
}

func (k WorkloadKey) compare(other WorkloadKey) int {
	if c := strings.Compare(k.Namespace, other.Namespace); c != 0 {
		return c
	}
	if c := strings.Compare(k.Name, other.Name); c != 0 {
		return c
	}
	return strings.Compare(k.Kind, other.Kind)
}

// group is the pods of a workload that are alike in all that matters here: what
// their logs say is added up.
type group struct {
	workload  WorkloadKey
	dns       resolver.PodDNS
	resolvers []resolver.Resolver // empty: not known
	// usersNdots says that the pod sets ndots itself, which is never changed.
	usersNdots bool
	// injected is how many of the nameservers are Shorthop's, in mode NodeLocal.
	injected int
	// options are those of RES_OPTIONS in the containers' environment.
	options  string
	captured bool   // its DNS may be captured, captured.go says by what
	why      Reason // why there is no recommendation, or ""
	pods     int
	// hosts are the names in commands, arguments and variables of the containers.
	hosts map[string]bool
}

// tenure is the time for which an address belonged to a pod. A zero end is open,
// one before the beginning is not known: the pod has ended some time.
type tenure struct {
	group    int32
	from, to int64 // Unix seconds
	// reference is the index of its images and commands.
	reference int32
	starts    []start
	node      string // its address
}

// unknownEnd is the end of a pod that has ended, which nothing says when: as one
// evicted before its containers' end was written down.
const unknownEnd = 1

// decided is which rules decide for the pods of a workload.
type decided struct {
	rules  []string // their names, policy.DefaultRule among them
	unsure bool     // of one pod at least it is not known
}

// RuleOf returns the name of the rule that decides for a pod of a namespace, as
// policy.Compiled does.
type RuleOf func(namespace string, pod *policy.Pod) (rule string, known bool)

// Clients knows which pod has, or had, which address.
type Clients struct {
	resolverOf func(image string) resolver.Resolver
	ruleOf     RuleOf
	decided    map[WorkloadKey]*decided
	groups     []group
	groupOf    map[string]int32
	// byAddress has indexes into tenures by an address's text.
	byAddress map[string][]int32
	// byPod has them by podKey.
	byPod map[string][]int32
	// nodes are the addresses of the pods' nodes.
	nodes   map[string]bool
	tenures []tenure
	names   clusterNames
	hinted  hinted
	// pods are all, and read how often one was: a pod may be in several lists.
	pods, read int
	// references are images and commands of pods, by referenceOf.
	references  [][]policy.AdviceReference
	referenceOf map[string]int32
}

// NewClients makes an empty set. resolverOf says which resolver an image contains,
// "" where that is not known; nil knows none. ruleOf is the policy's; nil has no
// rules.
func NewClients(resolverOf func(image string) resolver.Resolver, ruleOf RuleOf) *Clients {
	return &Clients{
		resolverOf: resolverOf,
		ruleOf:     ruleOf,
		decided:    make(map[WorkloadKey]*decided),
		groupOf:    make(map[string]int32),
		byAddress:  make(map[string][]int32),
		byPod:      make(map[string][]int32),
		nodes:      make(map[string]bool),
		names:      newClusterNames(),
	}
}

// Len is the number of pods.
func (c *Clients) Len() int { return c.pods }

// Read is how many pods have been added, one in several lists as often as it was.
func (c *Clients) Read() int { return c.read }

// Add adds a pod. One that was in an earlier list is the same if its name and its
// beginning are: the two lists together tell more of it. Of a Service, a Namespace and a
// StatefulSet, as a list of several kinds has them, it notes the names that may be
// looked up; of a network policy of Cilium, whether its proxy may answer.
func (c *Clients) Add(p *Pod) {
	if p.Kind != "" && p.Kind != "Pod" {
		c.names.addObject(p)
		c.hinted.addPolicy(p)
		return
	}
	if p.Kind == "" && p.Metadata.Name == "" && p.Status.PodIP == "" { // an object of another kind of file
		return
	}
	c.read++
	from := p.Metadata.CreationTimestamp.Unix()
	if p.Metadata.CreationTimestamp.IsZero() {
		from = 0
	}
	key := string(podKey([]byte(p.Metadata.Namespace), []byte(p.Metadata.Name)))
	if known := c.known(key, from); known != nil && p.Metadata.Name != "" {
		c.again(known, p)
		return
	}
	c.pods++
	c.names.addPod(p)
	c.nodes[p.Status.HostIP] = true
	var addresses []string
	for _, ip := range append([]PodIP{{p.Status.PodIP}}, p.Status.PodIPs...) {
		if address, err := netip.ParseAddr(ip.IP); err == nil && !slices.Contains(addresses, address.String()) {
			addresses = append(addresses, address.String())
		}
	}
	if len(addresses) == 0 {
		return
	}
	t := tenure{group: c.group(p), from: from, to: p.end(), reference: c.reference(p), starts: p.starts(), node: p.Status.HostIP}
	c.tenures = append(c.tenures, t)
	c.byPod[key] = append(c.byPod[key], int32(len(c.tenures)-1))
	for _, address := range addresses {
		c.byAddress[address] = append(c.byAddress[address], int32(len(c.tenures)-1))
	}
}

// known is the pod of that name and beginning, nil if there is none yet.
func (c *Clients) known(key string, from int64) *tenure {
	for _, index := range c.byPod[key] {
		if t := &c.tenures[index]; t.from == from {
			return t
		}
	}
	return nil
}

// again adds what another list says of a pod: its end, which is known better the later
// it was made, and other starts.
func (c *Clients) again(t *tenure, p *Pod) {
	if end := p.end(); t.to == 0 || end > t.to {
		t.to = end
	}
	for _, s := range p.starts() {
		if !slices.ContainsFunc(t.starts, func(known start) bool { return known.at == s.at }) {
			t.starts = append(t.starts, s)
		}
	}
	c.nodes[p.Status.HostIP] = true
}

func (c *Clients) group(p *Pod) int32 {
	pod := policy.Pod{Metadata: p.Metadata.PodMetadata, Spec: p.Spec.PodSpec}
	workload := pod.Workload()
	g := group{
		workload: WorkloadKey{
			p.Metadata.Namespace, printable.Cut(workload.Kind, printable.MaxName), printable.Cut(workload.Name, printable.MaxName),
		},
		dns: resolver.PodDNS{Namespace: p.Metadata.Namespace, Policy: p.Spec.DNSPolicy, HostNetwork: p.Spec.HostNetwork},
	}
	if config := p.Spec.DNSConfig; config != nil {
		g.dns.Config = &resolver.DNSConfig{Nameservers: config.Nameservers, Searches: config.Searches}
		for _, option := range config.Options {
			g.dns.Config.Options = append(g.dns.Config.Options, resolver.Option{Name: option.Name, Value: option.Value})
		}
	}
	// What Shorthop says it did, which anybody may write: it must say nothing of
	// what others get. If somebody else wrote it, a rule is recommended for this
	// workload that changes nothing. Which rule of the policy decides is worked out,
	// never read here.
	var record struct {
		DNS   policy.DNSMode `json:"dns"`
		Added struct {
			Options     []string `json:"options"`
			Nameservers int      `json:"nameservers"`
			DNSPolicy   *string  `json:"dnsPolicy"`
		} `json:"added"`
	}
	if text := p.Metadata.Annotations[policy.AnnotationInjected]; text != "" {
		_ = json.Unmarshal([]byte(text), &record) // one that cannot be read says nothing
	}
	if pod.HasOption("ndots") && !slices.Contains(record.Added.Options, "ndots") {
		g.usersNdots = true
	}
	if record.DNS == policy.DNSModeNodeLocal {
		g.injected = record.Added.Nameservers
		if own := record.Added.DNSPolicy; own != nil { // rules are asked about the pod as its user wrote it
			pod.Spec.DNSPolicy = *own
		}
	}
	c.decide(g.workload, &pod)
	c.hinted.add(p, g.workload)
	known := true
	for _, container := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		var r resolver.Resolver
		if c.resolverOf != nil {
			r = c.resolverOf(container.Image)
		}
		if r == "" {
			known = false
		} else if !slices.Contains(g.resolvers, r) {
			g.resolvers = append(g.resolvers, r)
		}
	}
	slices.Sort(g.resolvers)
	if !known {
		g.resolvers = nil
	}
	g.options, g.captured = p.resOptions(), p.captured()
	switch {
	case p.Spec.HostNetwork: // on Fargate all pods have their node's address
		g.why = ReasonHostNetwork
	case pod.IsWindows():
		g.why = ReasonWindows
	case p.Spec.DNSPolicy == "Default" || p.Spec.DNSPolicy == "None" && record.DNS != policy.DNSModeNodeLocal:
		g.why = ReasonOwnDNS
	}
	key := g.key()
	i, found := c.groupOf[key]
	if !found {
		i = int32(len(c.groups))
		c.groupOf[key] = i
		c.groups = append(c.groups, g)
	}
	c.groups[i].pods++
	c.groups[i].mention(p)
	return i
}

// decide notes which rule decides for a pod of a workload.
func (c *Clients) decide(workload WorkloadKey, pod *policy.Pod) {
	if c.ruleOf == nil {
		return
	}
	d := c.decided[workload]
	if d == nil {
		d = &decided{}
		c.decided[workload] = d
	}
	rule, known := c.ruleOf(workload.Namespace, pod)
	if !known {
		d.unsure = true
	} else if !slices.Contains(d.rules, rule) {
		d.rules = append(d.rules, rule)
	}
}

// key tells groups apart.
func (g *group) key() string {
	var b strings.Builder
	add := func(words ...string) {
		for _, word := range words {
			b.WriteString(strconv.Quote(word))
		}
		b.WriteByte('\n')
	}
	add(g.workload.Namespace, g.workload.Kind, g.workload.Name, string(g.why), g.dns.Policy, strconv.FormatBool(g.usersNdots), strconv.Itoa(g.injected), g.options, strconv.FormatBool(g.captured))
	for _, r := range g.resolvers {
		add(string(r))
	}
	if config := g.dns.Config; config != nil {
		add(config.Nameservers...)
		add(config.Searches...)
		for _, option := range config.Options {
			add(option.Name)
			if option.Value != nil {
				add(*option.Value)
			}
		}
	}
	return b.String()
}

// Namespaces are those of all pods, sorted.
func (c *Clients) Namespaces() []string {
	var names []string
	for name := range c.names.namespaces {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// find returns the pod that an address belonged to at a time (0: not known). It is
// an index into tenures, or below 0 with the reason.
//
//	pods with the address at that time     whose it is
//	none                                   nobody's that is known
//	one of the host network                the node's
//	some that have not ended by then       the latest's
//	one that has ended, nothing says when  nobody's: what came after it may be of another
func (c *Clients) find(r *querylog.Record) (index int32, why Reason) {
	if len(r.Pod) > 0 {
		return c.findPod(r)
	}
	address, unix := r.Client, r.Unix
	owners := c.byAddress[string(address)]
	if len(owners) == 0 {
		if c.nodes[string(address)] {
			return -1, ReasonHostNetwork
		}
		return -1, ReasonUnknownAddress
	}
	if unix == 0 {
		// Which pod does not matter if they are all alike. Pods of the host
		// network are not, though what they say is the same.
		for _, owner := range owners {
			if len(owners) > 1 && c.groups[c.tenures[owner].group].why == ReasonHostNetwork {
				return -1, ReasonHostNetwork
			}
			if c.tenures[owner].group != c.tenures[owners[0]].group {
				return -1, ReasonReusedAddress
			}
		}
		return owners[0], ""
	}
	skew := int64(0)
	if len(owners) == 1 {
		skew = clockSkew
	}
	best := int32(-1)
	for _, owner := range owners {
		t := &c.tenures[owner]
		if len(owners) > 1 && c.groups[t.group].why == ReasonHostNetwork {
			return -1, ReasonHostNetwork
		}
		if t.from > unix+skew || t.to != 0 && unix > t.to+skew {
			continue
		}
		if best < 0 || t.from > c.tenures[best].from {
			best = owner
		}
	}
	switch {
	case best >= 0:
		return best, ""
	case len(owners) > 1:
		return -1, ReasonReusedAddress
	}
	return -1, ReasonUnknownAddress
}

// findPod returns the pod that a record names. Of several with that name, as of a
// StatefulSet's over time, it is the one that was there.
func (c *Clients) findPod(r *querylog.Record) (index int32, why Reason) {
	var buffer [maxPodKey]byte
	owners := c.byPod[string(appendPodKey(buffer[:0], r.Namespace, r.Pod))]
	if len(owners) == 0 {
		return -1, ReasonUnknownPod
	}
	best := owners[len(owners)-1]
	for _, owner := range owners {
		if t := &c.tenures[owner]; r.Unix != 0 && t.from <= r.Unix+clockSkew && (t.to == 0 || r.Unix <= t.to+clockSkew) {
			best = owner
		}
	}
	return best, ""
}

// maxPodKey is as long as the names of a namespace and of a pod can be.
const maxPodKey = 63 + 1 + 253

// podKey is a pod by its namespace and name.
func podKey(namespace, name []byte) []byte {
	return appendPodKey(nil, namespace, name)
}

func appendPodKey(key, namespace, name []byte) []byte {
	return append(append(append(key, namespace...), '/'), name...)
}

// clockSkew in seconds is how far a log's clock may be from the API server's.
const clockSkew = 5
