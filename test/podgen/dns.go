package podgen

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The limits of the API for a pod's DNS configuration.
const (
	maxNameservers     = 3
	maxSearches        = 32
	maxSearchListChars = 2048
	maxSearchChars     = 253
)

// dns draws dnsPolicy and dnsConfig, with the limits of the API reached or nearly so in every fifth configuration.
func (g *gen) dns(spec *corev1.PodSpec) {
	spec.DNSPolicy = pick(g, "", "", corev1.DNSClusterFirst, corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet, corev1.DNSDefault, corev1.DNSNone)
	if g.hostNetwork && g.oneIn(3) {
		spec.DNSPolicy = corev1.DNSClusterFirstWithHostNet
	}
	if spec.DNSPolicy != corev1.DNSNone && g.oneIn(3) {
		return
	}

	config := &corev1.PodDNSConfig{}
	spec.DNSConfig = config
	switch {
	case spec.DNSPolicy == corev1.DNSNone:
		config.Nameservers = g.nameservers(g.between(1, maxNameservers))
	case g.oneIn(8):
		return // {}
	case g.oneIn(2):
		config.Nameservers = g.nameservers(g.between(0, maxNameservers))
	}
	if g.oneIn(2) {
		config.Searches = g.searches()
	}
	if g.oneIn(3) {
		return
	}
	for range pick(g, 0, 1, 1, 2, 3, g.between(4, 12)) {
		config.Options = append(config.Options, g.dnsOption())
	}
	if len(config.Options) > 0 && g.oneIn(5) {
		config.Options = append(config.Options, pick(g, config.Options...))
	}
}

// nameservers draws addresses with repetitions and several spellings of one address, ours among them.
func (g *gen) nameservers(n int) []string {
	var servers []string
	for range n {
		servers = append(servers, pick(g, "169.254.20.10", "10.0.0.10", "10.96.0.10", "8.8.8.8",
			"fd00::a", "FD00:0:0:0::A", "fe80::1", "2001:4860:4860::8888", "::1"))
	}
	return servers
}

func (g *gen) searches() []string {
	var searches []string
	switch g.IntN(5) {
	case 0: // many
		for range pick(g, maxSearches, maxSearches, maxSearches-1, maxSearches-2, maxSearches-3, maxSearches-4, g.between(10, maxSearches)) {
			searches = append(searches, g.search())
		}
	case 1: // long
		searches = g.longSearches(pick(g, maxSearchListChars, maxSearchListChars-1, maxSearchListChars-g.IntN(200)), g.between(9, maxSearches))
	default:
		for range g.IntN(5) {
			searches = append(searches, g.search())
		}
	}
	return searches
}

func (g *gen) search() string {
	return pick(g,
		"corp.example.com", "corp.example.com.", ".", "_tcp.example.com", "a_b.example_x.com", "com", g.domain(g.between(8, 40)),
		// those of the cluster, as a user of None writes them, and those of another namespace
		g.namespace+".svc.cluster.local", "svc.cluster.local", "cluster.local", "cluster.local.", "other.svc.cluster.local",
	)
}

// longSearches returns n search domains that take total characters with the spaces between them.
func (g *gen) longSearches(total, n int) []string {
	searches := make([]string, n)
	left := total - (n - 1)
	for i := range searches {
		length := min(left/(n-i), maxSearchChars)
		if i == n-1 {
			length = min(left, maxSearchChars)
		}
		searches[i] = g.domain(length)
		if g.oneIn(6) { // the trailing dot counts too
			searches[i] = searches[i][:length-2] + "z."
		}
		left -= length
	}
	if got := len(strings.Join(searches, " ")); got > maxSearchListChars {
		panic("podgen: search list too long")
	}
	return searches
}

// dnsOption draws an option. The API wants a name and looks no further.
func (g *gen) dnsOption() corev1.PodDNSConfigOption {
	with := func(name, value string) corev1.PodDNSConfigOption {
		return corev1.PodDNSConfigOption{Name: name, Value: &value}
	}
	switch g.IntN(8) {
	case 0, 1:
		return with("ndots", pick(g, "1", "2", "3", "5", "15", "0", "-1", "banana", "", " 2", "99999999999999999999"))
	case 2:
		return with(pick(g, "timeout", "attempts"), pick(g, "1", "2", "", "1s"))
	case 3:
		return corev1.PodDNSConfigOption{Name: pick(g, "edns0", "rotate", "single-request-reopen", "use-vc", "trust-ad", "no-reload")}
	case 4:
		return corev1.PodDNSConfigOption{Name: pick(g, "ndots", "timeout")} // without the value that it needs
	case 5:
		return with(pick(g, "edns0", "use-vc"), "") // an empty value is no value to the kubelet
	case 6: // the value in the name
		return corev1.PodDNSConfigOption{Name: pick(g, "ndots:2", "NDOTS", " ndots", "timeout:1 attempts:3")}
	default:
		return with(pick(g, "garbage", "ünïcödé", "~1/~0", " ", "a\nb"), pick(g, "1", "", "\"quoted\"", "x:y", g.text(300)))
	}
}
