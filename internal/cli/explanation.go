package cli

import (
	"encoding/json"
	"fmt"

	jsonpatch "gomodules.xyz/jsonpatch/v2"
	evanphx "gopkg.in/evanphx/json-patch.v4"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// explanation is what explain -o json prints for a pod. Fields are only ever
// added; the help of the command lists them.
type explanation struct {
	Namespace string `json:"namespace"`
	// Pod is the name, or the generateName.
	Pod      string          `json:"pod"`
	Workload policy.Workload `json:"workload"`
	Policy   policyReference `json:"policy"`
	// Rule is empty where the pod was skipped before rules were asked.
	Rule        string                 `json:"rule,omitzero"`
	ServiceHost serviceHostExplanation `json:"serviceHost"`
	DNS         dnsExplanation         `json:"dns"`
	Record      recordExplanation      `json:"record"`
	Warnings    []string               `json:"warnings"`
	// Patch turns the manifest's pod into the admitted one. It is a preview
	// where an action is dry_run.
	Patch      []jsonpatch.Operation `json:"patch"`
	ResolvConf resolvConfExplanation `json:"resolvConf"`
	// Resolvers has the containers, where the policy has hints.
	Resolvers []resolverExplanation `json:"resolvers,omitzero"`
	// Lookups is there with --lookup.
	Lookups *lookupsExplanation `json:"lookups,omitzero"`

	// What the text says besides.

	generated       bool            // Pod is a generateName
	builtIn         bool            // no --policy
	from            policy.Workload // the workload that the pod was made from
	namespaceLabels map[string]string
	decision        policy.Decision
	request         policy.Request
	dryRun          bool
	patched         []byte // the pod with the patch
	admitted        []byte // the pod as it is admitted: without it in DryRun
	// What depends on a health gate being open.
	hostGate, cacheGate bool
}

type policyReference struct {
	Name string      `json:"name"`
	Hash string      `json:"hash"`
	Mode policy.Mode `json:"mode"`
}

type serviceHostExplanation struct {
	Action  policy.Action `json:"action"`
	Reason  policy.Reason `json:"reason"`
	Message string        `json:"message"`
	// Host is the value of KUBERNETES_SERVICE_HOST, unless it is taken from
	// status.hostIP.
	Host       string `json:"host,omitzero"`
	FromNodeIP bool   `json:"fromNodeIP,omitzero"`
	// Port is the value of KUBERNETES_SERVICE_PORT, where it is set too.
	Port       string                 `json:"port,omitzero"`
	Containers []containerExplanation `json:"containers"`
}

type containerExplanation struct {
	Name     string               `json:"name"`
	List     policy.ContainerList `json:"list"`
	Injected bool                 `json:"injected"`
	// Reason why it is not injected.
	Reason  policy.Reason `json:"reason,omitzero"`
	Message string        `json:"message,omitzero"`
}

type dnsExplanation struct {
	Action  policy.Action  `json:"action"`
	Reason  policy.Reason  `json:"reason"`
	Message string         `json:"message"`
	Mode    policy.DNSMode `json:"mode,omitzero"`
	// Options are added unless the pod sets them itself.
	Options []policy.Option `json:"options,omitzero"`
	// The rest is of mode NodeLocal, in the order in which it is written.
	Servers         []string `json:"servers,omitzero"`
	FallbackServers []string `json:"fallbackServers,omitzero"`
	Domain          string   `json:"domain,omitzero"`
	ExtraSearches   []string `json:"extraSearches,omitzero"`
}

type recordExplanation struct {
	Value *mutate.Record `json:"value,omitzero"`
	// Reason why there is none on a pod that is patched.
	Reason  policy.Reason `json:"reason,omitzero"`
	Message string        `json:"message,omitzero"`

	text string
}

type resolvConfExplanation struct {
	Before resolver.ResolvConf `json:"before"`
	After  resolver.ResolvConf `json:"after"`
	// Notes say what is not known here, and what kubelet does that the pod's
	// author may not expect.
	Notes []string `json:"notes"`
}

func newExplanation(compiled *policy.Compiled, m *manifest, r *mutate.Result) explanation {
	d := &r.Decision
	e := explanation{
		Namespace: m.namespace,
		Pod:       m.pod.Metadata.Name,
		Workload:  m.pod.Workload(),
		Policy:    policyReference{compiled.Name(), compiled.Hash(), compiled.Document().Spec.Mode},
		Rule:      d.Rule,
		ServiceHost: serviceHostExplanation{
			Action: d.ServiceHost.Action, Reason: d.ServiceHost.Reason, Message: d.ServiceHost.Reason.Sentence(),
			Host: d.ServiceHost.Host, FromNodeIP: d.ServiceHost.FromNodeIP, Port: d.ServiceHost.Port,
			Containers: []containerExplanation{},
		},
		DNS: dnsExplanation{
			Action: d.DNS.Action, Reason: d.DNS.Reason, Message: d.DNS.Reason.Sentence(),
			Mode: d.DNS.Mode, Options: d.DNS.Options,
			Servers: d.DNS.Servers, FallbackServers: d.DNS.FallbackServers, Domain: d.DNS.Domain, ExtraSearches: d.DNS.ExtraSearches,
		},
		Warnings: orEmptyList(d.Warnings),
		Patch:    orEmptyList(r.Operations),
		from:     m.from,
		decision: *d,
		request:  r.Request,
		dryRun:   r.DryRun(),
	}
	if e.Pod == "" {
		e.Pod, e.generated = m.pod.Metadata.GenerateName, true
	}
	for target := range r.Request.ServiceHostTargets() {
		c := containerExplanation{Name: target.Container.Name, List: target.List, Reason: target.Reason}
		if c.Reason == "" && !d.ServiceHost.Injects() {
			c.Reason = d.ServiceHost.Reason
		}
		c.Injected, c.Message = c.Reason == "", c.Reason.Sentence()
		e.ServiceHost.Containers = append(e.ServiceHost.Containers, c)
	}
	return e
}

// setRecord takes the record from the patched pod.
func (e *explanation) setRecord(r *mutate.Result, patched *policy.Pod) {
	if r.RecordReason != "" {
		e.Record = recordExplanation{Reason: r.RecordReason, Message: r.RecordReason.Sentence()}
		return
	}
	if !r.Decision.ServiceHost.Injects() && !r.Decision.DNS.Injects() {
		return
	}
	text := patched.Metadata.Annotations[policy.AnnotationInjected]
	var record mutate.Record
	if json.Unmarshal([]byte(text), &record) == nil {
		e.Record = recordExplanation{Value: &record, text: text}
	}
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
