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
	"github.com/shorthop/shorthop/internal/webhookconfig"
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
	// Filter is for which new pods the API server calls the webhook; nil: it is not
	// known, or does not count. NoFilter says why, "" where that is as it should be.
	Filter   *webhookconfig.Filter
	NoFilter string
	// OtherFilter: the filter was made for another policy.
	OtherFilter bool
	// SeveralConfigMaps says which of several was taken, "" where there is one.
	SeveralConfigMaps string
}

// readFilter reads what selectors leave out:
//
//	the webhook configuration                          the filter
//	cannot be read, or is not there                    not known
//	was made for another policy than one that the      does not count: it will be replaced with the policy
//	  operator names
//	any other                                          counts as it is
func (found *InForce) readFilter(f *Facts, given *policy.InjectionPolicy) {
	config, err := f.configuration()
	if err != nil {
		if found.NoFilter = err.Error(); f.webhook.err == nil {
			found.NoFilter += ", so that no new pod is changed before it is installed"
		}
		return
	}
	made, want := webhookconfig.FilterHashes(config.Annotations, found.Policy.Document())
	found.OtherFilter = made != want
	if found.OtherFilter && given != nil {
		found.NoFilter = "webhook configuration " + config.Name + " was made for another policy than --policy"
		return
	}
	if found.Filter, err = webhookconfig.FilterOf(config); err != nil {
		found.NoFilter = fmt.Sprintf("webhook configuration %s: %v", config.Name, err)
	}
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
		why := c.facts.noPolicy()
		if found.NoReplica != nil {
			why = fmt.Errorf("%w (%s)", why, oneLine(found.NoReplica.Error()))
		}
		return nil, why
	}
	found.From, found.Policy = known.from, known.compiled
	if !known.ofReplica && o.Policy == nil {
		found.SeveralConfigMaps = c.facts.severalConfigMaps()
	}
	found.readFilter(c.facts, o.Policy)
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
