package resolver_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/resolver"
)

// measuredNode is the node on which a real kubelet v1.36.3 wrote the files that
// TestKubeletAsMeasured expects.
func measuredNode() resolver.Node {
	return resolver.Node{
		ClusterDNS:    []string{"10.96.0.10"},
		ClusterDomain: "cluster.local",
		Host: resolver.ResolvConf{
			Nameservers: []string{"10.9.9.9", "10.9.9.8"},
			Searches:    []string{"corp.example.com"},
			Options:     []string{"edns0", "trust-ad"},
		},
	}
}

func option(name, value string) resolver.Option {
	return resolver.Option{Name: name, Value: &value}
}

// ndots is a dnsConfig that sets nothing else.
func ndots(value string) *resolver.DNSConfig {
	return &resolver.DNSConfig{Options: []resolver.Option{option("ndots", value)}}
}

// nodeLocal is the dnsConfig of a pod that asks its node's cache first.
func nodeLocal(options ...resolver.Option) *resolver.DNSConfig {
	return &resolver.DNSConfig{
		Nameservers: []string{"169.254.20.10", "10.96.0.10"},
		Searches:    []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"},
		Options:     options,
	}
}

func TestKubeletAsMeasured(t *testing.T) {
	t.Parallel()
	clusterSearches := []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"}
	clusterAndHost := append(slices.Clone(clusterSearches), "corp.example.com")
	plainCluster := resolver.ResolvConf{
		Nameservers: []string{"10.96.0.10"},
		Searches:    clusterAndHost,
		Options:     []string{"ndots:5"},
	}
	tests := map[string]struct {
		pod   resolver.PodDNS
		want  resolver.ResolvConf
		notes []string
	}{
		"ClusterFirst gets cluster DNS, the node's search domains last, and none of its options": {
			pod:  resolver.PodDNS{Policy: "ClusterFirst"},
			want: plainCluster,
		},
		"an own ndots replaces the cluster's": {
			pod: resolver.PodDNS{Policy: "ClusterFirst", Config: ndots("2")},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.96.0.10"},
				Searches:    clusterAndHost,
				Options:     []string{"ndots:2"},
			},
		},
		"an own nameserver of a ClusterFirst pod comes second": {
			pod: resolver.PodDNS{
				Policy: "ClusterFirst",
				Config: &resolver.DNSConfig{Nameservers: []string{"169.254.20.10"}},
			},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.96.0.10", "169.254.20.10"},
				Searches:    clusterAndHost,
				Options:     []string{"ndots:5"},
			},
		},
		"ClusterFirst on the host network adds to the node's settings, and the limit cuts cluster DNS": {
			pod: resolver.PodDNS{Policy: "ClusterFirst", HostNetwork: true, Config: nodeLocal(option("ndots", "3"))},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.9.9.9", "10.9.9.8", "169.254.20.10"},
				Searches:    append([]string{"corp.example.com"}, clusterSearches...),
				Options:     []string{"edns0", "trust-ad", "ndots:3"},
			},
			notes: []string{"DNSConfigForming: more than 3 nameservers, left out: 10.96.0.10"},
		},
		"ClusterFirstWithHostNet on the host network is like ClusterFirst off it": {
			pod:  resolver.PodDNS{Policy: "ClusterFirstWithHostNet", HostNetwork: true},
			want: plainCluster,
		},
		"ClusterFirstWithHostNet off the host network is like ClusterFirst": {
			pod:  resolver.PodDNS{Policy: "ClusterFirstWithHostNet"},
			want: plainCluster,
		},
		"Default gets the node's settings and adds options to the node's": {
			pod: resolver.PodDNS{Policy: "Default", Config: ndots("2")},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.9.9.9", "10.9.9.8"},
				Searches:    []string{"corp.example.com"},
				Options:     []string{"edns0", "trust-ad", "ndots:2"},
			},
		},
		"None gets exactly the pod's settings": {
			pod: resolver.PodDNS{Policy: "None", Config: nodeLocal(option("ndots", "3"))},
			want: resolver.ResolvConf{
				Nameservers: []string{"169.254.20.10", "10.96.0.10"},
				Searches:    clusterSearches,
				Options:     []string{"ndots:3"},
			},
		},
		"None without ndots has no options at all": {
			pod: resolver.PodDNS{Policy: "None", Config: nodeLocal()},
			want: resolver.ResolvConf{
				Nameservers: []string{"169.254.20.10", "10.96.0.10"},
				Searches:    clusterSearches,
			},
		},
		"None with a nameserver only has no search domains and no options": {
			pod: resolver.PodDNS{
				Policy: "None",
				Config: &resolver.DNSConfig{Nameservers: []string{"169.254.20.10"}},
			},
			want: resolver.ResolvConf{Nameservers: []string{"169.254.20.10"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.pod.Namespace = "shop"
			check(t, measuredNode(), test.pod, test.want, test.notes)
		})
	}
}

