package advisor

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Pod is what is read of a pod to find it in a log. It decodes from the API's
// JSON.
type Pod struct {
	Metadata Metadata `json:"metadata"`
	Spec     Spec     `json:"spec"`
	Status   Status   `json:"status"`
}

// Metadata is the part of a pod's metadata that is read.
type Metadata struct {
	policy.PodMetadata
	CreationTimestamp time.Time  `json:"creationTimestamp,omitzero"`
	DeletionTimestamp *time.Time `json:"deletionTimestamp,omitzero"`
}

// Spec is the part of a pod's spec that is read.
type Spec struct {
	InitContainers []Container       `json:"initContainers,omitzero"`
	Containers     []Container       `json:"containers,omitzero"`
	DNSPolicy      string            `json:"dnsPolicy,omitzero"`
	DNSConfig      *policy.DNSConfig `json:"dnsConfig,omitzero"`
	HostNetwork    bool              `json:"hostNetwork,omitzero"`
	NodeSelector   map[string]string `json:"nodeSelector,omitzero"`
	OS             policy.PodOS      `json:"os,omitzero"`
}

// Container is the part of a container that is read.
type Container struct {
	Image string `json:"image"`
}

// Status is the part of a pod's status that is read.
type Status struct {
	Phase             string            `json:"phase,omitzero"`
	HostIP            string            `json:"hostIP,omitzero"`
	PodIP             string            `json:"podIP,omitzero"`
	PodIPs            []PodIP           `json:"podIPs,omitzero"`
	StartTime         *time.Time        `json:"startTime,omitzero"`
	ContainerStatuses []ContainerStatus `json:"containerStatuses,omitzero"`
}

// PodIP is one of a pod's addresses.
type PodIP struct {
	IP string `json:"ip"`
}

// ContainerStatus tells when a container ended.
type ContainerStatus struct {
	State struct {
		Terminated *struct {
			FinishedAt time.Time `json:"finishedAt"`
		} `json:"terminated,omitzero"`
	} `json:"state"`
}

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
	// rule is the policy's that Shorthop has decided by, "" for none.
	rule string
	// injected is how many of the nameservers are Shorthop's, in mode NodeLocal.
	injected int
	why      Reason // why there is no recommendation, or ""
	pods     int
}

// tenure is the time for which an address belonged to a pod. A zero end is open.
type tenure struct {
	group    int32
	from, to int64 // Unix seconds
}

// Clients knows which pod has, or had, which address.
type Clients struct {
	resolverOf func(image string) resolver.Resolver
	groups     []group
	groupOf    map[string]int32
	// byAddress has indexes into tenures by an address's text.
	byAddress map[string][]int32
	// nodes are the addresses of the pods' nodes.
	nodes      map[string]bool
	tenures    []tenure
	namespaces map[string]bool
	pods       int
}

// NewClients makes an empty set. resolverOf says which resolver an image contains,
// "" where that is not known; nil knows none.
func NewClients(resolverOf func(image string) resolver.Resolver) *Clients {
	return &Clients{
		resolverOf: resolverOf,
		groupOf:    make(map[string]int32),
		byAddress:  make(map[string][]int32),
		nodes:      make(map[string]bool),
		namespaces: make(map[string]bool),
	}
}

// Len is the number of pods.
func (c *Clients) Len() int { return c.pods }

// Add adds a pod.
func (c *Clients) Add(p *Pod) {
	c.pods++
	c.namespaces[p.Metadata.Namespace] = true
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
	t := tenure{group: c.group(p), from: p.Metadata.CreationTimestamp.Unix(), to: p.end()}
	if p.Metadata.CreationTimestamp.IsZero() {
		t.from = 0
	}
	c.tenures = append(c.tenures, t)
	for _, address := range addresses {
		c.byAddress[address] = append(c.byAddress[address], int32(len(c.tenures)-1))
	}
}

// end is when the pod gave its address back, as far as that is known.
func (p *Pod) end() int64 {
	var end int64
	if p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
		for i := range p.Status.ContainerStatuses {
			if t := p.Status.ContainerStatuses[i].State.Terminated; t != nil && !t.FinishedAt.IsZero() {
				end = max(end, t.FinishedAt.Unix())
			}
		}
	}
	if end == 0 && p.Metadata.DeletionTimestamp != nil {
		end = p.Metadata.DeletionTimestamp.Unix() // includes the grace period
	}
	return end
}

