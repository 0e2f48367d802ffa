package doctor

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/pkg/policy"
)

// fact is something that was asked for: a value, or why it could not be had.
// The value is nil or empty where the cluster has no such thing.
type fact[T any] struct {
	value T
	err   error
}

func (f fact[T]) unpack() (T, error) { return f.value, f.err }

// Facts are what Collect found.
type Facts struct {
	now time.Time
	// webhookName is the name of the webhook configuration.
	webhookName string
	// ownNamespace is where Shorthop runs.
	ownNamespace string
	// withoutNamespace: the webhook is called by URL and nobody named a namespace,
	// so that there is none that the API server must keep from calling it.
	withoutNamespace bool
	// given is the policy that the operator named, nil for none.
	given *policy.InjectionPolicy

	webhook fact[*admissionv1.MutatingWebhookConfiguration]
	// outside is what a server outside the cluster serves, where the webhook is
	// called by URL.
	outside fact[[]*x509.Certificate]
	// replicas are the pods behind the webhook's Service.
	replicas fact[[]replica]
	// notCreated are the pods that there should be.
	notCreated fact[[]notCreated]
	// flags are those of a replica, nil where there is none.
	flags *serverFlags
	// caSecret says whether the Secret with the CA is there, where the server
	// signs its own certificate.
	caSecret fact[bool]
	// lease is by which the replicas agree who looks for missed pods, where they
	// do.
	lease fact[*coordinationv1.Lease]
	// configurations are all of the cluster.
	configurations fact[[]admissionv1.MutatingWebhookConfiguration]
	// nodes counts those on which a node-local cache could run.
	nodes fact[int]
	// configMap is the one with the policy, and otherConfigMaps are further ones that
	// look like it.
	configMap       fact[*policyConfigMap]
	otherConfigMaps []policyConfigMap

	apiHosts []apiHost
	// clusterCA verifies the API server's certificate, as pods do it.
	clusterCA fact[*trust]

	daemonSets map[string]fact[*appsv1.DaemonSet] // by namespace/name
	// selected are those of each selector of the policy, by namespace/name.
	selected map[string]fact[[]string]
	// otherCaches are DaemonSets that look like a node-local cache. They are looked
	// for where the policy names one that is not there.
	otherCaches []nodecache.Cache
	// redirects are Cilium's policies in the namespaces of caches whose address no
	// node owns, by namespace.
	redirects map[string]fact[[]nodecache.Redirect]
	// cacheConfig is the configuration of each of them: Corefiles, and what
	// they take over from the ConfigMap kube-dns.
	cacheConfig map[string]fact[*cacheConfig]
	// proxy leads packets to Services, as far as that is known.
	proxy nodecache.Proxy
	// dnsServices are the Services of the cluster DNS, and a cache's way to it.
	dnsServices fact[[]discovery.Service]
	// endpoints counts those of all Services beside them, by namespace/name; a
	// Service is not in it where they cannot be read.
	endpoints map[string]behind
	// idleServices are the others that nobody is behind, and dnsOnNodes says whether the
	// nodes answer in the place of one of the cluster DNS.
	idleServices []discovery.Service
	dnsOnNodes   fact[bool]
	clusterDNS   fact[*clusterDNSConfig]

	namespaces fact[[]corev1.Namespace]
	// bootstrap are pods that wait for DNS and that DNS may wait for.
	bootstrap fact[[]audit.Pod]
	// pinned are pods of whose nameservers one is nobody's, and cachesThere all
	// DaemonSets of the cluster that look like a cache, where there are such pods.
	pinned      fact[[]audit.Pod]
	cachesThere fact[[]nodecache.Cache]
	// server is a pod of the webhook, nil where there is none.
	server *corev1.Pod
	// probed is what nodes said; nil: none was asked.
	probed fact[*probed]
	// failedCreates are workloads that the webhook kept from creating pods.
	failedCreates fact[[]failedCreate]
	// egress are the policies that restrict what pods may send. cutOff are pods of
	// which something is to be said because of them, and admitted counts the
	// others that ask a cache.
	egress   fact[[]egressPolicy]
	cutOff   fact[[]corev1.Pod]
	admitted int
	// hosts are those that the policy injects and that are found here.
	hosts      []apiAddresses
	apiService fact[*apiService]

	// failOpen counts by entry what the API server could not get answered.
	failOpen fact[map[string]float64]
}

