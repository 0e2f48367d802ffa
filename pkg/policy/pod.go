package policy

import "strings"

// Pod is the part of a Kubernetes Pod that decisions read and patches touch.
// Everything else of the object is never decoded, so a field that a newer API
// server knows and we do not cannot be lost. JSON names are those of the core
// API; a full pod decodes into it.
type Pod struct {
	Metadata PodMetadata `json:"metadata"`
	Spec     PodSpec     `json:"spec"`
}

// PodMetadata is the part of ObjectMeta that is read.
type PodMetadata struct {
	Name            string            `json:"name,omitzero"`
	GenerateName    string            `json:"generateName,omitzero"`
	Namespace       string            `json:"namespace,omitzero"`
	Labels          map[string]string `json:"labels,omitzero"`
	Annotations     map[string]string `json:"annotations,omitzero"`
	OwnerReferences []OwnerReference  `json:"ownerReferences,omitzero"`
}

// OwnerReference is the part of an owner reference that is read.
type OwnerReference struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Controller bool   `json:"controller,omitzero"`
}

// PodSpec is the part of a pod's spec that is read.
type PodSpec struct {
	InitContainers      []Container       `json:"initContainers,omitzero"`
	Containers          []Container       `json:"containers,omitzero"`
	EphemeralContainers []Container       `json:"ephemeralContainers,omitzero"`
	DNSPolicy           string            `json:"dnsPolicy,omitzero"`
	DNSConfig           *DNSConfig        `json:"dnsConfig,omitzero"`
	HostNetwork         bool              `json:"hostNetwork,omitzero"`
	NodeSelector        map[string]string `json:"nodeSelector,omitzero"`
	Tolerations         []Toleration      `json:"tolerations,omitzero"`
	RuntimeClassName    string            `json:"runtimeClassName,omitzero"`
	SchedulerName       string            `json:"schedulerName,omitzero"`
	ServiceAccountName  string            `json:"serviceAccountName,omitzero"`
	OS                  PodOS             `json:"os,omitzero"`
}

// Container is the part of a container that is read.
type Container struct {
	Name string   `json:"name"`
	Env  []EnvVar `json:"env,omitzero"`
}

// EnvVar is one environment variable. Of valueFrom only the path of a
// fieldRef is kept: it tells our own entry from others.
type EnvVar struct {
	Name      string       `json:"name"`
	Value     string       `json:"value,omitzero"`
	ValueFrom EnvVarSource `json:"valueFrom,omitzero"`
}

// EnvVarSource is the part of valueFrom that is read.
type EnvVarSource struct {
	FieldRef FieldRef `json:"fieldRef,omitzero"`
}

// FieldRef is a reference to a field of the pod, through the downward API.
type FieldRef struct {
	FieldPath string `json:"fieldPath,omitzero"`
}

// DNSConfig is a pod's dnsConfig.
type DNSConfig struct {
	Nameservers []string    `json:"nameservers,omitzero"`
	Searches    []string    `json:"searches,omitzero"`
	Options     []DNSOption `json:"options,omitzero"`
}

// DNSOption is an option of a pod's dnsConfig. Value is nil where the pod says
// none, which is not the same as an empty one: kubelet writes both as a bare
// word, but the user's object must stay as it is.
type DNSOption struct {
	Name  string  `json:"name,omitzero"`
	Value *string `json:"value,omitzero"`
}

// Toleration is the part of a toleration that is read.
type Toleration struct {
	Key string `json:"key,omitzero"`
}

// PodOS is a pod's declared operating system.
type PodOS struct {
	Name string `json:"name,omitzero"`
}

// HasOption reports whether the pod's own dnsConfig sets the option, with
// whatever value. The API server accepts any text as a name, "ndots:2" or
// "timeout:1 attempts:3" for example, and kubelet writes it into resolv.conf as
// it is, where it counts: so of every word what stands before the colon is
// compared.
func (p *Pod) HasOption(name string) bool {
	if p.Spec.DNSConfig == nil {
		return false
	}
	for i := range p.Spec.DNSConfig.Options {
		for word := range strings.FieldsSeq(p.Spec.DNSConfig.Options[i].Name) {
			if set, _, _ := strings.Cut(word, ":"); set == name {
				return true
			}
		}
	}
	return false
}
