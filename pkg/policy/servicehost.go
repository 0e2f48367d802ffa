package policy

import "iter"

// Environment variables from which client libraries in a pod take the API
// server's address. kubelet sets both for every container; an entry in the
// container's env wins over kubelet's.
const (
	EnvServiceHost = "KUBERNETES_SERVICE_HOST"
	EnvServicePort = "KUBERNETES_SERVICE_PORT"
)

// ContainerList is the name of a list of containers in a pod's spec.
type ContainerList string

const (
	// InitContainers run before the others; with restartPolicy Always they are
	// sidecars.
	InitContainers ContainerList = "initContainers"
	// Containers are the pod's main containers.
	Containers ContainerList = "containers"
	// EphemeralContainers are added to a running pod, by kubectl debug for
	// example.
	EphemeralContainers ContainerList = "ephemeralContainers"
)

// Target is one container that a request may change.
type Target struct {
	List      ContainerList
	Index     int
	Container *Container
	// Reason says why the container is left alone; empty if it gets the
	// variable.
	Reason Reason
}

// ServiceHostTargets lists the containers that a request may change: all of a
// new pod (sidecars are init containers), and of an update only the ephemeral
// containers that the old pod does not have, since nothing else can be
// changed.
//
//	container's env                              gets the variable
//	names KUBERNETES_SERVICE_HOST, in any way    no, service_host_set
//	names KUBERNETES_SERVICE_PORT                no, service_port_set: the port is of another host
//	neither                                      yes
func (r *Request) ServiceHostTargets() iter.Seq[Target] {
	return func(yield func(Target) bool) {
		if r.Operation == OperationAddEphemeralContainer {
			for i := range r.Pod.Spec.EphemeralContainers {
				container := &r.Pod.Spec.EphemeralContainers[i]
				if r.existed(container.Name) {
					continue
				}
				if !yield(Target{EphemeralContainers, i, container, container.serviceHostReason()}) {
					return
				}
			}
			return
		}
		for i := range r.Pod.Spec.InitContainers {
			container := &r.Pod.Spec.InitContainers[i]
			if !yield(Target{InitContainers, i, container, container.serviceHostReason()}) {
				return
			}
		}
		for i := range r.Pod.Spec.Containers {
			container := &r.Pod.Spec.Containers[i]
			if !yield(Target{Containers, i, container, container.serviceHostReason()}) {
				return
			}
		}
	}
}

func (r *Request) existed(ephemeralContainer string) bool {
	if r.OldPod == nil {
		return false
	}
	for i := range r.OldPod.Spec.EphemeralContainers {
		if r.OldPod.Spec.EphemeralContainers[i].Name == ephemeralContainer {
			return true
		}
	}
	return false
}

func (c *Container) serviceHostReason() Reason {
	reason := Reason("")
	for i := range c.Env {
		switch c.Env[i].Name {
		case EnvServiceHost:
			return ReasonServiceHostSet
		case EnvServicePort:
			reason = ReasonServicePortSet
		}
	}
	return reason
}

// noServiceHostTarget returns the reason why no container gets the variable,
// or "" if one does. Of several reasons it is service_port_set, the one that a
// user is least likely to expect.
func (r *Request) noServiceHostTarget() Reason {
	reason := ReasonNoNewContainer
	for target := range r.ServiceHostTargets() {
		if target.Reason == "" {
			return ""
		}
		if reason != ReasonServicePortSet {
			reason = target.Reason
		}
	}
	return reason
}
