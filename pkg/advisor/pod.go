package advisor

import (
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Pod is what is read of a pod to find it in a log. It decodes from the API's
// JSON. Lists may also have Services, Namespaces and StatefulSets, of which the
// name counts, and a StatefulSet's serviceName; and Cilium's network policies, which
// count if they have rules for DNS.
type Pod struct {
	// Kind is empty in a list of pods from the API server.
	Kind     string   `json:"kind,omitzero"`
	Metadata Metadata `json:"metadata"`
	Spec     Spec     `json:"spec"`
	Status   Status   `json:"status"`
	// Specs are of a policy of Cilium with several.
	Specs jsontext.Value `json:"specs,omitzero"`
}

// Metadata is the part of a pod's metadata that is read.
type Metadata struct {
	policy.PodMetadata
	CreationTimestamp time.Time  `json:"creationTimestamp,omitzero"`
	DeletionTimestamp *time.Time `json:"deletionTimestamp,omitzero"`
}

// Spec is the part of a pod's spec that is read.
type Spec struct {
	policy.PodSpec
	// Containers in place of what a review reads.
	InitContainers []Container `json:"initContainers,omitzero"`
	Containers     []Container `json:"containers,omitzero"`
	Subdomain      string      `json:"subdomain,omitzero"`
	// ServiceName is a StatefulSet's.
	ServiceName string `json:"serviceName,omitzero"`
	// Egress is a network policy's. It is not taken apart: other kinds may have it in
	// whatever shape.
	Egress jsontext.Value `json:"egress,omitzero"`
}

// Container is the part of a container that is read.
type Container struct {
	policy.ContainerImage
	Command []string        `json:"command,omitzero"`
	Args    []string        `json:"args,omitzero"`
	Env     []policy.EnvVar `json:"env,omitzero"`
}

// Status is the part of a pod's status that is read.
type Status struct {
	Phase             string            `json:"phase,omitzero"`
	HostIP            string            `json:"hostIP,omitzero"`
	PodIP             string            `json:"podIP,omitzero"`
	PodIPs            []PodIP           `json:"podIPs,omitzero"`
	StartTime         *time.Time        `json:"startTime,omitzero"`
	Conditions        []PodCondition    `json:"conditions,omitzero"`
	ContainerStatuses []ContainerStatus `json:"containerStatuses,omitzero"`
}

// PodIP is one of a pod's addresses.
type PodIP struct {
	IP string `json:"ip"`
}

// PodCondition tells when something of a pod changed.
type PodCondition struct {
	Type               string     `json:"type"`
	Status             string     `json:"status"`
	LastTransitionTime *time.Time `json:"lastTransitionTime,omitzero"`
}

// ContainerStatus tells when a container began and ended.
type ContainerStatus struct {
	RestartCount int `json:"restartCount,omitzero"`
	State        struct {
		Running *struct {
			StartedAt *time.Time `json:"startedAt"`
		} `json:"running,omitzero"`
		Terminated *struct {
			FinishedAt *time.Time `json:"finishedAt"`
		} `json:"terminated,omitzero"`
	} `json:"state"`
}

// end is when the pod gave its address back, as far as that is known.
func (p *Pod) end() int64 {
	ended := p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed"
	var end int64
	if ended {
		for i := range p.Status.ContainerStatuses {
			if t := p.Status.ContainerStatuses[i].State.Terminated; t != nil && t.FinishedAt != nil && !t.FinishedAt.IsZero() {
				end = max(end, t.FinishedAt.Unix())
			}
		}
		for _, c := range p.Status.Conditions {
			// Containers are not ready from their end on, and not later.
			if end == 0 && c.Type == "Ready" && c.Status == "False" && c.LastTransitionTime != nil && !c.LastTransitionTime.IsZero() {
				end = c.LastTransitionTime.Unix()
			}
		}
	}
	if end == 0 && p.Metadata.DeletionTimestamp != nil {
		end = p.Metadata.DeletionTimestamp.Unix() // includes the grace period
	}
	if end == 0 && ended {
		return unknownEnd
	}
	return end
}

// start is a time at which all containers of a pod started.
type start struct {
	at int64
	// by is when the pod must have asked for something, if that start was its first; 0
	// where it had asked before.
	by int64
}

// firstQuery is how long in seconds a pod may take to ask for its first name, so that
// what it asks at its start is known to be in the log.
const firstQuery = 60

// starts are those that are known. A container that is started again does what it
// does at a start, but init containers do not.
func (p *Pod) starts() (starts []start) {
	var running int64
	for i := range p.Status.ContainerStatuses {
		if r := p.Status.ContainerStatuses[i].State.Running; r != nil && r.StartedAt != nil && !r.StartedAt.IsZero() {
			running = max(running, r.StartedAt.Unix())
		}
	}
	restarted := slices.ContainsFunc(p.Status.ContainerStatuses, func(c ContainerStatus) bool { return c.RestartCount > 0 })
	if t := p.Metadata.CreationTimestamp; !t.IsZero() {
		created := start{at: t.Unix(), by: t.Unix() + firstQuery}
		if !restarted { // images may have been pulled until then
			created.by = max(created.by, running+firstQuery)
		}
		starts = append(starts, created)
	}
	if restarted && running != 0 && len(p.Spec.Containers) == 1 && len(p.Spec.InitContainers) == 0 {
		starts = append(starts, start{at: running})
	}
	return starts
}
