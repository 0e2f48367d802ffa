package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/internal/namespaces"
	"github.com/shorthop/shorthop/pkg/policy"
)

// standalone is the environment of a server without a connection to an API server:
// there are no gates, as the CA by which to know an API server is not known, and
// nothing is discovered.
type standalone struct {
	current func() *policy.Compiled
	log     logr.Logger
}

func (*standalone) labels() admission.Namespaces { return namespaces.None{} }

func (*standalone) synced() bool { return true }

func (*standalone) gates() *policy.Gates { return nil }

func (*standalone) discovered() *policy.Discovered { return nil }

func (*standalone) describe(*health.Options) {}

func (*standalone) prepare(context.Context, *policy.Compiled) (inForce func()) { return func() {} }

func (*standalone) firstAnswers(context.Context) {}

func (*standalone) selfManaged() (certSource, error) {
	return nil, errors.New("a self-managed certificate needs the cluster, which --cluster-access=false rules out")
}

func (s *standalone) background(func() bool) ([]runnable, error) {
	if compiled := s.current(); compiled == nil || len(compiled.HostProbes()) > 0 {
		s.log.Info("service hosts have no health gate, because of --cluster-access=false")
	}
	return nil, nil
}

// withoutCluster returns every field of a policy that cannot be honoured under
// --cluster-access=false, with what to do about it.
//
//	field                          refused where
//	match.namespaceSelector        it selects by anything
//	cluster.domain                 it is not set and mode NodeLocal is used
//	dns.nodeLocal.daemonSet,       mode NodeLocal is used with a DaemonSet to watch
//	  daemonSetSelector
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
	modes, gates := nodeLocalFields(spec)
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
// that name a DaemonSet for it, each once.
func nodeLocalFields(spec *policy.Spec) (modes, gates []*field.Path) {
	seen := map[string]bool{}
	add := func(fields *[]*field.Path, path *field.Path) {
		if text := path.String(); !seen[text] {
			seen[text] = true
			*fields = append(*fields, path)
		}
	}
	for e := range spec.Effective() {
		if e.DNS == nil || e.DNS.Mode != policy.DNSModeNodeLocal {
			continue
		}
		add(&modes, e.Field(e.DNS.ModeBy, "dns", "mode"))
		if _, gated := e.DNS.NodeLocal.Cache(); gated {
			name := "daemonSet"
			if e.DNS.NodeLocal.DaemonSetSelector != nil {
				name = "daemonSetSelector"
			}
			add(&gates, e.Field(e.DNS.DaemonSetBy, "dns", "nodeLocal", name))
		}
	}
	return modes, gates
}
