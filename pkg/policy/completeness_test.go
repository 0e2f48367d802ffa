package policy

import (
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// samples has, for every field that a rule can name, a value that is not the
// base policy's. A field without one fails the test.
var samples = map[string]any{
	"ServiceHost.Enabled":             new(false),
	"ServiceHost.Host":                "other.example.com",
	"ServiceHost.HostFrom":            HostFromNodeIP,
	"ServiceHost.Port":                new(int32(6443)),
	"ServiceHost.Probe":               &Probe{Interval: &metav1.Duration{Duration: time.Second}},
	"DNS.OwnConfig":                   OwnConfigLeave,
	"DNS.Enabled":                     new(false),
	"DNS.Mode":                        DNSModeNodeLocal,
	"DNS.Ndots":                       new(int32(1)),
	"DNS.Advice":                      AdviceApply,
	"DNS.MinConfidence":               ConfidenceMedium,
	"DNS.Fallthrough":                 &Fallthrough{Ndots: new(int32(3))},
	"DNS.Options":                     []Option{{Name: "rotate"}},
	"DNS.ExtraSearches":               []string{"corp.example.com"},
	"DNS.NodeLocal.Servers":           []string{"169.254.1.1"},
	"DNS.NodeLocal.FallbackServers":   []string{},
	"DNS.NodeLocal.DaemonSet":         new("dns/cache"),
	"DNS.NodeLocal.DaemonSetSelector": &DaemonSetSelector{Namespace: "dns", MatchLabels: map[string]string{"a": "b"}},
	"DNS.NodeLocal.MaxUnavailable":    new(intstr.FromInt32(1)),
	"Rollout.Percent":                 new(int32(1)),
	"Rule.Mode":                       ModeDryRun,
	"Match.Namespaces":                []string{"other"},
	"Match.NamespaceSelector":         &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
	"Match.PodSelector":               &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
	"Match.Owners":                    []Owner{{Kind: "Job"}},
	"Match.ServiceAccounts":           []string{"other"},
	"Match.PodAnnotations":            map[string]string{"a": "*"},
	"Match.NodeSelector":              map[string]string{"a": "*"},
	"Match.Tolerations":               []string{"*"},
	"Match.RuntimeClasses":            []string{"*"},
	"Match.PriorityClasses":           []string{"*"},
	"Match.HostNetwork":               new(true),
	"Match.DNSPolicies":               []string{"None"},
}

// setFields calls visit with the path and the settable value of every leaf
// field below v, which is a struct.
func setFields(v reflect.Value, path string, visit func(path string, field reflect.Value)) {
	for i := range v.NumField() {
		field, name := v.Field(i), path+"."+v.Type().Field(i).Name
		if field.Kind() == reflect.Struct {
			setFields(field, name, visit)
			continue
		}
		visit(name, field)
	}
}

func sample(t *testing.T, path string) (reflect.Value, bool) {
	value, ok := samples[path]
	if !ok {
		t.Errorf("no sample for %s: add one, so that this test covers the field", path)
		return reflect.Value{}, false
	}
	return reflect.ValueOf(value), true
}

func baseSpec() *InjectionPolicy {
	p := &InjectionPolicy{Spec: Spec{
		Cluster:     Cluster{Domain: "cluster.local", DNSServers: []string{"10.0.0.10"}},
		ServiceHost: &ServiceHost{Host: "api.example.com"},
		DNS:         &DNS{NodeLocal: NodeLocal{Servers: []string{"169.254.20.10"}}},
	}}
	SetDefaults(p)
	return p
}

func settingsOf(p *InjectionPolicy, r *Rule) settings {
	s := p.Spec
	s.Rules = []Rule{*r}
	return newSettings(&p.Spec, s.effective(0))
}

// A field that a rule can name and that merge forgets would be silently
// without effect.
func TestEveryFieldOfARuleOverridesThePolicy(t *testing.T) {
	t.Parallel()
	base := baseSpec()
	check := func(rule func(field reflect.Value, value reflect.Value) *Rule) func(string, reflect.Value) {
		return func(path string, field reflect.Value) {
			value, ok := sample(t, path)
			if !ok {
				return
			}
			r := rule(field, value)
			if reflect.DeepEqual(settingsOf(base, r), settingsOf(base, &Rule{Name: r.Name})) {
				t.Errorf("%s: a rule that names it changes nothing", path)
			}
			field.SetZero()
		}
	}
	serviceHost, dns, rollout := &ServiceHost{}, &DNS{}, &Rollout{}
	setFields(reflect.ValueOf(serviceHost).Elem(), "ServiceHost", check(func(field, value reflect.Value) *Rule {
		field.Set(value)
		return &Rule{Name: "r", ServiceHost: serviceHost}
	}))
	setFields(reflect.ValueOf(dns).Elem(), "DNS", check(func(field, value reflect.Value) *Rule {
		field.Set(value)
		return &Rule{Name: "r", DNS: dns}
	}))
	setFields(reflect.ValueOf(rollout).Elem(), "Rollout", check(func(field, value reflect.Value) *Rule {
		field.Set(value)
		return &Rule{Name: "r", Rollout: *rollout}
	}))
	// The blocks above, the match, and the name that is no setting.
	covered := map[string]bool{"Name": true, "Match": true, "ServiceHost": true, "DNS": true, "Rollout": true}
	r := &Rule{Name: "r"}
	for i, field := range reflect.ValueOf(r).Elem().Fields() {
		if !covered[i.Name] {
			check(func(field, value reflect.Value) *Rule {
				field.Set(value)
				return r
			})("Rule."+i.Name, field)
		}
	}
}

// A condition that match forgets would make a rule apply to pods it was not
// written for.
func TestEveryConditionOfAMatchCanKeepAPodOut(t *testing.T) {
	t.Parallel()
	request := &Request{Namespace: "default", NamespaceKnown: true, Pod: &Pod{}}
	var match Match
	setFields(reflect.ValueOf(&match).Elem(), "Match", func(path string, field reflect.Value) {
		value, ok := sample(t, path)
		if !ok {
			return
		}
		field.Set(value)
		compiled, err := compileMatch(&match)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if compiled.match(request, []Workload{request.Pod.Workload()}) {
			t.Errorf("%s: a plain pod matches", path)
		}
		if match.matchesAll() {
			t.Errorf("%s: lint takes the rule for one that matches every pod", path)
		}
		field.SetZero()
	})
	compiled, err := compileMatch(&Match{})
	if err != nil || !compiled.match(request, []Workload{request.Pod.Workload()}) {
		t.Errorf("an empty match must hold for every pod (error %v)", err)
	}
}
