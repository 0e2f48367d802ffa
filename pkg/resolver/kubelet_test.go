package resolver_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/testfile"
)

// measuredNode is the node on which a real kubelet v1.36.3 wrote the files of testdata/kubelet/measured. The other cases say
// what is different on theirs.
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

// TestKubelet holds the model to the case files: the resolv.conf of a pod in the namespace shop, and what kubelet has to say
// about it.
func TestKubelet(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"testdata/kubelet/measured", "testdata/kubelet"} {
		testfile.Each(t, folder, func(t *testing.T, c *testfile.Case) {
			c.OnlyHas(t, "node.yaml", "pod.yaml", "resolv.conf", "notes")
			node, pod := measuredNode(), resolver.PodDNS{Namespace: "shop"}
			readYAML(t, c, "node.yaml", &node)
			readYAML(t, c, "pod.yaml", &pod)
			conf, notes := node.ResolvConf(pod)
			c.Expect(t, "resolv.conf", []byte(conf.String()))
			c.Expect(t, "notes", []byte(lines(notes)))
		})
	}
}

// lines has each of the texts in a line.
func lines(texts []string) string {
	if len(texts) == 0 {
		return ""
	}
	return strings.Join(texts, "\n") + "\n"
}

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
