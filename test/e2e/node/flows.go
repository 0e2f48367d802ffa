package node

import (
	"context"
	"fmt"
	"strings"
)

// LogFlows is the name of the log of conntrack entries, for LogPath.
const LogFlows = "conntrack"

// startFlows makes the kernel track connections in the node's namespace, and logs every new entry. A rule that looks at
// the state is what loads tracking, as kube-proxy's do. Queries to the node-local cache are exempt by the rules that the
// upstream cache sets for its address.
func (n *Node) startFlows(ctx context.Context) error {
	rules := []string{"-t filter -A INPUT -m conntrack --ctstate INVALID -j DROP"}
	for _, protocol := range []string{"udp", "tcp"} {
		rules = append(rules,
			"-t raw -A PREROUTING -d "+NodeLocalDNS+" -p "+protocol+" --dport 53 -j NOTRACK",
			"-t raw -A OUTPUT -d "+NodeLocalDNS+" -p "+protocol+" --dport 53 -j NOTRACK",
			"-t raw -A OUTPUT -s "+NodeLocalDNS+" -p "+protocol+" --sport 53 -j NOTRACK",
		)
	}
	for _, rule := range rules {
		if err := run(ctx, "iptables", append([]string{"--wait"}, strings.Fields(rule)...)...); err != nil {
			return fmt.Errorf("setting up connection tracking: %w", err)
		}
	}
	_, err := n.start(LogFlows, n.assets.Conntrack, "--event", "--event-mask", "NEW")
	return err
}

// Flow is a new conntrack entry.
type Flow struct{ Protocol, Source, Destination, Port string }

// Flows returns the entries since the reader was made, for a reader of LogFlows.
func (l *QueryLog) Flows() ([]Flow, error) {
	content, err := l.read()
	if err != nil {
		return nil, err
	}
	var flows []Flow
	for line := range strings.Lines(string(content)) {
		_, text, found := strings.Cut(line, "[NEW] ")
		if !found {
			continue
		}
		var flow Flow
		words := strings.Fields(text)
		flow.Protocol = words[0]
		for _, word := range words {
			key, value, _ := strings.Cut(word, "=")
			// The first of each is the original direction.
			for name, field := range map[string]*string{"src": &flow.Source, "dst": &flow.Destination, "dport": &flow.Port} {
				if key == name && *field == "" {
					*field = value
				}
			}
		}
		flows = append(flows, flow)
	}
	return flows, nil
}
