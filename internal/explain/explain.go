// Package explain tells what Shorthop does to a pod, and why, as data: the
// decision, the patch, the pod's resolv.conf before and after, and what its
// resolvers then ask.
//
// In goes a pod of a manifest (package manifest), and as Conditions all that a
// manifest does not say. Out comes an Explanation, which is what
// kubectl-shorthop explain -o json prints; its notes name the flags of that
// command that would tell it more. The package does no I/O. The decision is the
// server's: mutate.Review makes it.
package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Conditions are what pods are explained under.
type Conditions struct {
	// Policy is required.
	Policy *policy.Compiled
	// Namespace is that of pods whose manifest names none. Defaults to
	// "default", which is not written into the pod.
	Namespace string
	// NamespaceLabels are those of the pod's namespace. The label
	// kubernetes.io/metadata.name may be left out: its value is always replaced by
	// the pod's namespace.
	NamespaceLabels map[string]string
	// NamespaceAnnotations are those of the pod's namespace. Only those that tune
	// pods have an effect.
	NamespaceAnnotations map[string]string
	// HostsClosed and CachesClosed say that all health gates of hosts, or of
	// node-local caches, are closed. Upstream is why the gates of the DNS servers are
	// closed, empty where they are open. PublicNamespace is as in policy.Gates.
	HostsClosed, CachesClosed bool
	Upstream                  policy.Reason
	PublicNamespace           bool
	// Advice is what query logs have shown; nil: nothing.
	Advice *policy.Advice
	// Discovered is what the server finds out about the cluster's DNS.
	Discovered policy.Discovered
	// NodeResolvConf is the node's own resolv.conf; nil: not known.
	NodeResolvConf *resolver.ResolvConf
	// Lookups are names, valid as such, whose lookups are modelled.
	Lookups []string
}

// Explain reviews a pod as the webhook would when the pod is created, after
// filling in its namespace (see place). An error names the pod.
func (c *Conditions) Explain(p *manifest.Pod) (*Explanation, error) {
	if err := c.place(p); err != nil {
		return nil, fmt.Errorf("%s: set the namespace: %w", nameOf(p), err)
	}
	result := c.review(p)
	e := newExplanation(c.Policy, p, &result)
	e.NamespaceLabels, e.NamespaceAnnotations = c.namespaceLabels(), result.Request.NamespaceAnnotations
	e.assumeGates(c.Policy, &result)
	e.Advice.Document, e.Advice.Evidence = adviceOf(c.Advice)

	patched, err := applyPatch(p.JSON, result.Operations)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Pod, err)
	}
	e.Admitted = patched
	if e.DryRun {
		e.Admitted = p.JSON
	}
	var after policy.Pod
	if err := json.Unmarshal(patched, &after); err != nil {
		return nil, fmt.Errorf("%s: decode the patched pod: %w", e.Pod, err)
	}
	e.setRecord(&result, &after)
	e.Notes = notesOnRecord(&p.Pod)
	if !e.DryRun {
		e.Notes = append(notesOn(p, &after), e.Notes...)
	}
	cluster := c.knownCluster()
	var was, is podResolvConf
	e.ResolvConf, was, is = resolvConfs(&cluster, p.Namespace, &p.Pod, &after, c.NodeResolvConf)
	e.Resolvers = resolversOf(c.Policy, &p.Pod)
	e.Fallthrough = newFallthrough(c.Policy, &result, &p.Pod, &after, &is)
	e.assumeUpstream(c.Policy, &result)
	if len(c.Lookups) > 0 {
		e.Lookups = e.lookups(c.Lookups, cluster.Domain, &was, &is)
	}
	return e, nil
}

// place fills in the pod's namespace: the manifest's, else that of the
// conditions, else "default".
func (c *Conditions) place(p *manifest.Pod) error {
	if p.Namespace == "" && c.Namespace != "" {
		return p.SetNamespace(c.Namespace)
	}
	p.Namespace = cmp.Or(p.Namespace, corev1.NamespaceDefault)
	return nil
}

func (c *Conditions) review(p *manifest.Pod) mutate.Result {
	labels := c.namespaceLabels()
	labels[corev1.LabelMetadataName] = p.Namespace
	return mutate.Review(c.Policy, policy.Request{
		Operation:       policy.OperationCreatePod,
		Namespace:       p.Namespace,
		NamespaceLabels: labels, NamespaceAnnotations: policy.NamespaceAnnotations(c.NamespaceAnnotations),
		NamespaceKnown: true,
		Pod:            &p.Pod,
		ObjectSize:     len(p.JSON),
		Gates:          c.gates(),
		Discovered:     &c.Discovered,
		Advice:         c.Advice,
	})
}

// namespaceLabels is a copy of the labels that were given, without
// kubernetes.io/metadata.name.
func (c *Conditions) namespaceLabels() map[string]string {
	labels := make(map[string]string, len(c.NamespaceLabels)+1)
	maps.Copy(labels, c.NamespaceLabels)
	delete(labels, corev1.LabelMetadataName)
	return labels
}

// gates has every gate of the policy, open or closed as the conditions say.
func (c *Conditions) gates() *policy.Gates {
	state := &policy.Gates{
		ServiceHosts: map[policy.Endpoint]bool{}, Caches: map[policy.Cache]bool{},
		Upstreams: map[policy.Upstream]policy.Reason{}, PublicNamespace: c.PublicNamespace,
	}
	for _, probe := range c.Policy.UpstreamProbes() {
		state.Upstreams[probe.Upstream] = c.Upstream
	}
	for _, probe := range c.Policy.HostProbes() {
		state.ServiceHosts[probe.Endpoint] = !c.HostsClosed
	}
	for _, cache := range c.Policy.Caches() {
		state.Caches[cache] = !c.CachesClosed
	}
	return state
}

// knownCluster is what is known of the cluster's DNS: what the policy says,
// else what is discovered.
func (c *Conditions) knownCluster() policy.Cluster {
	known := c.Policy.Document().Spec.Cluster
	known.Domain = known.DomainWith(&c.Discovered)
	if len(known.DNSServers) == 0 {
		known.DNSServers = c.Discovered.DNSServers
	}
	return known
}
