package cli

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// gateNames are the values of --closed-gates, spelled as in metrics.
var gateNames = []string{string(gates.KindServiceHost), string(gates.KindNodeLocal), string(gates.KindUpstream)}

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

// checkDiscovered refuses what a server could not discover.
func checkDiscovered(d *policy.Discovered) error {
	if d.Domain != "" {
		if messages := validation.IsDNS1123Subdomain(d.Domain); len(messages) > 0 {
			return failure("--cluster-domain %q: %s", d.Domain, strings.Join(messages, "; "))
		}
	}
	for _, server := range d.DNSServers {
		if _, err := netip.ParseAddr(server); err != nil {
			return failure("--cluster-dns %q: not an IP address", server)
		}
	}
	return nil
}

// serviceLabel begins a label of an SRV record's name: _https._tcp.web.
var serviceLabel = regexp.MustCompile(`(^|\.)_([^._])`)

// checkLookups refuses names that nobody looks up.
func checkLookups(names []string) error {
	for _, name := range names {
		if _, err := netip.ParseAddr(name); err == nil {
			return failure("--lookup %q: an address is not looked up", name)
		}
		if messages := validation.IsDNS1123Subdomain(serviceLabel.ReplaceAllString(strings.ToLower(strings.TrimSuffix(name, ".")), "$1$2")); len(messages) > 0 {
			return failure("--lookup %q: %s", name, strings.Join(messages, "; "))
		}
	}
	return nil
}

// readResolvConf reads the node's file.
func (s *Streams) readResolvConf(file string) (*resolver.ResolvConf, error) {
	data, err := s.read(file)
	if err != nil {
		return nil, err
	}
	conf, err := resolver.ParseResolvConf(string(data))
	if err != nil {
		var problems []string
		for _, e := range singleErrors(err) {
			problems = append(problems, displayName(file)+": "+strings.TrimPrefix(e.String(), "parse resolv.conf: "))
		}
		return nil, invalid(problems)
	}
	return &conf, nil
}