func (c *Clients) group(p *Pod) int32 {
	pod := policy.Pod{Metadata: p.Metadata.PodMetadata}
	workload := pod.Workload()
	g := group{
		workload: WorkloadKey{p.Metadata.Namespace, workload.Kind, workload.Name},
		dns:      resolver.PodDNS{Namespace: p.Metadata.Namespace, Policy: p.Spec.DNSPolicy, HostNetwork: p.Spec.HostNetwork},
	}
	if config := p.Spec.DNSConfig; config != nil {
		g.dns.Config = &resolver.DNSConfig{Nameservers: config.Nameservers, Searches: config.Searches}
		for _, option := range config.Options {
			g.dns.Config.Options = append(g.dns.Config.Options, resolver.Option{Name: option.Name, Value: option.Value})
		}
	}
	// What Shorthop says it did. If somebody else wrote that, a rule is
	// recommended that changes nothing.
	var record struct {
		Rule  string         `json:"rule"`
		DNS   policy.DNSMode `json:"dns"`
		Added struct {
			Options     []string `json:"options"`
			Nameservers int      `json:"nameservers"`
		} `json:"added"`
	}
	if text := p.Metadata.Annotations[policy.AnnotationInjected]; text != "" {
		_ = json.Unmarshal([]byte(text), &record) // one that cannot be read says nothing
	}
	pod.Spec.DNSConfig = p.Spec.DNSConfig
	if pod.HasOption("ndots") && !slices.Contains(record.Added.Options, "ndots") {
		g.usersNdots = true
	}
	if record.Rule != policy.DefaultRule {
		g.rule = record.Rule
	}
	if record.DNS == policy.DNSModeNodeLocal {
		g.injected = record.Added.Nameservers
	}
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
	switch {
	case p.Spec.HostNetwork || p.Status.HostIP != "" && p.Status.HostIP == p.Status.PodIP:
		g.why = ReasonHostNetwork
	case p.Spec.OS.Name == "windows" || p.Spec.NodeSelector["kubernetes.io/os"] == "windows":
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
	return i
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
	add(g.workload.Namespace, g.workload.Kind, g.workload.Name, string(g.why), g.dns.Policy, strconv.FormatBool(g.usersNdots), strconv.Itoa(g.injected), g.rule)
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
	for name := range c.namespaces {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// find returns the pod that an address belonged to at a time (0: not known). It is
// an index into tenures, or below 0 with the reason.
func (c *Clients) find(address []byte, unix int64) (index int32, why Reason) {
	owners := c.byAddress[string(address)]
	switch len(owners) {
	case 0:
		if c.nodes[string(address)] {
			return -1, ReasonHostNetwork
		}
		return -1, ReasonUnknownAddress
	case 1:
		if t := &c.tenures[owners[0]]; unix != 0 && (t.from > unix+clockSkew || t.to != 0 && unix > t.to+clockSkew) {
			return -1, ReasonUnknownAddress
		}
		return owners[0], ""
	}
	if unix == 0 {
		// Which pod does not matter if they are all alike. Pods of the host
		// network are not, though what they say is the same.
		for _, owner := range owners {
			if c.groups[c.tenures[owner].group].why == ReasonHostNetwork {
				return -1, ReasonHostNetwork
			}
			if c.tenures[owner].group != c.tenures[owners[0]].group {
				return -1, ReasonReusedAddress
			}
		}
		return owners[0], ""
	}
	// The latest that had been created by then.
	best := int32(-1)
	for _, owner := range owners {
		t := &c.tenures[owner]
		if c.groups[t.group].why == ReasonHostNetwork {
			return -1, ReasonHostNetwork
		}
		if t.from > unix || t.to != 0 && unix > t.to {
			continue
		}
		if best < 0 || t.from > c.tenures[best].from {
			best = owner
		}
	}
	if best < 0 {
		return -1, ReasonReusedAddress
	}
	return best, ""
}

// clockSkew in seconds is how far a log's clock may be from the API server's.
const clockSkew = 5