func TestKubelet(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a.", 126) + "aa" // 254 characters
	fits := strings.Repeat("a.", 126) + "a"  // 253
	// Eight domains of 253 characters and the spaces between them are 2031
	// characters long, so 16 more and a space make exactly 2048.
	var eight []string
	for i := range 8 {
		eight = append(eight, fits[:252]+string(rune('b'+i)))
	}
	many := func(from, to int) (domains []string) {
		for i := from; i < to; i++ {
			domains = append(domains, fmt.Sprintf("s%d", i))
		}
		return domains
	}
	const searchNote = "DNSConfigForming: more than 32 search domains, 253 characters in one or 2048 in all, left out: "

	host := measuredNode().Host
	clusterSearches := []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example.com"}
	plainCluster := resolver.ResolvConf{
		Nameservers: []string{"10.96.0.10"},
		Searches:    clusterSearches,
		Options:     []string{"ndots:5"},
	}
	none := func(config resolver.DNSConfig) resolver.PodDNS {
		return resolver.PodDNS{Policy: "None", Config: &config}
	}
	tests := map[string]struct {
		change func(*resolver.Node)
		pod    resolver.PodDNS
		want   resolver.ResolvConf
		notes  []string
	}{
		"an empty policy is ClusterFirst": {
			pod:  resolver.PodDNS{},
			want: plainCluster,
		},
		"an empty policy on the host network is Default": {
			pod:  resolver.PodDNS{HostNetwork: true},
			want: host,
		},
		"an unknown policy gets cluster DNS on the host network too": {
			pod:   resolver.PodDNS{Policy: "Clusterfirst", HostNetwork: true},
			want:  plainCluster,
			notes: []string{`dnsPolicy "Clusterfirst" is unknown, kubelet takes it for ClusterFirst on the pod network`},
		},
		"without cluster DNS a ClusterFirst pod gets the node's settings, options included": {
			change: func(n *resolver.Node) { n.ClusterDNS = nil },
			pod:    resolver.PodDNS{Policy: "ClusterFirst"},
			want:   host,
			notes:  []string{"MissingClusterDNS: kubelet has no cluster DNS address, so the pod is treated as with dnsPolicy Default"},
		},
		"without cluster DNS the other policies get no note": {
			change: func(n *resolver.Node) { n.ClusterDNS = nil },
			pod:    resolver.PodDNS{Policy: "Default"},
			want:   host,
		},
		"without a cluster domain there are no cluster search domains, and the node's keep their duplicates": {
			change: func(n *resolver.Node) { n.ClusterDomain = ""; n.Host.Searches = []string{"a", "b", "a"} },
			pod:    resolver.PodDNS{Policy: "ClusterFirst"},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.96.0.10"},
				Searches:    []string{"a", "b", "a"},
				Options:     []string{"ndots:5"},
			},
		},
		"a search domain of both cluster and node is listed once": {
			change: func(n *resolver.Node) { n.Host.Searches = []string{"a", "cluster.local", "a"} },
			pod:    resolver.PodDNS{Policy: "ClusterFirst"},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.96.0.10"},
				Searches:    []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "a"},
				Options:     []string{"ndots:5"},
			},
		},
		"cluster DNS addresses are written canonically, and what is no address is skipped": {
			change: func(n *resolver.Node) {
				n.ClusterDNS = []string{"10.96.0", "FD00:0::A", "::ffff:010.096.00.010", "fe80::1%eth0", "000.0.0.01"}
			},
			pod: resolver.PodDNS{Policy: "ClusterFirst"},
			want: resolver.ResolvConf{
				Nameservers: []string{"fd00::a", "10.96.0.10", "0.0.0.1"},
				Searches:    clusterSearches,
				Options:     []string{"ndots:5"},
			},
			notes: []string{`kubelet's clusterDNS has entries that are no IP address, left out: ["10.96.0" "fe80::1%eth0"]`},
		},
		"cluster DNS without one valid address counts as missing": {
			change: func(n *resolver.Node) { n.ClusterDNS = []string{"", "1.2..3"} },
			pod:    resolver.PodDNS{Policy: "ClusterFirst"},
			want:   host,
			notes: []string{
				`kubelet's clusterDNS has entries that are no IP address, left out: ["" "1.2..3"]`,
				"MissingClusterDNS: kubelet has no cluster DNS address, so the pod is treated as with dnsPolicy Default",
			},
		},
		"without a dnsConfig the node's duplicates stay": {
			change: func(n *resolver.Node) {
				n.Host = resolver.ResolvConf{Nameservers: []string{"10.9.9.9", "10.9.9.9"}, Searches: []string{"a", "a"}}
			},
			pod:  resolver.PodDNS{Policy: "Default"},
			want: resolver.ResolvConf{Nameservers: []string{"10.9.9.9", "10.9.9.9"}, Searches: []string{"a", "a"}},
		},
		"with an empty dnsConfig they go": {
			change: func(n *resolver.Node) {
				n.Host = resolver.ResolvConf{Nameservers: []string{"10.9.9.9", "10.9.9.9"}, Searches: []string{"a", "a"}}
			},
			pod:  resolver.PodDNS{Policy: "Default", Config: &resolver.DNSConfig{}},
			want: resolver.ResolvConf{Nameservers: []string{"10.9.9.9"}, Searches: []string{"a"}},
		},
		"what the pod repeats is listed once": {
			pod: resolver.PodDNS{Policy: "ClusterFirst", Config: &resolver.DNSConfig{
				Nameservers: []string{"10.96.0.10", "10.0.0.1"},
				Searches:    []string{"svc.cluster.local", "a"},
			}},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.96.0.10", "10.0.0.1"},
				Searches:    append(slices.Clone(clusterSearches), "a"),
				Options:     []string{"ndots:5"},
			},
		},
		"a duplicate does not use up a nameserver's place": {
			pod:  none(resolver.DNSConfig{Nameservers: []string{"10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.3"}}),
			want: resolver.ResolvConf{Nameservers: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}},
		},
		"dots in the pod's search domains are kept": {
			pod:  none(resolver.DNSConfig{Searches: []string{".", "a.", "a"}}),
			want: resolver.ResolvConf{Searches: []string{".", "a.", "a"}},
		},
		"of options with the same name the last wins in the place of the first": {
			pod: resolver.PodDNS{Policy: "Default", Config: &resolver.DNSConfig{Options: []resolver.Option{
				option("timeout", "1"), option("trust-ad", "x"), option("timeout", "2"),
			}}},
			want: resolver.ResolvConf{
				Nameservers: host.Nameservers,
				Searches:    host.Searches,
				Options:     []string{"edns0", "trust-ad:x", "timeout:2"},
			},
		},
		"an option without a value and one with an empty value are bare words": {
			pod: resolver.PodDNS{Policy: "ClusterFirst", Config: &resolver.DNSConfig{Options: []resolver.Option{
				{Name: "use-vc"}, option("rotate", ""), option("ndots", ""),
			}}},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.96.0.10"},
				Searches:    clusterSearches,
				Options:     []string{"ndots", "use-vc", "rotate"},
			},
		},
		"any value of an option passes": {
			pod: resolver.PodDNS{Policy: "ClusterFirst", Config: ndots("banana")},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.96.0.10"},
				Searches:    clusterSearches,
				Options:     []string{"ndots:banana"},
			},
		},
		"an option whose name contains the value stands beside the one it contradicts": {
			pod: resolver.PodDNS{Policy: "ClusterFirst", Config: &resolver.DNSConfig{Options: []resolver.Option{{Name: "ndots:2"}}}},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.96.0.10"},
				Searches:    clusterSearches,
				Options:     []string{"ndots:5", "ndots:2"},
			},
			notes: []string{"option ndots is set more than once, and kubelet's order of options is random"},
		},
		"the node's own surplus of nameservers is cut": {
			change: func(n *resolver.Node) { n.Host.Nameservers = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"} },
			pod:    resolver.PodDNS{Policy: "Default"},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"},
				Searches:    host.Searches,
				Options:     host.Options,
			},
			notes: []string{"DNSConfigForming: more than 3 nameservers, left out: 10.0.0.4"},
		},
		"32 search domains fit": {
			pod:  none(resolver.DNSConfig{Searches: many(0, 32)}),
			want: resolver.ResolvConf{Searches: many(0, 32)},
		},
		"the cluster's search domains count": {
			pod: resolver.PodDNS{Policy: "ClusterFirst", Config: &resolver.DNSConfig{Searches: many(0, 29)}},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.96.0.10"},
				Searches:    append(slices.Clone(clusterSearches), many(0, 28)...),
				Options:     []string{"ndots:5"},
			},
			notes: []string{searchNote + "s28"},
		},
		"a search domain that is too long is left out alone": {
			pod:   none(resolver.DNSConfig{Searches: []string{"a", long, fits}}),
			want:  resolver.ResolvConf{Searches: []string{"a", fits}},
			notes: []string{searchNote + long},
		},
		"a search domain that is too long uses up a place": {
			pod:   none(resolver.DNSConfig{Searches: slices.Concat([]string{long}, many(0, 32))}),
			want:  resolver.ResolvConf{Searches: many(0, 31)},
			notes: []string{searchNote + long + " s31"},
		},
		"search domains of 2048 characters together fit": {
			pod:  none(resolver.DNSConfig{Searches: append(slices.Clone(eight), strings.Repeat("x", 16))}),
			want: resolver.ResolvConf{Searches: append(slices.Clone(eight), strings.Repeat("x", 16))},
		},
		"after one search domain too many even a short one is left out": {
			pod:   none(resolver.DNSConfig{Searches: append(slices.Clone(eight), strings.Repeat("x", 17), "y")}),
			want:  resolver.ResolvConf{Searches: eight},
			notes: []string{searchNote + strings.Repeat("x", 17) + " y"},
		},
		"both limits give one note each": {
			pod: none(resolver.DNSConfig{
				Nameservers: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"},
				Searches:    many(0, 34),
			}),
			want: resolver.ResolvConf{Nameservers: []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}, Searches: many(0, 32)},
			notes: []string{
				"DNSConfigForming: more than 3 nameservers, left out: 10.0.0.4 10.0.0.5",
				searchNote + "s32 s33",
			},
		},
		"None without a dnsConfig is empty": {
			pod:  resolver.PodDNS{Policy: "None"},
			want: resolver.ResolvConf{},
		},
		"without a host file Default means loopback and the search domain dot": {
			change: func(n *resolver.Node) { n.NoHostFile = true },
			pod:    resolver.PodDNS{Policy: "Default"},
			want:   resolver.ResolvConf{Nameservers: []string{"127.0.0.1"}, Searches: []string{"."}},
		},
		"without a host file the loopback follows the node's addresses": {
			change: func(n *resolver.Node) { n.NoHostFile = true; n.IPs = []string{"fd00::1", "10.0.0.1"} },
			pod:    resolver.PodDNS{Policy: "Default", Config: ndots("2")},
			want: resolver.ResolvConf{
				Nameservers: []string{"::1", "127.0.0.1"},
				Searches:    []string{"."},
				Options:     []string{"ndots:2"},
			},
		},
		"without a host file ClusterFirst has the cluster's search domains only": {
			change: func(n *resolver.Node) { n.NoHostFile = true },
			pod:    resolver.PodDNS{Policy: "ClusterFirst"},
			want: resolver.ResolvConf{
				Nameservers: []string{"10.96.0.10"},
				Searches:    clusterSearches[:3],
				Options:     []string{"ndots:5"},
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := measuredNode()
			if test.change != nil {
				test.change(&node)
			}
			test.pod.Namespace = "shop"
			check(t, node, test.pod, test.want, test.notes)
		})
	}
}

