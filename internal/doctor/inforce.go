package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/pkg/policy"
)

// InForce is what decides about new pods now, as far as it can be found out
// from outside.
type InForce struct {
	// From says where the policy was found.
	From   string
	Policy *policy.Compiled
	// Gates are those of a replica; nil: no replica could be asked, or it shows
	// not every gate of the policy.
	Gates *policy.Gates
	// Discovered is what a replica knows of the cluster's DNS, nothing where it
	// does without a cluster; nil: no replica could be asked.
	Discovered *policy.Discovered
	// NoReplica is why no replica could be asked, nil where one was.
	NoReplica error
	// Advice is what the replicas follow, nil where there is none.
	Advice *policy.Advice
	// Installed is when the webhook was registered; zero: it is not, or not
	// known.
	Installed time.Time
}

// FindInForce finds the policy in force: o.Policy, else that of a replica, else
// that of the ConfigMap. It asks the replicas as Collect does.
func FindInForce(ctx context.Context, config *rest.Config, o Options) (*InForce, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client of the API server at %s: %w", config.Host, err)
	}
	c := &collector{config, client, forwardingDialer(config, client), o,
		&Facts{now: time.Now(), webhookName: o.WebhookConfiguration, given: o.Policy}}
	if err := c.webhook(ctx); err != nil {
		return nil, fmt.Errorf("cannot ask the API server at %s: %w", config.Host, err)
	}
	c.replicas(ctx)
	found := &InForce{}
	if registered := c.facts.webhook.value; registered != nil {
		found.Installed = registered.CreationTimestamp.Time
	}
	var debug *health.PolicyDocument
	debug, found.NoReplica = c.facts.askedReplica()

	known := (*knownPolicy)(nil)
	if o.Policy != nil {
		compiled, err := policy.Compile(o.Policy, c.facts.excludedNamespace())
		if err != nil {
			return nil, fmt.Errorf("cannot compile the policy: %w", err)
		}
		known = &knownPolicy{from: "--policy", document: o.Policy, compiled: compiled}
	} else if known = c.facts.inForce(); known == nil {
		c.configMap(ctx)
		known = c.facts.inForce()
	}
	if known == nil {
		return nil, fmt.Errorf("%w (%s)", errNoPolicy, oneLine(errors.Join(found.NoReplica, c.facts.configMap.err).Error()))
	}
	found.From, found.Policy = known.from, known.compiled
	if debug != nil {
		found.Gates, found.Discovered = gatesOf(debug, known.compiled), discoveredBy(debug)
	}
	if found.Advice = o.Advice; found.Advice == nil {
		if found.Advice, err = c.adviceInForce(ctx, debug); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// discoveredBy is what a replica decides with. One that discovers nothing knows
// nothing, which is known.
func discoveredBy(debug *health.PolicyDocument) *policy.Discovered {
	if debug.Discovered == nil {
		return &policy.Discovered{}
	}
	return &debug.Discovered.Discovered
}

// askedReplica returns what the first replica that answered said, or why none
// did.
func (f *Facts) askedReplica() (*health.PolicyDocument, error) {
	if f.replicas.err != nil {
		return nil, f.replicas.err
	}
	why := errors.New("no replica is ready")
	for i := range f.replicas.value {
		r := &f.replicas.value[i]
		switch {
		case r.debug.value != nil && r.debug.value.Document != nil:
			return r.debug.value, nil
		case r.debug.err != nil:
			why = fmt.Errorf("%s: %w", r, r.debug.err)
		}
	}
	return nil, why
}

// gatesOf returns the gates of a policy as a replica shows them, nil where it
// does not show them all.
func gatesOf(debug *health.PolicyDocument, compiled *policy.Compiled) *policy.Gates {
	type target struct {
		gate gates.Kind
		name string
	}
	open, upstreams, public := map[target]bool{}, map[policy.Upstream]policy.Reason{}, false
	for _, shown := range debug.Gates {
		at := target{shown.Gate, shown.Target}
		// A DaemonSet may have more than one gate, with other limits.
		earlier, seen := open[at]
		open[at] = shown.Open && (earlier || !seen)
		if shown.Gate == gates.KindUpstream {
			upstreams[shown.Upstream], public = shown.Reason, len(shown.PublicNamespaces) > 0
		}
	}
	found := &policy.Gates{
		ServiceHosts: map[policy.Endpoint]bool{}, Caches: map[policy.Cache]bool{}, Upstreams: upstreams, PublicNamespace: public,
	}
	all := true
	isOpen := func(kind gates.Kind, name string) bool {
		value, shown := open[target{kind, name}]
		all = all && shown
		return value
	}
	for _, probe := range compiled.HostProbes() {
		found.ServiceHosts[probe.Endpoint] = isOpen(gates.KindServiceHost, net.JoinHostPort(probe.Host, probe.Port))
	}
	for _, cache := range compiled.Caches() {
		found.Caches[cache] = isOpen(gates.KindNodeLocal, cache.DaemonSet)
	}
	for _, probe := range compiled.UpstreamProbes() {
		_, shown := upstreams[probe.Upstream]
		all = all && shown
	}
	if !all {
		return nil
	}
	return found
}
