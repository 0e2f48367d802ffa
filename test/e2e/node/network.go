package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The node's addresses. The network namespace is the node's own, so they can be any; these are from the ranges of
// private and link-local networks, and of the documentation (RFC 5737).
const (
	// IP is the node's address (status.hostIP).
	IP = "172.30.0.2"
	// APIServerIP is another address of the same machine, where the DNS name APIServerName leads: it stands for the
	// address of an API server outside of the cluster.
	APIServerIP = "172.30.0.3"
	// ServiceIP is the ClusterIP of the Service kubernetes.
	ServiceIP = "10.0.0.1"
	// ClusterDNS is the ClusterIP of the cluster DNS.
	ClusterDNS = "10.0.0.10"
	// NodeLocalDNS is where the node-local cache listens.
	NodeLocalDNS = "169.254.20.10"

	serviceRange = "10.0.0.0/16"
	podRange     = "10.244.0.0/22"
)

// network gives the node its interfaces. There is no kube-proxy: the two Services that matter have their ClusterIP as an
// address of the node.
func (n *Node) network(ctx context.Context) error {
	commands := []string{
		"ip link set lo up",
		"ip link add node0 type bridge",
		"ip addr add " + IP + "/24 dev node0",
		"ip addr add " + APIServerIP + "/24 dev node0",
		"ip link set node0 up",
		// What is not here is unreachable at once, as in a cluster whose firewall rejects.
		"ip route add unreachable default metric 4278198272",
	}
	for _, address := range []string{ServiceIP, ClusterDNS, NodeLocalDNS} {
		commands = append(commands, "ip addr add "+address+"/32 dev lo")
	}
	for _, command := range commands {
		words := strings.Fields(command)
		if err := run(ctx, words[0], words[1:]...); err != nil {
			return fmt.Errorf("setting up the node's network: %w", err)
		}
	}
	return nil
}

// cni writes the configuration of the pod network: a bridge, and addresses from a file.
func (n *Node) cni() error {
	config := `{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": true,
    "ipMasq": false,
    "hairpinMode": true,
    "ipam": {
      "type": "host-local",
      "dataDir": "` + n.dir + `/cni/addresses",
      "ranges": [[{"subnet": "` + podRange + `"}]],
      "routes": [{"dst": "0.0.0.0/0"}]
    }
  }]
}
`
	return writeFile(filepath.Join(n.dir, "cni", "conf", "10-pods.conflist"), config)
}

func writeFile(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("creating a folder: %w", err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		return fmt.Errorf("writing a file: %w", err)
	}
	return nil
}
