package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/pkg/policy"
)

// gateNames are the values of --closed-gates, spelled as in metrics.
var gateNames = []string{string(gates.KindServiceHost), string(gates.KindNodeLocal)}

// gatesFlag is a flag with kinds of gates: a,b, which may be repeated.
type gatesFlag []string

func (g *gatesFlag) String() string { return strings.Join(*g, ",") }

func (g *gatesFlag) Type() string { return strings.Join(gateNames, "|") }

func (g *gatesFlag) Set(text string) error {
	for name := range strings.SplitSeq(text, ",") {
		if !slices.Contains(gateNames, name) {
			return fmt.Errorf("%q is not one of %s", name, strings.Join(gateNames, ", "))
		}
		*g = append(*g, name)
	}
	return nil
}

// gates has every gate of the policy, open unless its kind is named.
func (g *gatesFlag) gates(compiled *policy.Compiled) *policy.Gates {
	state := &policy.Gates{ServiceHosts: map[policy.Endpoint]bool{}, Caches: map[policy.Cache]bool{}}
	for _, probe := range compiled.HostProbes() {
		state.ServiceHosts[probe.Endpoint] = !slices.Contains(*g, string(gates.KindServiceHost))
	}
	for _, cache := range compiled.Caches() {
		state.Caches[cache] = !slices.Contains(*g, string(gates.KindNodeLocal))
	}
	return state
}

// checkCluster refuses what a server could not discover.
func checkCluster(c *policy.Cluster) error {
	if c.Domain != "" {
		if messages := validation.IsDNS1123Subdomain(c.Domain); len(messages) > 0 {
			return failure("--cluster-domain %q: %s", c.Domain, strings.Join(messages, "; "))
		}
	}
	for _, server := range c.DNSServers {
		if _, err := netip.ParseAddr(server); err != nil {
			return failure("--cluster-dns %q: not an IP address", server)
		}
	}
	return nil
}

// knownCluster is what is known of the cluster's DNS: what the policy says,
// else what the flags do.
func (o *explainOptions) knownCluster(compiled *policy.Compiled) *policy.Cluster {
	known := compiled.Document().Spec.Cluster
	if known.Domain == "" {
		known.Domain = o.cluster.Domain
	}
	if len(known.DNSServers) == 0 {
		known.DNSServers = o.cluster.DNSServers
	}
	return &known
}
