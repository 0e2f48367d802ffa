package policy

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Fallthrough gives a lower ndots to resolvers that try the search list after a
// name that was not found as it is: glibc, as the environment variable
// RES_OPTIONS of one container, and Go, in the resolv.conf of pods that hold
// nothing else. Which they are says spec.resolvers: where it says nothing,
// nothing changes. A rule or an annotation that names ndots means exactly that:
// its pods have no fall-through, unless the rule names fallthrough too.
type Fallthrough struct {
	// Ndots, 2 to 15, defaults to 2: a name with two dots is asked outside first,
	// and then under the search domains. With a value that is not below the
	// resolv.conf's nothing changes. While the outside knows a namespace of the
	// cluster as a name that has a headless Service, it counts as at least 3.
	Ndots *int32 `json:"ndots,omitzero"`
	// Env defaults to Known.
	Env FallthroughEnv `json:"env,omitzero"`
	// RequireLocal defaults to true: only while the cluster DNS answers names
	// that end in "svc." itself, as it does with the template block that doctor
	// prints. False: also while it asks the outside, which says that they do not
	// exist. Pods keep their options for life, and an outage there then costs
	// those with c-ares or Netty lookups, and the others time.
	RequireLocal *bool `json:"requireLocal,omitzero"`
	// Probe configures the health gate.
	Probe *FallthroughProbe `json:"probe,omitzero"`
}

// FallthroughEnv says which containers get RES_OPTIONS.
type FallthroughEnv string

const (
	// FallthroughEnvKnown is for those whose image spec.resolvers knows to allow
	// it: glibc, without RES_OPTIONS or LOCALDOMAIN in its ENV, a Go program with
	// cgo, Perl's Net::DNS or PHP's amphp/dns.
	FallthroughEnvKnown FallthroughEnv = "Known"
	// FallthroughEnvNever is for none.
	FallthroughEnvNever FallthroughEnv = "Never"
)

// FallthroughProbe configures the gate of fall-through: the servers that pods
// ask are asked for names below "shorthop-probe.svc.", which nobody has.
type FallthroughProbe struct {
	// Enabled defaults to true. False: no gate, the operator vouches for what the
	// servers say about names outside the cluster.
	Enabled *bool `json:"enabled,omitzero"`
	// Timeout of an answer, 10ms to 5s and below the interval. Defaults to 250ms.
	Timeout *metav1.Duration `json:"timeout,omitzero"`
	// Interval between two probes, at least 1s. Defaults to 30s. A closed gate
	// is probed every 5s at least, so that it opens soon.
	Interval *metav1.Duration `json:"interval,omitzero"`
	// FailureThreshold is how many bad answers in a row close the gate, at least
	// 1. Defaults to 3. One good answer opens it.
	FailureThreshold *int32 `json:"failureThreshold,omitzero"`
}
