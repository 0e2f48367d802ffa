// Package kubeletdns compares the model of kubelet's resolv.conf, pkg/resolver, with kubelet's own code.
package kubeletdns

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/kubelet/network/dns"
	netutils "k8s.io/utils/net"

	"github.com/shorthop/shorthop/pkg/resolver"
)

var (
	seed  = flag.Uint64("seed", 1, "seed of the random settings")
	cases = flag.Int("cases", 20_000, "number of random settings")
)

// setting is one pod on one node.
type setting struct {
	clusterDNS    []string
	clusterDomain string
	nodeIPs       []string
	hostFile      string // text
	noHostFile    bool
	pod           *corev1.Pod
}

func TestModelEqualsKubelet(t *testing.T) {
	t.Logf("%d cases, replay with -seed %d", *cases, *seed)
	klog.SetLogger(klog.Logger{}) // kubelet logs every limit that is exceeded
	rng := rand.New(rand.NewPCG(*seed, 0))
	file := filepath.Join(t.TempDir(), "resolv.conf")
	kinds := map[string]int{}
	for i := range *cases {
		s := draw(rng)
		kubelet, kubeletErr := s.askKubelet(t, file)
		model, notes, modelErr := s.askModel()
		switch {
		case (kubeletErr != nil) != (modelErr != nil):
			t.Fatalf("case %d: kubelet's error %v, the model's %v\n%s", i, kubeletErr, modelErr, s)
		case kubeletErr != nil:
			kinds["both refuse the node's file"]++
			continue
		}
		count(kinds, s, notes)
		if !slices.Equal(kubelet.Nameservers, model.Nameservers) || !slices.Equal(kubelet.Searches, model.Searches) ||
			!slices.Equal(sorted(kubelet.Options), sorted(model.Options)) {
			t.Fatalf("case %d:\nkubelet %q\nmodel   %q\n%s", i, kubelet, model, s)
		}
		if events := kubelet.events; events != eventsOf(notes) {
			t.Fatalf("case %d: kubelet's events %q, the model's %q\n%s", i, events, notes, s)
		}
	}
	// A generator that never reaches a branch would prove nothing about it.
	for _, kind := range []string{
		"both refuse the node's file", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None", "policy empty", "policy unknown",
		"host network", "dnsConfig", "no node file", "no cluster DNS", "DNSConfigForming", "MissingClusterDNS", "no domain",
	} {
		if kinds[kind] == 0 {
			t.Errorf("no case of kind %q", kind)
		}
		t.Logf("%6d %s", kinds[kind], kind)
	}
}

func count(kinds map[string]int, s setting, notes []string) {
	switch policy := string(s.pod.Spec.DNSPolicy); policy {
	case "":
		kinds["policy empty"]++
	case "Bogus":
		kinds["policy unknown"]++
	default:
		kinds[policy]++
	}
	for kind, holds := range map[string]bool{
		"host network": s.pod.Spec.HostNetwork, "dnsConfig": s.pod.Spec.DNSConfig != nil, "no node file": s.noHostFile,
		"no cluster DNS": len(s.clusterDNS) == 0, "no domain": s.clusterDomain == "",
	} {
		if holds {
			kinds[kind]++
		}
	}
	for _, note := range notes {
		reason, _, _ := strings.Cut(note, ":")
		kinds[reason]++
	}
}

// answer is a resolv.conf, and the reasons of the events about the pod.
type answer struct {
	resolver.ResolvConf
	events string
}

