package policy

// Labels that pods and namespaces carry to opt out and in. Their values are
// "enabled" and "disabled" ("enable", "true", "disable" and "false" mean the
// same). Any other value counts as unset and causes an admission warning.
// See optout.go for who wins.
const (
	// LabelInject covers both features.
	LabelInject = "shorthop.dev/inject"
	// LabelServiceHost covers KUBERNETES_SERVICE_HOST.
	LabelServiceHost = "shorthop.dev/service-host"
	// LabelDNS covers dnsConfig.
	LabelDNS = "shorthop.dev/dns"
)

// LabelWorkload is on pods whose controller makes an object with a new name for
// every run or revision (Tekton, Argo Workflows, Knative). Its value names the
// workload that they count to in spec.rollout, in advice and in reports, as kind
// Workload. Rules match their controller as well. Default: what the controller
// says, see Pod.Workload.
const LabelWorkload = "shorthop.dev/workload"

// Annotations with which developers tune their own pods, within what
// spec.podOverrides allows. A value that is invalid or not allowed is ignored
// with an admission warning; it never blocks the pod.
const (
	// AnnotationNdots is an integer within spec.podOverrides.ndots.
	AnnotationNdots = "shorthop.dev/ndots"
	// AnnotationDNSMode is Options or NodeLocal. NodeLocal needs nodeLocal.servers.
	AnnotationDNSMode = "shorthop.dev/dns-mode"
	// AnnotationDNSOptions are resolv.conf options separated by spaces, for
	// example "timeout:1 attempts:3 use-vc". They win over the policy's options
	// of the same name.
	AnnotationDNSOptions = "shorthop.dev/dns-options"
)

// What Shorthop leaves on a pod. Both keys are ours: a value that somebody
// else wrote is replaced.
const (
	// AnnotationInjected records as JSON what was done, by which rule, and what
	// is needed to undo it. See mutate.Record.
	AnnotationInjected = "shorthop.dev/injected"
	// LabelPinned is on pods whose DNS points at the node-local cache, so that
	// they can be listed and NetworkPolicies can select them.
	LabelPinned = "shorthop.dev/pinned"
	// PinnedNodeLocal is the value of LabelPinned.
	PinnedNodeLocal = "node-local"
)

// annotationMirror is on the mirror pods with which kubelet shows static pods.
const annotationMirror = "kubernetes.io/config.mirror"
