package policy

import (
	"cmp"
	"iter"
)

// Environment variables from which client libraries in a pod take the API
// server's address. kubelet sets all of them for every container; an entry in
// the container's env wins over kubelet's. Most clients read the first port,
// some the second, and both are of the same host.
const (
	EnvServiceHost      = "KUBERNETES_SERVICE_HOST"
	EnvServicePort      = "KUBERNETES_SERVICE_PORT"
	EnvServicePortHTTPS = "KUBERNETES_SERVICE_PORT_HTTPS"
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
	// Port is the value of KUBERNETES_SERVICE_PORT and
	// KUBERNETES_SERVICE_PORT_HTTPS in a container that gets the host; empty:
	// neither is injected. PairPort is true where that is not the policy's word.
	Port     string
	PairPort bool
}

// ServiceHostTargets lists the containers that a request may change: all of a
// new pod (sidecars are init containers), and of an update only the ephemeral
// containers that the old pod does not have, since nothing else can be
// changed. d says what they get. The first line that applies wins:
//
//	container's env                              gets the host   gets a port
//	names KUBERNETES_SERVICE_HOST, in any way    no, service_host_set
//	names KUBERNETES_SERVICE_PORT, or            no, service_port_set: the port is of another host
//	  KUBERNETES_SERVICE_PORT_HTTPS
//	would send it to a proxy (proxy.go), and     no, proxy
//	  no label of the pod asks for the host
//	has variables by envFrom                     yes             the policy's, else the Service's: an unseen
//	                                                             port would be of another host
//	none of them                                 yes             the policy's
func (r *Request) ServiceHostTargets(d *ServiceHostDecision) iter.Seq[Target] {
	return func(yield func(Target) bool) {
		for at, container := range r.newContainers {
			if !yield(r.target(d, at, container)) {
				return
			}
		}
	}
}

// place is where a container stands.
type place struct {
	list  ContainerList
	index int
}

// newContainers yields the containers that a request may change.
func (r *Request) newContainers(yield func(place, *Container) bool) {
	if r.Operation == OperationAddEphemeralContainer {
		for i := range r.Pod.Spec.EphemeralContainers {
			container := &r.Pod.Spec.EphemeralContainers[i]
			if !r.existed(container.Name) && !yield(place{EphemeralContainers, i}, container) {
				return
			}
		}
		return
	}
	for i := range r.Pod.Spec.InitContainers {
		if !yield(place{InitContainers, i}, &r.Pod.Spec.InitContainers[i]) {
			return
		}
	}
	for i := range r.Pod.Spec.Containers {
		if !yield(place{Containers, i}, &r.Pod.Spec.Containers[i]) {
			return
		}
	}
}

func (r *Request) target(d *ServiceHostDecision, at place, c *Container) Target {
	t := Target{List: at.list, Index: at.index, Container: c, Reason: r.ownServiceHost(c), Port: d.Port}
	if t.Port == "" && bool(c.EnvFrom) {
		t.Port, t.PairPort = defaultPort, true
	}
	if t.Reason == "" && d.Injects() && d.Reason != ReasonEnabledByPodLabel && r.heeds(ReasonProxy) && c.sendsToProxy(d.Host, cmp.Or(d.Port, defaultPort)) {
		t.Reason = ReasonProxy
	}
	return t
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

// ownServiceHost is the reason of a container that has a host or a port of its
// own.
func (r *Request) ownServiceHost(c *Container) Reason {
	var host, port bool
	for i := range c.Env {
		switch c.Env[i].Name {
		case EnvServiceHost:
			host = true
		case EnvServicePort, EnvServicePortHTTPS:
			port = true
		}
	}
	switch {
	case host && r.heeds(ReasonServiceHostSet):
		return ReasonServiceHostSet
	case port && r.heeds(ReasonServicePortSet):
		return ReasonServicePortSet
	}
	return ""
}

// noServiceHostTarget returns the reason why no container gets the variable,
// or "" if one does. Of several reasons it is the one that a user is least
// likely to expect: proxy before service_port_set before service_host_set.
func (r *Request) noServiceHostTarget(d *ServiceHostDecision) Reason {
	reason := ReasonNoNewContainer
	for target := range r.ServiceHostTargets(d) {
		switch {
		case target.Reason == "":
			return ""
		case target.Reason == ReasonProxy || reason != ReasonProxy && reason != ReasonServicePortSet:
			reason = target.Reason
		}
	}
	return reason
}
