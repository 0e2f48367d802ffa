package policy

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// Clients in a container with a proxy reach the API server directly only
// because the proxy's exceptions name the Service's network. A host of ours that
// they do not name would go to the proxy. Go's net/http (httpproxy), curl,
// Python and others read the same variables; what is asked here is what
// http.ProxyFromEnvironment would say of https://HOST:PORT, with ALL_PROXY, which
// Go does not read, as another HTTPS_PROXY.
//
//	variable of the container's env    counts as
//	HTTPS_PROXY, https_proxy           the proxy; the first that is not empty
//	ALL_PROXY, all_proxy               the same
//	NO_PROXY, no_proxy                 the exceptions; the first that is not empty
//	a proxy with valueFrom             set
//	exceptions with valueFrom          naming nothing: nobody can see them here
//	one that comes by envFrom, or      not there
//	from the image
//
// References $(VAR) are expanded as kubelet does, with our own variables in
// front. Of hostFrom NodeIP the value is not known: only * and exceptions that
// refer to KUBERNETES_SERVICE_HOST cover it.

// sendsToProxy reports whether a client in the container would reach host, which
// the container gets as KUBERNETES_SERVICE_HOST and which is empty for NodeIP,
// and port through a proxy. Where the container names no proxy it does not
// allocate.
func (c *Container) sendsToProxy(host, port string) bool {
	if !slices.ContainsFunc(c.Env, isProxy) {
		return false
	}
	fromNode := host == ""
	e := environment{variables: map[string]string{}, more: bool(c.EnvFrom)}
	e.variables[EnvServiceHost] = cmp.Or(host, nodeAddress)
	e.variables[EnvServicePort], e.variables[EnvServicePortHTTPS] = port, port
	for i := range c.Env {
		e.add(&c.Env[i])
	}

	config := httpproxy.Config{NoProxy: noProxy(e.first("NO_PROXY", "no_proxy"), fromNode)}
	if fromNode {
		host = exampleNode
	}
	target := &url.URL{Scheme: "https", Host: net.JoinHostPort(host, port)}
	for _, proxy := range [...]string{e.first("HTTPS_PROXY", "https_proxy"), e.first("ALL_PROXY", "all_proxy")} {
		if strings.Contains(proxy, unseen) {
			proxy = "http://proxy.invalid"
		}
		config.HTTPSProxy = proxy
		if through, err := config.ProxyFunc()(target); through != nil || err != nil {
			return true
		}
	}
	return false
}

func isProxy(v EnvVar) bool {
	switch v.Name {
	case "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy":
		return true
	}
	return false
}

const (
	// nodeAddress stands for the address of the pod's node.
	nodeAddress = unseen + "node" + unseen
	// exampleNode is what is asked about in place of nodeAddress.
	exampleNode = "192.0.2.1"
)

// noProxy leaves what can be seen of exceptions, which are separated by commas;
// of those for the address of a node, what holds for any.
func noProxy(exceptions string, fromNode bool) string {
	if !strings.Contains(exceptions, unseen) && !fromNode {
		return exceptions
	}
	var seen []string
	for exception := range strings.SplitSeq(exceptions, ",") {
		exception = strings.TrimSpace(exception)
		known := strings.ReplaceAll(exception, nodeAddress, exampleNode)
		if strings.Contains(known, unseen) || fromNode && known == exception && exception != "*" {
			continue
		}
		seen = append(seen, known)
	}
	return strings.Join(seen, ",")
}