// replica is a pod of the webhook, or a server outside the cluster, whose name is
// its URL.
type replica struct {
	name, node string
	ready      bool
	outside    bool
	// served is the certificate chain that the pod serves, of ready pods only.
	served fact[[]*x509.Certificate]
	// debug is what /debug/policy says, of ready pods only.
	debug fact[*health.PolicyDocument]
	// advice is where the documents of advice are that it follows.
	advice []adviceSource
}

// String says which one it is.
func (r *replica) String() string {
	if r.outside {
		return "server " + r.name
	}
	return "pod " + r.name
}

// notCreated is a ReplicaSet of Shorthop that cannot create its pods, and why.
type notCreated struct{ replicaSet, why string }

// behind are the endpoints of a Service: of how many, how many are ready.
type behind struct{ all, ready int }

// policyConfigMap is a ConfigMap that holds a policy.
type policyConfigMap struct {
	name, key string
	document  []byte
}

// String says which one it is.
func (m *policyConfigMap) String() string { return "ConfigMap " + m.name + ", key " + m.key }

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
	corefiles []corefile.File
	// stubDomains of the ConfigMap kube-dns.
	stubDomains []string
}

// cacheConfig is what configures a node-local cache.
type cacheConfig struct {
	// args are those of its containers.
	args      []string
	corefiles []corefile.File
	// readsStubDomains: it mounts the ConfigMap kube-dns, whose stub domains it
	// then serves.
	readsStubDomains bool
}

// apiAddresses is a host that pods get as KUBERNETES_SERVICE_HOST, and its
// addresses as they are told here.
type apiAddresses struct {
	host      string
	port      int32
	addresses []netip.Addr
}

// apiService is the Service kubernetes: where pods without a host find the API
// server, and what is behind that.
type apiService struct{ endpoints []netip.AddrPort }

// knownPolicy is a policy and where it was found.
type knownPolicy struct {
	from     string
	document *policy.InjectionPolicy
	compiled *policy.Compiled
	// ofReplica: a replica has it loaded.
	ofReplica bool
}

// noPolicy is why no policy is known. One that is there and not valid is named.
func (f *Facts) noPolicy() error {
	const noReplica, doName = "no policy is known: no replica shows one", "name it with --policy"
	stored, err := f.stored()
	switch {
	case err != nil:
		return fmt.Errorf("%s, and %w; mend it, or %s", noReplica, err, doName)
	case stored == nil && f.configMap.err != nil:
		return fmt.Errorf("%s, and no ConfigMap could be looked for (%w); %s", noReplica, f.configMap.err, doName)
	}
	return errors.New("no policy is known: no replica and no ConfigMap shows one; " + doName)
}

// stored is the policy of the ConfigMap, nil where there is none. The error names
// the ConfigMap and what is wrong with it.
func (f *Facts) stored() (*knownPolicy, error) {
	m := f.configMap.value
	if m == nil {
		return nil, nil
	}
	document, err := policy.Parse(m.document)
	if err != nil {
		return nil, fmt.Errorf("%s, is not a valid policy, and is not loaded: %w", m, err)
	}
	compiled, err := policy.Compile(document, f.excludedNamespace())
	if err != nil {
		return nil, fmt.Errorf("%s, is not a policy that can be in force: %w", m, err)
	}
	return &knownPolicy{from: "ConfigMap " + m.name, document: document, compiled: compiled}, nil
}

// inForce is the policy that the checks go by: that of a replica, else the one
// the operator named, else the ConfigMap's. nil where there is none.
func (f *Facts) inForce() *knownPolicy {
	for i := range f.replicas.value {
		r := &f.replicas.value[i]
		if r.debug.value == nil || r.debug.value.Document == nil {
			continue
		}
		if known := f.know(r.String(), r.debug.value.Document); known != nil {
			known.ofReplica = true
			return known
		}
	}
	if f.given != nil {
		if known := f.know("--policy", f.given); known != nil {
			return known
		}
	}
	known, _ := f.stored() // noPolicy and the check policy tell the error
	return known
}

// know compiles a policy. nil where this version does not accept it. A server of
// another version need not know every field that has a default here.
func (f *Facts) know(from string, document *policy.InjectionPolicy) *knownPolicy {
	policy.SetDefaults(document)
	compiled, err := policy.Compile(document, f.excludedNamespace())
	if err != nil {
		return nil
	}
	return &knownPolicy{from: from, document: document, compiled: compiled}
}

// excludedNamespace is the one that the filter and every decision leave out
// besides those of the policy, "" for none.
func (f *Facts) excludedNamespace() string {
	if f.withoutNamespace {
		return ""
	}
	return f.ownNamespace
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
