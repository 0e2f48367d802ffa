package policy

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
)

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

// OwnerReference is the part of an owner reference that is read. The API server
// checks that apiVersion, kind and name are there, and not what they are.
type OwnerReference struct {
	APIVersion string `json:"apiVersion,omitzero"`
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
	PriorityClassName   string            `json:"priorityClassName,omitzero"`
	OS                  PodOS             `json:"os,omitzero"`
	Affinity            Affinity          `json:"affinity,omitzero"`
	SecurityContext     SecurityContext   `json:"securityContext,omitzero"`
}

// Container is the part of a container that is read.
type Container struct {
	Name string `json:"name"`
	// Image as the pod names it, from which its resolver may be known.
	Image string `json:"image,omitzero"`
	// Command and Args tell whether advice that was made for a container's command
	// holds for this one.
	Command Digest   `json:"command,omitzero"`
	Args    Digest   `json:"args,omitzero"`
	Env     []EnvVar `json:"env,omitzero"`
	// EnvFrom is true where more variables come from ConfigMaps or Secrets, whose
	// names and values are not seen.
	EnvFrom         Named           `json:"envFrom,omitzero"`
	SecurityContext SecurityContext `json:"securityContext,omitzero"`
}

// Named is a field of which only matters whether it says anything: it is false where
// the field is left out, null, or empty.
type Named bool

// UnmarshalJSON looks for a quote: an object or list that says something has a
// name in it.
func (n *Named) UnmarshalJSON(data []byte) error {
	*n = bytes.IndexByte(data, '"') >= 0
	return nil
}

// SecurityContext is the part of a pod's or container's security context that
// is read.
type SecurityContext struct {
	WindowsOptions Named `json:"windowsOptions,omitzero"`
}

// AllContainers are the containers in the order in which they start.
func (s *PodSpec) AllContainers() []Container {
	return slices.Concat(s.InitContainers, s.Containers, s.EphemeralContainers)
}

// ContainerImage is a container and its image.
type ContainerImage struct {
	Name  string `json:"name,omitzero"`
	Image string `json:"image,omitzero"`
}

// EnvVar is one environment variable. Of valueFrom it keeps the path of a fieldRef,
// which tells our own entry from others; of anything else in valueFrom it keeps only
// that it is there.
type EnvVar struct {
	Name      string       `json:"name"`
	Value     string       `json:"value,omitzero"`
	ValueFrom EnvVarSource `json:"valueFrom,omitzero"`
}

// EnvVarSource is the part of valueFrom that is read.
type EnvVarSource struct {
	FieldRef         FieldRef `json:"fieldRef,omitzero"`
	ConfigMapKeyRef  Named    `json:"configMapKeyRef,omitzero"`
	SecretKeyRef     Named    `json:"secretKeyRef,omitzero"`
	ResourceFieldRef Named    `json:"resourceFieldRef,omitzero"`
	FileKeyRef       Named    `json:"fileKeyRef,omitzero"`
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

// saysAnything is false where there is no dnsConfig, or an empty one.
func (c *DNSConfig) saysAnything() bool {
	return c != nil && len(c.Nameservers)+len(c.Searches)+len(c.Options) > 0
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

// Affinity is the part of a pod's affinity that is read: on which nodes it can
// run.
type Affinity struct {
	NodeAffinity NodeAffinity `json:"nodeAffinity,omitzero"`
}

// NodeAffinity is the part of a node affinity that is read.
type NodeAffinity struct {
	Required NodeSelector `json:"requiredDuringSchedulingIgnoredDuringExecution,omitzero"`
}

// NodeSelector holds for a node if one of its terms does.
type NodeSelector struct {
	NodeSelectorTerms []NodeSelectorTerm `json:"nodeSelectorTerms,omitzero"`
}

// NodeSelectorTerm holds if all of its expressions do.
type NodeSelectorTerm struct {
	MatchExpressions []NodeSelectorRequirement `json:"matchExpressions,omitzero"`
}

// NodeSelectorRequirement is one expression about a label of a node.
type NodeSelectorRequirement struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitzero"`
}

// PodOS is a pod's declared operating system.
type PodOS struct {
	Name string `json:"name,omitzero"`
}

// IsWindows reports whether the pod is for Windows, where kubelet writes no
// resolv.conf. It goes by spec.os; where that is not set, by the node that the pod
// requires and by security options that only Windows has.
func (p *Pod) IsWindows() bool {
	const windows = "windows"
	spec := &p.Spec
	if spec.OS.Name != "" {
		return spec.OS.Name == windows
	}
	is := func(value string) bool { return value == windows }
	if spec.requiresNode("kubernetes.io/os", is) || spec.requiresNode("beta.kubernetes.io/os", is) ||
		bool(spec.SecurityContext.WindowsOptions) {
		return true
	}
	for _, containers := range [...][]Container{spec.InitContainers, spec.Containers} {
		for i := range containers {
			if containers[i].SecurityContext.WindowsOptions {
				return true
			}
		}
	}
	return false
}

// HasOption reports whether the pod's own dnsConfig sets the option, with
// whatever value. The API server accepts any text as a name, "ndots:2" or
// "timeout:1 attempts:3" for example, and kubelet writes it into resolv.conf as
// it is, followed by a colon and the value, which may be any text as well. Resolvers
// read every word of that line as an option, so what stands before the colon of each
// word is compared.
func (p *Pod) HasOption(name string) bool {
	if p.Spec.DNSConfig == nil {
		return false
	}
	for i := range p.Spec.DNSConfig.Options {
		option := &p.Spec.DNSConfig.Options[i]
		if hasWord(option.Name, name) {
			return true
		}
		if option.Value == nil {
			continue
		}
		// Up to white space the value goes on with the last word of the name.
		if at := strings.IndexFunc(*option.Value, unicode.IsSpace); at >= 0 && hasWord((*option.Value)[at:], name) {
			return true
		}
	}
	return false
}

// hasWord reports whether a word of resolv.conf's options sets the option.
func hasWord(words, option string) bool {
	for word := range strings.FieldsSeq(words) {
		if set, _, _ := strings.Cut(word, ":"); set == option {
			return true
		}
	}
	return false
}