func check(t *testing.T, node resolver.Node, pod resolver.PodDNS, want resolver.ResolvConf, wantNotes []string) {
	t.Helper()
	got, notes := node.ResolvConf(pod)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resolv.conf (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantNotes, notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

// TestKubeletProperties checks what holds for every node and pod.
func TestKubeletProperties(t *testing.T) {
	t.Parallel()
	random := generator{rand.New(rand.NewPCG(1, 2))}
	truncated := 0
	for range 5000 {
		node, pod := random.node(), random.pod()
		conf, notes := node.ResolvConf(pod)

		searchList := strings.Join(conf.Searches, " ")
		if len(conf.Nameservers) > resolver.MaxNameservers ||
			len(conf.Searches) > resolver.MaxSearches ||
			len(searchList) > resolver.MaxSearchListLength {
			t.Fatalf("limits exceeded by %+v of %+v: %+v", pod, node, conf)
		}
		for _, domain := range conf.Searches {
			if len(domain) > resolver.MaxSearchLength {
				t.Fatalf("search domain of %d characters: %+v", len(domain), conf)
			}
		}
		for _, note := range notes {
			if strings.HasPrefix(note, "DNSConfigForming: ") {
				truncated++
			}
		}

		parsed, err := resolver.ParseResolvConf(conf.String())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(conf, parsed); diff != "" {
			t.Fatalf("printed and parsed (-printed +parsed):\n%s", diff)
		}

		// The same again gives the same, so nothing was changed or shared, even
		// if the caller writes into what it got.
		want := clone(conf)
		for _, entries := range [][]string{conf.Nameservers, conf.Searches, conf.Options} {
			for i := range entries {
				entries[i] = "overwritten"
			}
			_ = append(entries, "overwritten")
		}
		again, notesAgain := node.ResolvConf(pod)
		if diff := cmp.Diff(want, again); diff != "" {
			t.Fatalf("a second call (-first +second):\n%s", diff)
		}
		if diff := cmp.Diff(notes, notesAgain); diff != "" {
			t.Fatalf("notes of a second call (-first +second):\n%s", diff)
		}

		if pod.Policy == "None" {
			elsewhere, _ := random.node().ResolvConf(pod)
			if diff := cmp.Diff(want, elsewhere); diff != "" {
				t.Fatalf("dnsPolicy None depends on the node (-here +there):\n%s", diff)
			}
		}
		if pod.Policy == "ClusterFirst" && pod.HostNetwork {
			pod.Policy = "Default"
			asDefault, _ := node.ResolvConf(pod)
			if diff := cmp.Diff(want, asDefault); diff != "" {
				t.Fatalf("ClusterFirst on the host network is not Default (-want +got):\n%s", diff)
			}
		}
	}
	if truncated == 0 {
		t.Error("no case reached a limit: the generator is too tame")
	}
}

func clone(conf resolver.ResolvConf) resolver.ResolvConf {
	return resolver.ResolvConf{
		Nameservers: slices.Clone(conf.Nameservers),
		Searches:    slices.Clone(conf.Searches),
		Options:     slices.Clone(conf.Options),
	}
}

// generator makes nodes and pods whose entries survive being printed: without
// white space, without trailing dots, and without colons in option names.
type generator struct{ *rand.Rand }

func (g generator) node() resolver.Node {
	node := resolver.Node{
		ClusterDNS: g.addresses(3),
		Host: resolver.ResolvConf{
			Nameservers: g.addresses(5),
			Searches:    g.domains(),
		},
	}
	for _, option := range []string{"edns0", "ndots:2", "timeout:1"} {
		if g.IntN(2) == 0 {
			node.Host.Options = append(node.Host.Options, option)
		}
	}
	if g.IntN(4) > 0 {
		node.ClusterDomain = "cluster.local"
	}
	return node
}

func (g generator) pod() resolver.PodDNS {
	policies := []string{"", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None", "Other"}
	pod := resolver.PodDNS{
		Namespace:   "shop",
		Policy:      policies[g.IntN(len(policies))],
		HostNetwork: g.IntN(2) == 0,
	}
	if g.IntN(4) == 0 {
		return pod
	}
	pod.Config = &resolver.DNSConfig{Nameservers: g.addresses(4), Searches: g.domains()}
	for range g.IntN(5) {
		names := []string{"ndots", "timeout", "edns0", "use-vc"}
		option := resolver.Option{Name: names[g.IntN(len(names))]}
		if value := []string{"", "1", "2", "banana"}[g.IntN(4)]; g.IntN(2) == 0 {
			option.Value = &value
		}
		pod.Config.Options = append(pod.Config.Options, option)
	}
	return pod
}

func (g generator) addresses(most int) (addresses []string) {
	for range g.IntN(most + 1) {
		addresses = append(addresses, fmt.Sprintf("10.0.0.%d", g.IntN(6)))
	}
	return addresses
}

func (g generator) domains() (domains []string) {
	count := g.IntN(4)
	if g.IntN(4) == 0 {
		count = g.IntN(resolver.MaxSearches + 8)
	}
	for range count {
		domain := fmt.Sprintf("s%d.example", g.IntN(40))
		if g.IntN(3) == 0 {
			domain = strings.Repeat("d.", g.IntN(130)) + domain
		}
		domains = append(domains, domain)
	}
	return domains
}
