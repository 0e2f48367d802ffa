package app

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shorthop/shorthop/internal/buildinfo"
	"github.com/shorthop/shorthop/pkg/policy"
)

// clusterConfig says how to reach the API server: by the file, or as a pod of
// the cluster where there is none.
func clusterConfig(kubeconfig string) (*rest.Config, error) {
	var config *rest.Config
	var err error
	if kubeconfig != "" {
		if config, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
			return nil, fmt.Errorf("reading --kubeconfig: %w", err)
		}
	} else if config, err = rest.InClusterConfig(); err != nil {
		return nil, fmt.Errorf("no --kubeconfig, and not in a pod (--cluster-access=false does without an API server): %w", err)
	}
	config.UserAgent = "shorthop-webhook/" + buildinfo.Version
	// A client-side limit would make reads of new namespaces wait for each
	// other and fail. There is one read for each at a time, and the API server
	// protects itself.
	config.QPS = -1
	return config, nil
}

// withoutCluster returns every field of a policy that cannot be honoured under
// --cluster-access=false, with what to do about it.
//
//	field                          refused where
//	match.namespaceSelector        it selects by anything
//	cluster.domain                 it is not set and mode NodeLocal is used
//	dns.nodeLocal.daemonSet        mode NodeLocal is used with a DaemonSet to watch
func withoutCluster(c *policy.Compiled) error {
	spec, at := &c.Document().Spec, field.NewPath("spec")
	var errs field.ErrorList
	for i := range spec.Rules {
		selector := spec.Rules[i].Match.NamespaceSelector
		if selector != nil && len(selector.MatchLabels)+len(selector.MatchExpressions) > 0 {
			errs = append(errs, field.Forbidden(at.Child("rules").Index(i).Child("match", "namespaceSelector"),
				"the labels of namespaces cannot be read; select by name with match.namespaces"))
		}
	}
	modes, gates := nodeLocalFields(spec, at)
	if len(modes) > 0 && spec.Cluster.Domain == "" {
		errs = append(errs, field.Required(at.Child("cluster", "domain"),
			fmt.Sprintf("the domain cannot be discovered, and mode NodeLocal (%s) needs it; set it, usually to cluster.local", modes[0])))
	}
	for _, gate := range gates {
		errs = append(errs, field.Forbidden(gate,
			`the DaemonSet's health cannot be watched; set it to "" to use the node-local cache without a health gate`))
	}
	if len(errs) == 0 {
		return nil
	}
	lines := make([]error, len(errs))
	for i := range errs {
		lines[i] = errs[i]
	}
	return fmt.Errorf("needs the cluster, which --cluster-access=false rules out\n%w", errors.Join(lines...))
}

// nodeLocalFields returns the fields that choose mode NodeLocal, and those
// that name a DaemonSet for it: a rule takes both from the policy unless it
// names them itself.
func nodeLocalFields(spec *policy.Spec, at *field.Path) (modes, gates []*field.Path) {
	base := spec.DNS
	if base == nil {
		base = &policy.DNS{}
	}
	add := func(fields *[]*field.Path, path *field.Path) {
		if !slices.ContainsFunc(*fields, func(p *field.Path) bool { return p.String() == path.String() }) {
			*fields = append(*fields, path)
		}
	}
	block := func(dns *policy.DNS, here *field.Path) {
		modeAt, mode := here.Child("mode"), dns.Mode
		if mode == "" {
			modeAt, mode = at.Child("dns", "mode"), base.Mode
		}
		if mode != policy.DNSModeNodeLocal {
			return
		}
		add(&modes, modeAt)
		gateAt, gate := here, dns.NodeLocal.DaemonSet
		if gate == nil && base.NodeLocal.DaemonSet != nil {
			gateAt, gate = at.Child("dns"), base.NodeLocal.DaemonSet
		}
		// A block that names none, and has none to take over, gets the default.
		if gate == nil || *gate != "" {
			add(&gates, gateAt.Child("nodeLocal", "daemonSet"))
		}
	}
	block(base, at.Child("dns"))
	for i := range spec.Rules {
		if dns := spec.Rules[i].DNS; dns != nil {
			block(dns, at.Child("rules").Index(i).Child("dns"))
		}
	}
	return modes, gates
}
