package detect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/internal/clusterread"
)

// mostHosts is how many names of a certificate are tried.
const mostHosts = 16

// hosts tries the name in the kubeconfig and those in the certificate that is
// served there, with the CA by which pods verify it.
func (c *collector) hosts(ctx context.Context) {
	c.progress("names of the API server")
	u, err := url.Parse(c.config.Host)
	if err != nil || u.Hostname() == "" {
		u, err = url.Parse("https://" + c.config.Host)
	}
	if err != nil {
		c.unread(aboutHost, fmt.Errorf("the kubeconfig's server %q is no URL", c.config.Host))
		return
	}
	port := 443
	if n, err := strconv.Atoi(u.Port()); err == nil {
		port = n
	}
	roots, err := c.roots(ctx)
	if err != nil {
		c.unread(aboutHost, err)
		return
	}
	serverName := c.config.ServerName
	if serverName == "" {
		serverName = u.Hostname()
	}
	var names []string
	certificate, err := verified(ctx, u.Hostname(), port, serverName, roots)
	if isCandidate(u.Hostname(), c.objects.Nodes) {
		names = append(names, u.Hostname())
	}
	if err != nil {
		if len(names) == 0 {
			c.unread(aboutHost, fmt.Errorf("%s does not serve what pods verify, so the names in the API server's certificate are not known: %w", u.Host, err))
		}
	} else {
		for _, name := range certificate.DNSNames {
			name = strings.ToLower(strings.TrimSuffix(name, "."))
			if isCandidate(name, c.objects.Nodes) && !slices.Contains(names, name) && len(names) < mostHosts {
				names = append(names, name)
			}
		}
	}
	c.objects.Hosts = make([]Host, len(names))
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() { c.objects.Hosts[i] = try(ctx, name, port, roots) })
	}
	wait.Wait()
}

// try finds out whether a name can be used.
func try(ctx context.Context, name string, port int, roots *x509.CertPool) Host {
	h := Host{Name: name, Port: port}
	ctx, cancel := context.WithTimeout(ctx, clusterread.Timeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		h.Problem = "does not resolve from here: " + err.Error()
		return h
	}
	slices.Sort(addresses)
	h.Addresses = addresses
	if _, err := verified(ctx, name, port, name, roots); err != nil {
		h.Problem = "does not answer as the API server from here: " + err.Error()
	}
	return h
}

// verified returns the certificate that is served, where it verifies.
func verified(ctx context.Context, host string, port int, serverName string, roots *x509.CertPool) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, clusterread.Timeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: strings.TrimSuffix(serverName, ".")}}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // what was to be had is had
	client, isTLS := conn.(*tls.Conn)
	if !isTLS {
		return nil, errors.New("no TLS")
	}
	return client.ConnectionState().PeerCertificates[0], nil
}

// isCandidate leaves out what no pod can use, or means one machine: addresses,
// the Service's own names, names without a dot, and those of nodes.
func isCandidate(name string, nodes []corev1.Node) bool {
	if net.ParseIP(name) != nil || !strings.Contains(name, ".") || len(validation.IsDNS1123Subdomain(strings.ToLower(name))) > 0 ||
		strings.HasPrefix(name, "kubernetes.default") || strings.HasSuffix(name, ".localhost") || strings.HasPrefix(name, "localhost.") {
		return false
	}
	return !slices.ContainsFunc(nodes, func(n corev1.Node) bool {
		return n.Name == name || slices.ContainsFunc(n.Status.Addresses, func(a corev1.NodeAddress) bool { return strings.EqualFold(a.Address, name) })
	})
}

// roots are the CA by which pods verify the API server, else the kubeconfig's.
func (c *collector) roots(ctx context.Context) (*x509.CertPool, error) {
	found, err := clusterread.One(ctx, "configmaps", "kube-root-ca.crt", c.client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Get)
	pool := x509.NewCertPool()
	if found != nil && pool.AppendCertsFromPEM([]byte(found.Data["ca.crt"])) {
		return pool, nil
	}
	data := c.config.CAData
	if len(data) == 0 && c.config.CAFile != "" {
		data, _ = os.ReadFile(c.config.CAFile) // the client has read it before
	}
	if pool.AppendCertsFromPEM(data) {
		return pool, nil
	}
	if err == nil {
		err = errors.New("no CA of the cluster is known: neither ConfigMap kube-root-ca.crt nor the kubeconfig has one")
	}
	return nil, err
}
