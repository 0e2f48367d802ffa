package explain

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"

	jsonpatch "gomodules.xyz/jsonpatch/v2"
	evanphx "gopkg.in/evanphx/json-patch.v4"

	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Explanation is what explain -o json prints for a pod. Fields of the JSON are
// only ever added; the help of the command lists them.
type Explanation struct {
	Namespace string `json:"namespace"`
	// Pod is the name, or the generateName.
	Pod string `json:"pod"`
	// File is what it was read from, and Document which one of it, from 1; 0 of
	// an only one.
	File     string          `json:"file"`
	Document int             `json:"document,omitzero"`
	Workload policy.Workload `json:"workload"`
	// MadeFrom is the object with the pod template; empty for a pod.
	MadeFrom policy.Workload `json:"madeFrom,omitzero"`
	Policy   PolicyReference `json:"policy"`
	// Rule is empty where the pod was skipped before rules were asked.
	Rule        string      `json:"rule,omitzero"`
	ServiceHost ServiceHost `json:"serviceHost"`
	DNS         DNS         `json:"dns"`
	Fallthrough Fallthrough `json:"fallthrough"`
	Advice      Advice      `json:"advice"`
	Record      Record      `json:"record"`
	Warnings    []string    `json:"warnings"`
	// Notes say what neither decision nor patch shows.
	Notes []string `json:"notes,omitzero"`
	// Patch turns the manifest's pod into the admitted one. It is a preview
	// where an action is dry_run.
	Patch      []jsonpatch.Operation `json:"patch"`
	ResolvConf ResolvConf            `json:"resolvConf"`
	// Resolvers has the containers, where the policy has hints.
	Resolvers []Resolver `json:"resolvers,omitzero"`
	// Lookups is there with --lookup.
	Lookups *Lookups `json:"lookups,omitzero"`

	// What the text says besides.

	// Generated: Pod is a generateName.
	Generated bool `json:"-"`
	// Guessed: MadeFrom is only taken to own the pod.
	Guessed bool `json:"-"`
	// NamespaceLabels are those that were given, without the name.
	NamespaceLabels map[string]string `json:"-"`
	// NamespaceAnnotations are those that were given.
	NamespaceAnnotations map[string]string `json:"-"`
	// DryRun: Patch is a preview.
	DryRun bool `json:"-"`
	// Admitted is the pod as it is admitted: without the patch in DryRun.
	Admitted []byte `json:"-"`
}

// PolicyReference says which policy it is.
type PolicyReference struct {
	Name string      `json:"name"`
	Hash string      `json:"hash"`
	Mode policy.Mode `json:"mode"`
}

// ReferenceTo says which policy is in force.
func ReferenceTo(compiled *policy.Compiled) PolicyReference {
	return PolicyReference{compiled.Name(), compiled.Hash(), compiled.Document().Spec.Mode}
}

// Outcome is what is done with a feature, and why.
type Outcome struct {
	Action  policy.Action `json:"action"`
	Reason  policy.Reason `json:"reason"`
	Message string        `json:"message"`
	// Also are the reasons behind this one: they would count if it did not.
	Also []Also `json:"also,omitzero"`
	// AssumesGate: it would be another one with a closed health gate.
	AssumesGate bool `json:"-"`
}

// Also is a reason behind another one.
type Also struct {
	Reason  policy.Reason `json:"reason"`
	Message string        `json:"message"`
}

func newOutcome(o policy.Outcome, besides []policy.Reason) Outcome {
	outcome := Outcome{Action: o.Action, Reason: o.Reason, Message: o.Reason.Sentence()}
	for _, reason := range besides {
		outcome.Also = append(outcome.Also, Also{reason, reason.Sentence()})
	}
	return outcome
}

// Injects reports whether pods get something, or would in Enforce.
func (o *Outcome) Injects() bool { return policy.Outcome{Action: o.Action}.Injects() }

// ServiceHost is what is done with KUBERNETES_SERVICE_HOST.
type ServiceHost struct {
	Outcome
	// Host is the value of KUBERNETES_SERVICE_HOST, unless it is taken from
	// status.hostIP.
	Host       string `json:"host,omitzero"`
	FromNodeIP bool   `json:"fromNodeIP,omitzero"`
	// Port is the value of KUBERNETES_SERVICE_PORT and of
	// KUBERNETES_SERVICE_PORT_HTTPS, where they are set too.
	Port string `json:"port,omitzero"`
	// Earlier says what becomes of what an earlier review put on the pod, where
	// there is something and the feature is skipped.
	Earlier    policy.Earlier `json:"earlier,omitzero"`
	Containers []Container    `json:"containers"`
}