func (s setting) askKubelet(t *testing.T, file string) (answer, error) {
	t.Helper()
	path := ""
	if !s.noHostFile {
		path = file
		if err := os.WriteFile(file, []byte(s.hostFile), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	recorder := record.NewFakeRecorder(100)
	configurer := dns.NewConfigurer(recorder, &corev1.ObjectReference{Kind: "Node", Name: "node-1"},
		parsed(s.nodeIPs), parsed(s.clusterDNS), s.clusterDomain, path)
	pod := s.pod.DeepCopy()
	if pod.Spec.DNSPolicy == "" {
		pod.Spec.DNSPolicy = corev1.DNSClusterFirst // as the API server defaults it
	}
	config, err := configurer.GetPodDNS(t.Context(), pod)
	if err != nil {
		return answer{}, err
	}
	close(recorder.Events)
	var events []string
	for event := range recorder.Events {
		events = append(events, strings.Fields(event)[1])
	}
	// kubelet tells about a missing cluster DNS twice, about the node and about the pod.
	return answer{resolver.ResolvConf{Nameservers: config.Servers, Searches: config.Searches, Options: config.Options},
		strings.Replace(strings.Join(events, " "), "MissingClusterDNS MissingClusterDNS", "MissingClusterDNS", 1)}, nil
}

// parsed reads addresses as kubelet reads its flags.
func parsed(texts []string) []net.IP {
	var ips []net.IP
	for _, text := range texts {
		if ip := netutils.ParseIPSloppy(text); ip != nil {
			ips = append(ips, ip)
		}
	}
	return ips
}

func (s setting) askModel() (resolver.ResolvConf, []string, error) {
	n := resolver.Node{ClusterDNS: s.clusterDNS, ClusterDomain: s.clusterDomain, NoHostFile: s.noHostFile, IPs: s.nodeIPs}
	if !s.noHostFile {
		var err error
		if n.Host, err = resolver.ParseResolvConf(s.hostFile); err != nil {
			return resolver.ResolvConf{}, nil, err
		}
	}
	p := resolver.PodDNS{Namespace: s.pod.Namespace, Policy: string(s.pod.Spec.DNSPolicy), HostNetwork: s.pod.Spec.HostNetwork}
	if config := s.pod.Spec.DNSConfig; config != nil {
		p.Config = &resolver.DNSConfig{Nameservers: config.Nameservers, Searches: config.Searches}
		for _, option := range config.Options {
			p.Config.Options = append(p.Config.Options, resolver.Option{Name: option.Name, Value: option.Value})
		}
	}
	conf, notes := n.ResolvConf(p)
	return conf, notes, nil
}

// eventsOf are the reasons of the notes that stand for events of kubelet's.
func eventsOf(notes []string) string {
	var reasons []string
	for _, note := range notes {
		if reason, _, ok := strings.Cut(note, ":"); ok && !strings.Contains(reason, " ") {
			reasons = append(reasons, reason)
		}
	}
	return strings.Join(reasons, " ")
}

func sorted(options []string) []string { return slices.Sorted(slices.Values(options)) }

func (s setting) String() string {
	return fmt.Sprintf("clusterDNS %q, clusterDomain %q, node IPs %q, no file %t\nnode's resolv.conf:\n%s\npod: namespace %q, dnsPolicy %q, hostNetwork %t, dnsConfig %+v",
		s.clusterDNS, s.clusterDomain, s.nodeIPs, s.noHostFile, s.hostFile,
		s.pod.Namespace, s.pod.Spec.DNSPolicy, s.pod.Spec.HostNetwork, s.pod.Spec.DNSConfig)
}

func draw(rng *rand.Rand) setting {
	s := setting{
		clusterDNS:    several(rng, 4, "10.96.0.10", "fd00::a", "10.0.0.10", "fd00:0::A", "010.096.000.010", "::ffff:10.0.0.10", "not-an-address"),
		clusterDomain: pick(rng, "cluster.local", "cluster.local", "cluster.local", "", "k8s.example.com", "corp.example.com"),
		nodeIPs:       several(rng, 2, "10.1.0.1", "fd01::1"),
		noHostFile:    rng.IntN(10) == 0,
		hostFile:      hostFile(rng),
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: pick(rng, "default", "shop", strings.Repeat("n", 63))}}
	pod.Spec.DNSPolicy = corev1.DNSPolicy(pick(rng, "", "ClusterFirst", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None", "Bogus"))
	pod.Spec.HostNetwork = rng.IntN(3) == 0
	if rng.IntN(3) > 0 {
		pod.Spec.DNSConfig = &corev1.PodDNSConfig{
			Nameservers: several(rng, 5, "169.254.20.10", "10.96.0.10", "fd00::a", "10.9.9.9", "192.0.2.1"),
			Searches:    searches(rng),
			Options:     options(rng),
		}
	}
	s.pod = pod
	return s
}

func searches(rng *rand.Rand) []string {
	if rng.IntN(20) == 0 { // at the limit of the whole list, give or take one
		var list []string
		left := resolver.MaxSearchListLength - 1 + rng.IntN(3)
		for i := 0; left > 250; i++ {
			domain := fmt.Sprintf("%s.d%02d.example", strings.Repeat("x", 180), i)
			list = append(list, domain)
			left -= len(domain) + 1
		}
		return append(list, strings.Repeat("y", left))
	}
	list := several(rng, 6, "corp.example.com", "cluster.local", "svc.cluster.local", "corp.example.com.", ".", "a.example", "default.svc.cluster.local")
	if rng.IntN(8) == 0 { // beyond the limits
		for range rng.IntN(40) {
			list = append(list, fmt.Sprintf("%s.d%d.example", strings.Repeat("x", 1+rng.IntN(80)), rng.IntN(1000)))
		}
	}
	if rng.IntN(12) == 0 {
		list = append(list, strings.Repeat("longlabel.", 25)+pick(rng, "exa", "exam", "example"))
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return list
}

func options(rng *rand.Rand) []corev1.PodDNSConfigOption {
	var list []corev1.PodDNSConfigOption
	for range rng.IntN(5) {
		option := corev1.PodDNSConfigOption{Name: pick(rng, "ndots", "timeout", "attempts", "use-vc", "edns0", "rotate")}
		if rng.IntN(3) > 0 {
			option.Value = new(pick(rng, "1", "2", "5", "", "banana"))
		}
		list = append(list, option)
	}
	return list
}

// hostFile is a node's resolv.conf with all the oddities that parsers disagree about.
func hostFile(rng *rand.Rand) string {
	var b strings.Builder
	for range rng.IntN(7) {
		switch rng.IntN(9) {
		case 0, 1:
			b.WriteString(pick(rng, "nameserver ", "nameserver\t", "  nameserver ") + pick(rng, "10.9.9.9", "10.9.9.8", "fd00::53", "fe80::1%eth0", "not-an-address") + pick(rng, "", " trailing", " # said", "\r"))
		case 2, 3:
			b.WriteString(pick(rng, "search ", "search\t\t") + strings.Join(searches(rng), pick(rng, " ", "  ", "\t")))
		case 4, 5:
			b.WriteString("options " + strings.Join(several(rng, 5, "ndots:2", "ndots:1", "edns0", "trust-ad", "timeout:1", "rotate", "use-vc", "a:b:c", "#x"), " "))
		case 6:
			b.WriteString(pick(rng, "# nameserver 1.1.1.1", "; nameserver 2.2.2.2", "#search x", " # options ndots:9", ""))
		case 7:
			b.WriteString(pick(rng, "domain corp.example.com", "sortlist 10.0.0.0", "lookup file bind", "search", "options", "searchx a"))
		default:
			if rng.IntN(12) == 0 {
				b.WriteString("nameserver")
			}
		}
		b.WriteString(pick(rng, "\n", "\n", "\n", "\n\n", "\r\n"))
	}
	return b.String()
}

func pick(rng *rand.Rand, values ...string) string { return values[rng.IntN(len(values))] }

// several draws fewer than most values, repetitions included.
func several(rng *rand.Rand, most int, values ...string) []string {
	var list []string
	for range rng.IntN(most) {
		list = append(list, pick(rng, values...))
	}
	return list
}
