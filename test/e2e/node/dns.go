package node

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/shorthop/shorthop/internal/corefile"
)

// ClusterDomain is kubelet's clusterDomain.
const ClusterDomain = "cluster.local"

// APIServerName is a name for the API server in the cluster DNS, as a provider's private zone would have it.
const APIServerName = "api.shorthop.test"

// External names: every name below ExternalZone exists, with an A and an AAAA record, except below CorpZone, where only
// CorpHost exists. All others do not exist.
const (
	ExternalZone = "example.com"
	CorpZone     = "corp.example.com"
	CorpHost     = "intranet." + CorpZone
)

// The addresses of names outside of the cluster.
const (
	ExternalA    = "192.0.2.10"
	ExternalAAAA = "2001:db8::10"
)

// LogCluster and LogNodeLocal are the names of the query logs, for LogPath.
const (
	LogCluster   = "coredns"
	LogNodeLocal = "coredns-node-local"
)

// A line of the query log: client address and port, transport, query id, type, name, rcode, answer flags, seconds.
const logFormat = `"q {remote} {port} {proto} {>id} {type} {name} {rcode} {>rflags} {duration}"`

// negative is what every authoritative server adds to an answer that there is nothing, so that caches can keep it.
const negative = `authority "{{.Zone}} 60 IN SOA ns.{{.Zone}} hostmaster.{{.Zone}} 1 60 60 60 30"`

// clusterCorefile is the cluster DNS as kubeadm configures it, without its cache for the outside, with the zones there that
// exist as templates. answersSvc: with the block that doctor prints.
func (n *Node) clusterCorefile(answersSvc bool) string {
	svc := ""
	if answersSvc {
		svc = "  " + strings.Join(corefile.TemplateBlock(), "\n  ") + "\n"
	}
	block := func(zones, body string) string {
		return zones + " {\n  bind " + ClusterDNS + "\n  log . " + logFormat + "\n  errors\n" + body + "}\n"
	}
	return block(ClusterDomain+":53", `  health `+ClusterDNS+`:8080
  ready `+ClusterDNS+`:8181
  kubernetes `+ClusterDomain+` {
    kubeconfig `+n.dnsKubeconfig+` e2e
    pods verified
    ttl 30
  }
  cache 30
`) + block(CorpZone+":53", oneHost(CorpZone, CorpHost, "192.0.2.20")) + block(ExternalZone+":53", `  template IN A `+ExternalZone+` {
    answer "{{.Name}} 60 IN A `+ExternalA+`"
  }
  template IN AAAA `+ExternalZone+` {
    answer "{{.Name}} 60 IN AAAA `+ExternalAAAA+`"
  }
`) + block("shorthop.test:53", oneHost("shorthop.test", APIServerName, APIServerIP)) + block(".:53", svc+"  forward . "+outsideAddress+"\n")
}

// oneHost is a zone in which one name exists, with an A record only.
func oneHost(zone, name, address string) string {
	match := "^" + regexp.QuoteMeta(name+".") + "$"
	return `  template IN A ` + zone + ` {
    match ` + match + `
    answer "{{.Name}} 60 IN A ` + address + `"
    fallthrough
  }
  template IN ANY ` + zone + ` {
    match ` + match + `
    rcode NOERROR
    ` + negative + `
    fallthrough
  }
  template IN ANY ` + zone + ` {
    rcode NXDOMAIN
    ` + negative + `
  }
`
}

// nodeLocalCorefile is the node-local cache, with the settings of the upstream manifests (nodelocaldns.yaml) and a
// prefetch as operators add it.
func nodeLocalCorefile() string {
	return `.:53 {
  bind ` + NodeLocalDNS + `
  log . ` + logFormat + `
  errors
  cache {
    success 9984 30
    denial 9984 5
    prefetch 10 1m 20%
  }
  reload
  loop
  health ` + NodeLocalDNS + `:8080
  forward . ` + ClusterDNS + ` {
    force_tcp
  }
}
`
}

// startDNS starts the cluster DNS and the node-local cache.
func (n *Node) startDNS(ctx context.Context) error {
	if err := n.SetOutside(ctx, OutsideAnswers); err != nil {
		return err
	}
	corefile := filepath.Join(n.dir, "coredns", "Corefile")
	if err := writeFile(corefile, n.clusterCorefile(true)); err != nil {
		return err
	}
	p, err := n.start(LogCluster, n.assets.CoreDNS, "-conf", corefile)
	if err != nil {
		return err
	}
	n.clusterDNS = p
	if err := p.wait(ctx, func(ctx context.Context) error {
		return resolves(ctx, ClusterDNS, "kubernetes.default.svc."+ClusterDomain+".")
	}); err != nil {
		return err
	}
	return n.StartNodeLocal(ctx)
}

// StartNodeLocal starts the node-local cache, where it does not run, and returns once it answers.
func (n *Node) StartNodeLocal(ctx context.Context) error {
	corefile := filepath.Join(n.dir, "coredns-node-local", "Corefile")
	if err := writeFile(corefile, nodeLocalCorefile()); err != nil {
		return err
	}
	p, err := n.start(LogNodeLocal, n.assets.CoreDNS, "-conf", corefile)
	if err != nil {
		return err
	}
	n.nodeLocal = p
	return p.wait(ctx, func(ctx context.Context) error { return resolves(ctx, NodeLocalDNS, "ready."+ExternalZone+".") })
}

// KillNodeLocal kills the node-local cache, as a node's memory pressure or a bad update does. Its address stays, so
// queries are rejected with ICMP port unreachable.
func (n *Node) KillNodeLocal() { n.nodeLocal.kill() }

// resolves asks one server for the IPv4 addresses of one name, and for no others: what it is denied stays in the server's
// cache for a while, and a name that is there by A and still denied by AAAA does not exist for musl.
func resolves(ctx context.Context, server, name string) error {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(server, "53"))
	}}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := r.LookupNetIP(ctx, "ip4", name); err != nil {
		return fmt.Errorf("asking %s: %w", server, err)
	}
	return nil
}

// FreezeNodeLocal stops the node-local cache from answering without closing its sockets, as a cache in trouble does:
// queries are lost.
func (n *Node) FreezeNodeLocal() error {
	if err := n.nodeLocal.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freezing the node-local cache: %w", err)
	}
	return nil
}

// RestartNodeLocal replaces the node-local cache with one that has nothing in its memory.
func (n *Node) RestartNodeLocal(ctx context.Context) error {
	n.KillNodeLocal()
	return n.StartNodeLocal(ctx)
}

// WaitResolved waits until the cluster DNS knows a name. It asks as one that is not a pod.
func (n *Node) WaitResolved(ctx context.Context, name string) error {
	for {
		err := resolves(ctx, ClusterDNS, name)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