// Container is a container, and whether it gets the host.
type Container struct {
	Name     string               `json:"name"`
	List     policy.ContainerList `json:"list"`
	Injected bool                 `json:"injected"`
	// Reason why it is not injected.
	Reason  policy.Reason `json:"reason,omitzero"`
	Message string        `json:"message,omitzero"`
	// Port that it gets though the policy names none.
	Port string `json:"port,omitzero"`
}

// DNS is what is done with the pod's DNS settings.
type DNS struct {
	Outcome
	// Earlier is as for the service host.
	Earlier policy.Earlier `json:"earlier,omitzero"`
	Mode    policy.DNSMode `json:"mode,omitzero"`
	// Options are added unless the pod sets them itself.
	Options []policy.Option `json:"options,omitzero"`
	// Kept are the names of the options that the pod sets itself.
	Kept []string `json:"-"`
	// The rest is of mode NodeLocal, in the order in which it is written.
	Servers         []string `json:"servers,omitzero"`
	FallbackServers []string `json:"fallbackServers,omitzero"`
	Domain          string   `json:"domain,omitzero"`
	ExtraSearches   []string `json:"extraSearches,omitzero"`
}

// Record is what is recorded on the pod, in the annotation
// shorthop.dev/injected.
type Record struct {
	Value *mutate.Record `json:"value,omitzero"`
	// Reason why there is none on a pod that is patched.
	Reason  policy.Reason `json:"reason,omitzero"`
	Message string        `json:"message,omitzero"`

	// Text is the annotation as it is written.
	Text string `json:"-"`
}

// ResolvConf is the pod's resolv.conf without the patch, and with it.
type ResolvConf struct {
	Before resolver.ResolvConf `json:"before"`
	After  resolver.ResolvConf `json:"after"`
	// Notes say what is not known here, and what kubelet does that the pod's
	// author may not expect.
	Notes []string `json:"notes"`
}

func newExplanation(compiled *policy.Compiled, p *manifest.Pod, r *mutate.Result) *Explanation {
	d := &r.Decision
	besides := compiled.Besides(&r.Request, d)
	e := &Explanation{
		Namespace: p.Namespace,
		Pod:       nameOf(p),
		File:      p.File,
		Document:  p.Document,
		Workload:  p.Workload(),
		MadeFrom:  p.From,
		Policy:    ReferenceTo(compiled),
		Rule:      d.Rule,
		ServiceHost: ServiceHost{
			Outcome: newOutcome(d.ServiceHost.Outcome, besides.ServiceHost),
			Host:    d.ServiceHost.Host, FromNodeIP: d.ServiceHost.FromNodeIP, Port: d.ServiceHost.Port,
			Containers: []Container{},
			Earlier:    r.ServiceHostEarlier,
		},
		DNS: DNS{
			Outcome: newOutcome(d.DNS.Outcome, besides.DNS),
			Earlier: r.DNSEarlier, Mode: d.DNS.Mode, Options: d.DNS.Options,
			Servers: d.DNS.Servers, FallbackServers: d.DNS.FallbackServers, Domain: d.DNS.Domain, ExtraSearches: d.DNS.ExtraSearches,
		},
		Advice:   Advice{Outcome: newOutcome(d.Advice.Outcome, nil), Ndots: d.Advice.Ndots, Fallthrough: d.Advice.Fallthrough},
		Warnings: orEmptyList(d.Warnings),
		Patch:    orEmptyList(r.Operations),

		Generated: p.Metadata.Name == "",
		Guessed:   p.Guessed,
		DryRun:    r.DryRun(),
	}
	for _, option := range d.DNS.Options {
		if r.Request.Pod.HasOption(option.Name) {
			e.DNS.Kept = append(e.DNS.Kept, option.Name)
		}
	}
	for target := range r.Request.ServiceHostTargets(&r.Decision.ServiceHost) {
		c := Container{Name: target.Container.Name, List: target.List, Reason: target.Reason}
		if c.Reason == "" && !d.ServiceHost.Injects() {
			c.Reason = d.ServiceHost.Reason
		}
		c.Injected, c.Message = c.Reason == "", c.Reason.Sentence()
		if c.Injected && target.PairPort {
			c.Port = target.Port
		}
		e.ServiceHost.Containers = append(e.ServiceHost.Containers, c)
	}
	return e
}

