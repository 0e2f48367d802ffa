package doctor

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// fact is something that was asked for: a value, or why it could not be had.
// The value is nil or empty where the cluster has no such thing.
type fact[T any] struct {
	value T
	err   error
}

// Facts are what Collect found.
type Facts struct {
	now time.Time
	// webhookName is the name of the webhook configuration.
	webhookName string
	// ownNamespace is where Shorthop runs.
	ownNamespace string
	// given is the policy that the operator named, nil for none.
	given *policy.InjectionPolicy

	webhook fact[*admissionv1.MutatingWebhookConfiguration]
	// outside is what a server outside the cluster serves, where the webhook is
	// called by URL.
	outside fact[[]*x509.Certificate]
	// replicas are the pods behind the webhook's Service.
	replicas fact[[]replica]
	// configMap is the one with the policy.
	configMap fact[*policyConfigMap]

	apiHosts []apiHost
	// clusterCA verifies the API server's certificate, as pods do it.
	clusterCA fact[*trust]

	daemonSets map[string]fact[*appsv1.DaemonSet] // by namespace/name
	// cacheConfig is the configuration of each of them: Corefiles, and what
	// they take over from the ConfigMap kube-dns.
	cacheConfig map[string]fact[*cacheConfig]
	dnsServices fact[[]corev1.Service]
	clusterDNS  fact[*clusterDNSConfig]

	namespaces fact[[]corev1.Namespace]
	// isolated are the namespaces with policies that restrict egress.
	isolated fact[[]isolatedNamespace]

	// failOpen counts by entry what the API server could not get answered.
	failOpen fact[map[string]float64]
}

// replica is a pod of the webhook.
type replica struct {
	name, node string
	ready      bool
	// served is the certificate chain that the pod serves, of ready pods only.
	served fact[[]*x509.Certificate]
	// debug is what /debug/policy says, of ready pods only.
	debug fact[*debugPolicy]
}

// policyConfigMap is a ConfigMap that holds a policy.
type policyConfigMap struct {
	name, key string
	document  []byte
}

// trust is a set of certificates and where it is from.
type trust struct {
	from  string
	roots *x509.CertPool
}

// apiHost is a host that pods get as KUBERNETES_SERVICE_HOST, and what answers
// there.
type apiHost struct {
	host, port string
	served     fact[[]*x509.Certificate]
}

func (h *apiHost) String() string { return h.host + ":" + h.port }

// clusterDNSConfig is what configures the cluster DNS.
type clusterDNSConfig struct {
	// corefiles by where they are from. Those of coredns-custom hold either
	// server blocks, or directives for the block of ".".
	corefiles []namedCorefile
	// stubDomains of the ConfigMap kube-dns.
	stubDomains []string
}

type namedCorefile struct {
	from string
	// snippet: the text is the inside of the server block of ".".
	snippet bool
	text    string
}

// cacheConfig is what configures a node-local cache.
type cacheConfig struct {
	// args are those of its containers.
	args      []string
	corefiles []namedCorefile
	// readsStubDomains: it mounts the ConfigMap kube-dns, whose stub domains it
	// then serves.
	readsStubDomains bool
}

// isolatedNamespace is a namespace with NetworkPolicies that restrict egress,
// and its pods.
type isolatedNamespace struct {
	name     string
	policies []networkingv1.NetworkPolicy
	pods     []corev1.Pod
}

// debugPolicy is what /debug/policy says. Servers of other versions say more,
// or less.
type debugPolicy struct {
	Hash     string                  `json:"hash"`
	Gates    []debugGate             `json:"gates"`
	Document *policy.InjectionPolicy `json:"document"`
	// Discovered is what the replica found out about the cluster's DNS, nil
	// where it does not look for anything.
	Discovered *debugDiscovered `json:"discovered"`
}

type debugGate struct {
	Gate string `json:"gate"`
	// Target is what the gate watches.
	Target string `json:"target"`
	// MaxUnavailable is the limit of a DaemonSet's gate.
	MaxUnavailable string `json:"maxUnavailable"`
	Open           bool   `json:"open"`
	LastError      string `json:"lastError"`
}

type debugDiscovered struct {
	policy.Discovered
	// Contradictions are between what it found in different places.
	Contradictions []string `json:"contradictions"`
}

// knownPolicy is a policy and where it was found.
type knownPolicy struct {
	from     string
	document *policy.InjectionPolicy
	compiled *policy.Compiled
}

var errNoPolicy = errors.New("no policy is known: no replica and no ConfigMap shows one; name it with --policy")

// inForce is the policy that the checks go by: that of a replica, else the one
// the operator named, else the ConfigMap's. nil where there is none.
func (f *Facts) inForce() *knownPolicy {
	for i := range f.replicas.value {
		r := &f.replicas.value[i]
		if r.debug.value == nil || r.debug.value.Document == nil {
			continue
		}
		if known := f.know("pod "+r.name, r.debug.value.Document); known != nil {
			return known
		}
	}
	if f.given != nil {
		if known := f.know("--policy", f.given); known != nil {
			return known
		}
	}
	if m := f.configMap.value; m != nil {
		if document, err := policy.Parse(m.document); err == nil {
			return f.know("ConfigMap "+m.name, document)
		}
	}
	return nil
}

// know compiles a policy. nil where this version does not accept it.
func (f *Facts) know(from string, document *policy.InjectionPolicy) *knownPolicy {
	compiled, err := policy.Compile(document, f.ownNamespace)
	if err != nil {
		return nil
	}
	return &knownPolicy{from, document, compiled}
}

// configuration returns the webhook configuration, or why there is none.
func (f *Facts) configuration() (*admissionv1.MutatingWebhookConfiguration, error) {
	if f.webhook.err != nil {
		return nil, f.webhook.err
	}
	if f.webhook.value == nil {
		return nil, fmt.Errorf("there is no webhook configuration %s", f.webhookName)
	}
	return f.webhook.value, nil
}

// calledByURL returns the URL of a server outside the cluster, "" where the
// webhook is a Service.
func calledByURL(config *admissionv1.MutatingWebhookConfiguration) string {
	for i := range config.Webhooks {
		if url := config.Webhooks[i].ClientConfig.URL; url != nil {
			return *url
		}
	}
	return ""
}
