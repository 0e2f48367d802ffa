// Package detect finds out what a cluster is like, and derives values for the chart
// from that, each with its reason.
//
// Collect asks the cluster, changes nothing, and gathers Objects; Judge makes a
// Result of them and does no I/O. What could not be read makes the values that
// need it unknown, and no others.
package detect

import (
	"fmt"
	"net/netip"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Objects are what Collect found, as far as it could be read.
type Objects struct {
	// Server is the URL of the API server that was asked.
	Server string
	// ResolvConf is the text of a pod's resolv.conf, "" where none is at hand.
	ResolvConf string
	Nodes      []corev1.Node
	Namespaces []string
	// Services and their EndpointSlices are those of discovery.Namespaces.
	Services   []corev1.Service
	Slices     []discoveryv1.EndpointSlice
	DaemonSets []appsv1.DaemonSet
	// Redirects are Cilium's local redirect policies.
	Redirects  []unstructured.Unstructured
	ConfigMaps []corev1.ConfigMap
	// Kubelets are the DNS settings of some of the kubelets.
	Kubelets []Kubelet
	// Hosts are names of the API server, and the results of trying them.
	Hosts []Host
	// Unread is what could not be read.
	Unread []Unread
}

// Kubelet is what a kubelet writes into pods' resolv.conf.
type Kubelet struct {
	// From says where these settings were read: of a node, or in a ConfigMap.
	From          string   `json:"from"`
	ClusterDNS    []string `json:"clusterDNS"`
	ClusterDomain string   `json:"clusterDomain"`
}

// Host is a name in the API server's certificate.
type Host struct {
	Name string `json:"name"`
	Port int    `json:"port"`
	// Addresses are what it resolves to from here.
	Addresses []string `json:"addresses"`
	// Problem says why pods cannot use it; "" where it answers with a certificate
	// of the cluster's CA for that name.
	Problem string `json:"problem"`
}

// Unread is something that could not be read.
type Unread struct {
	// Resource as a permission names it.
	Resource string `json:"resource"`
	Why      string `json:"why"`
}

// Result is what was made of the objects.
type Result struct {
	Server  string
	Flavour string
	// Settings are the values, in the order in which they are printed.
	Settings []Setting
	Findings []Finding
	Unknown  []Unknown
}

// Setting is a value for the chart.
type Setting struct {
	// Path of keys in values.yaml.
	Path  []string
	Value any
	Why   string
}

// Finding is something worth knowing about the cluster.
type Finding struct {
	// About is a word for its subject. It is API: never reworded.
	About string `json:"about"`
	Found string `json:"found"`
	// Set is a further value that could be set, as --set takes it. It is not among
	// the settings, as it is the operator's to decide.
	Set string `json:"set,omitzero"`
	// Block are lines to put where Found says.
	Block []string `json:"block,omitzero"`
	// Problem is true where things in the cluster contradict each other, or do not
	// work.
	Problem bool `json:"problem,omitzero"`
}

// Unknown is something that could not be found out.
type Unknown struct {
	About string `json:"about"`
	Why   string `json:"why"`
	// How says how to find it out.
	How string `json:"how"`
}

// Problems reports whether any finding is a problem.
func (r *Result) Problems() bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Problem })
}

// Judge makes a result of objects.
func Judge(o *Objects) *Result {
	r := &Result{Server: o.Server, Settings: []Setting{}, Findings: []Finding{}, Unknown: []Unknown{}}
	f := flavourOf(o)
	r.Flavour = f.name
	if f.name == "" {
		r.Flavour = "unknown"
		r.unknown("flavour", "nothing tells the platform", "the values go by what is in the cluster, whatever it is called")
	} else {
		r.found("flavour", "%s: %s", f.name, f.from)
	}
	d := dnsOf(o, f.name)
	d.judge(r, f.name)
	judgeKubeProxy(r, o)
	judgeHosts(r, o, f.name)
	judgeNamespaces(r, o, f.name)
	judgePlatform(r, o, f.name)
	for _, u := range o.Unread {
		if u.Resource != aboutHost { // judgeHosts has said so
			r.unknown(u.Resource, u.Why, "ask again with that permission")
		}
	}
	return r
}

func (r *Result) found(about, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{About: about, Found: fmt.Sprintf(format, args...)})
}

func (r *Result) problem(about, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{About: about, Found: fmt.Sprintf(format, args...), Problem: true})
}

func (r *Result) unknown(about, why, how string) {
	r.Unknown = append(r.Unknown, Unknown{about, why, how})
}

func (r *Result) set(value any, why string, path ...string) {
	r.Settings = append(r.Settings, Setting{path, value, why})
}

func (o *Objects) configMap(namespace, name string) *corev1.ConfigMap {
	i := slices.IndexFunc(o.ConfigMaps, func(m corev1.ConfigMap) bool { return m.Namespace == namespace && m.Name == name })
	if i < 0 {
		return nil
	}
	return &o.ConfigMaps[i]
}

func (o *Objects) daemonSet(namespace, name string) *appsv1.DaemonSet {
	i := slices.IndexFunc(o.DaemonSets, func(s appsv1.DaemonSet) bool { return s.Namespace == namespace && s.Name == name })
	if i < 0 {
		return nil
	}
	return &o.DaemonSets[i]
}

func (o *Objects) isUnread(resource string) bool {
	return slices.ContainsFunc(o.Unread, func(u Unread) bool { return u.Resource == resource })
}

// shared are the addresses that are in both lists, as the first has them.
func shared(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(address string) bool { return !contains(b, address) })
}

// without are the addresses of the first list that are not in the second.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(address string) bool { return contains(b, address) })
}

func contains(list []string, address string) bool {
	wanted, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(list, func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err == nil && a.Unmap() == wanted.Unmap()
	})
}