// nameOf is the pod's name, or its generateName.
func nameOf(p *manifest.Pod) string { return cmp.Or(p.Metadata.Name, p.Metadata.GenerateName) }

// assumeGates finds out by a second decision, with all gates closed, which
// outcomes rest on an open one.
func (e *Explanation) assumeGates(compiled *policy.Compiled, r *mutate.Result) {
	closed := r.Request
	closed.Gates = &policy.Gates{}
	otherwise := compiled.Decide(&closed)
	e.ServiceHost.AssumesGate = e.ServiceHost.Injects() && !otherwise.ServiceHost.Injects()
	e.DNS.AssumesGate = e.DNS.Mode == policy.DNSModeNodeLocal && otherwise.DNS.Reason == policy.ReasonNodeLocalUnhealthy
}

// assumeUpstream is assumeGates for fall-through: with the gates of the upstreams
// closed, with servers that ask the outside about names that end in svc, and with a
// namespace that the outside knows.
func (e *Explanation) assumeUpstream(compiled *policy.Compiled, r *mutate.Result) {
	if !e.Fallthrough.Injects() {
		return
	}
	restsOn := func(change func(*policy.Gates)) bool {
		other, gates := r.Request, *r.Request.Gates
		change(&gates)
		other.Gates = &gates
		otherwise := compiled.Decide(&other).Fallthrough
		return otherwise.Injects() != e.Fallthrough.Injects() || otherwise.Ndots != e.Fallthrough.Ndots
	}
	upstreams := func(reason policy.Reason) func(*policy.Gates) {
		return func(g *policy.Gates) {
			g.Upstreams = maps.Clone(g.Upstreams)
			for upstream, known := range g.Upstreams {
				g.Upstreams[upstream] = cmp.Or(known, reason)
			}
		}
	}
	e.Fallthrough.AssumesGate = restsOn(upstreams(policy.ReasonUpstreamFails))
	e.Fallthrough.AssumesLocal = restsOn(upstreams(policy.ReasonServiceNotLocal))
	e.Fallthrough.AssumesPrivate = restsOn(func(g *policy.Gates) { g.PublicNamespace = true })
}

// setRecord takes the record from the patched pod.
func (e *Explanation) setRecord(r *mutate.Result, patched *policy.Pod) {
	if r.RecordReason != "" {
		e.Record = Record{Reason: r.RecordReason, Message: r.RecordReason.Sentence()}
		return
	}
	text, recorded := patched.Metadata.Annotations[policy.AnnotationInjected]
	if !recorded || !r.Decision.ServiceHost.Injects() && !r.Decision.DNS.Injects() && !r.Decision.Fallthrough.ThroughEnvironment() &&
		r.ServiceHostEarlier == "" && r.DNSEarlier == "" && r.FallthroughEarlier == "" {
		return
	}
	var record mutate.Record
	if json.Unmarshal([]byte(text), &record) == nil {
		e.Record = Record{Value: &record, Text: text}
	}
}

// notesOnRecord say what is not known of an earlier review of the pod.
func notesOnRecord(pod *policy.Pod) []string {
	_, annotated := pod.Metadata.Annotations[policy.AnnotationInjected]
	switch reading := mutate.ReadRecord(pod); {
	case reading.UnknownVersion != 0:
		return []string{fmt.Sprintf("The annotation %s is a record of version %d, which is not known here: a newer Shorthop has reviewed the pod, or somebody has written it. "+
			"What that review added is not known, and counts as the pod's own.", policy.AnnotationInjected, reading.UnknownVersion)}
	case annotated && !reading.Found:
		return []string{fmt.Sprintf("The annotation %s is no record that can be read: what an earlier review added, if there was one, counts as the pod's own.", policy.AnnotationInjected)}
	}
	return nil
}

// applyPatch does what the API server does with a patch, with the library it
// uses.
func applyPatch(pod []byte, operations []jsonpatch.Operation) ([]byte, error) {
	if len(operations) == 0 {
		return pod, nil
	}
	encoded, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("encode the patch: %w", err)
	}
	patch, err := evanphx.DecodePatch(encoded)
	if err != nil {
		return nil, fmt.Errorf("decode the patch: %w", err)
	}
	patched, err := patch.Apply(pod)
	if err != nil {
		return nil, fmt.Errorf("apply the patch: %w", err)
	}
	return patched, nil
}

// orEmptyList makes a list that JSON shows as [], not null.
func orEmptyList[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
