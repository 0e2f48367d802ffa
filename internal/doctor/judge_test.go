package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/internal/nodeprobe"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	testNamespace = "shorthop-system"
	testName      = "shorthop." + testNamespace + ".svc"
	testHost      = "api.example.com"
)

// testNow is within the life of every certificate of the tests.
func testNow() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

const day = 24 * time.Hour

// testPolicy uses every feature.
const testPolicy = `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: test}
spec:
  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}
  serviceHost: {host: api.example.com}
  dns:
    mode: NodeLocal
    nodeLocal: {servers: [169.254.20.10]}
`

func parsed(t *testing.T, document string) *policy.InjectionPolicy {
	t.Helper()
	p, err := policy.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// issuer signs certificates whose life is given around testNow.
type issuer struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	i.cert, i.key = i.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, -day, 3650*day)
	return i
}

func (i *issuer) sign(t *testing.T, template *x509.Certificate, from, until time.Duration) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(1), pkix.Name{CommonName: "test"}
	template.NotBefore, template.NotAfter = testNow().Add(from), testNow().Add(until)
	parent, signer := i.cert, i.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// serve returns what a server with a certificate for the name serves.
func (i *issuer) serve(t *testing.T, name string, from, until time.Duration) fact[[]*x509.Certificate] {
	t.Helper()
	cert, _ := i.sign(t, &x509.Certificate{DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, from, until)
	return fact[[]*x509.Certificate]{value: []*x509.Certificate{cert}}
}

func (i *issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

// healthyFacts is an installation in which every check passes.
func healthyFacts(t *testing.T, ca *issuer) *Facts {
	t.Helper()
	document := parsed(t, testPolicy)
	compiled, err := policy.Compile(document, testNamespace)
	if err != nil {
		t.Fatal(err)
	}
	debug := func() fact[*health.PolicyDocument] {
		return fact[*health.PolicyDocument]{value: &health.PolicyDocument{Hash: compiled.Hash(), Document: parsed(t, testPolicy)}}
	}
	served := ca.serve(t, testName, -day, 89*day)
	f := &Facts{
		now: testNow(), webhookName: "shorthop", ownNamespace: testNamespace,
		apiHosts:  []apiHost{{host: testHost, port: "443", served: ca.serve(t, testHost, -day, 365*day)}},
		clusterCA: fact[*trust]{value: parsePool("the kubeconfig's CA", ca.pem())},
		daemonSets: map[string]fact[*appsv1.DaemonSet]{"kube-system/node-local-dns": {value: &appsv1.DaemonSet{
			Status: appsv1.DaemonSetStatus{DesiredNumberScheduled: 5},
		}}},
		cacheConfig: map[string]fact[*cacheConfig]{"kube-system/node-local-dns": {value: &cacheConfig{
			args:      []string{"-localip", "169.254.20.10"},
			corefiles: []corefile.File{{Text: ". {\n forward . __PILLAR__UPSTREAM__SERVERS__\n}\n"}},
		}}},
	}
	f.webhook.value = webhookconfig.New(document, webhookconfig.Options{OwnNamespace: testNamespace, Service: "shorthop", CABundle: ca.pem()})
	f.replicas.value = []replica{
		{name: "a", node: "node-a", ready: true, served: served, debug: debug()},
		{name: "b", node: "node-b", ready: true, served: served, debug: debug()},
	}
	f.flags = &serverFlags{selfManaged: true, caSecret: "shorthop-ca", detects: true, lease: "shorthop-detector"}
	f.caSecret.value = true
	f.lease.value = &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("a_1"), RenewTime: new(metav1.NewMicroTime(testNow().Add(-time.Minute))),
	}}
	f.webhook.value.ManagedFields = []metav1.ManagedFieldsEntry{bundleWriter("shorthop-ca-bundle")}
	f.configurations.value = []admissionv1.MutatingWebhookConfiguration{*f.webhook.value, {ObjectMeta: metav1.ObjectMeta{Name: "istio"}}}
	f.nodes.value = 5
	f.configMap.value = &policyConfigMap{testNamespace + "/shorthop", "policy.yaml", []byte(testPolicy)}
	f.dnsServices.value = []discovery.Service{dnsServiceAt("kube-dns", "10.0.0.10")}
	f.clusterDNS.value = &clusterDNSConfig{corefiles: []corefile.File{{From: "ConfigMap kube-system/coredns", Text: ". {\n kubernetes cluster.local in-addr.arpa\n forward . /etc/resolv.conf\n}\n"}}}
	for _, name := range []string{"default", "web"} {
		f.namespaces.value = append(f.namespaces.value, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	f.failOpen.value = map[string]float64{"other.example.com": 7}
	return f
}

// enforce adds to the selectors of all entries what keeps namespaces with a
// label out.
func (f *Facts) enforce(key, value string) {
	for i := range f.webhook.value.Webhooks {
		s := f.webhook.value.Webhooks[i].NamespaceSelector
		s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpNotIn, Values: []string{value}})
	}
}

// bundleWriter is what the API server knows of somebody who has written the caBundle.
func bundleWriter(manager string) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{Manager: manager, Time: new(metav1.NewTime(testNow())),
		FieldsV1: metav1.NewFieldsV1(`{"f:webhooks":{"k:{\"name\":\"open.pods.shorthop.dev\"}":{"f:clientConfig":{"f:caBundle":{}}}}}`)}
}

// secondRelease is another installation.
func (f *Facts) secondRelease(change func(*admissionv1.MutatingWebhook)) {
	second := f.webhook.value.DeepCopy()
	second.Name = "shorthop-two"
	for i := range second.Webhooks {
		change(&second.Webhooks[i])
	}
	f.configurations.value = append(f.configurations.value, *second)
}

func dnsServiceAt(name string, ips ...string) discovery.Service {
	return discovery.Service{Namespace: "kube-system", Name: name, ClusterIPs: ips, Ports: []int{53}}
}

// setPolicy is loaded everywhere.
func (f *Facts) setPolicy(t *testing.T, old, replacement string) {
	t.Helper()
	text := strings.Replace(testPolicy, old, replacement, 1)
	if text == testPolicy {
		t.Fatalf("the policy has no %q", old)
	}
	document := parsed(t, text)
	compiled, err := policy.Compile(document, testNamespace)
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.replicas.value {
		f.replicas.value[i].debug.value = &health.PolicyDocument{Hash: compiled.Hash(), Document: document}
	}
	f.configMap.value.document = []byte(text)
}

// knowImages has a policy by which an image's resolver falls through.
func (f *Facts) knowImages(t *testing.T) {
	t.Helper()
	f.setPolicy(t, "spec:\n", "spec:\n  resolvers: [{images: [\"debian:13\"], resolver: glibc}]\n")
}

func (f *Facts) applyAdvice(t *testing.T) {
	t.Helper()
	f.setPolicy(t, "    mode: NodeLocal\n", "    mode: NodeLocal\n    advice: Apply\n")
}

// adviseBoth applies advice, of which both replicas say this.
func (f *Facts) adviseBoth(t *testing.T, text string) {
	t.Helper()
	f.applyAdvice(t)
	f.say(t, 0, text)
	f.say(t, 1, text)
}

// registerFor has the filter of another policy.
func (f *Facts) registerFor(t *testing.T, old, replacement string) {
	t.Helper()
	other := webhookconfig.New(parsed(t, strings.Replace(testPolicy, old, replacement, 1)), webhookconfig.Options{
		OwnNamespace: testNamespace, Service: "shorthop", CABundle: f.webhook.value.Webhooks[0].ClientConfig.CABundle,
	})
	f.webhook.value.Annotations, f.webhook.value.Webhooks = other.Annotations, other.Webhooks
}

func (f *Facts) cache() *cacheConfig { return f.cacheConfig["kube-system/node-local-dns"].value }

func (f *Facts) cacheStatus() *appsv1.DaemonSetStatus {
	return &f.daemonSets["kube-system/node-local-dns"].value.Status
}

// All rows start from a healthy installation: one check changes, or none.
func TestJudge(t *testing.T) {
	t.Parallel()
	forbidden := errors.New("needs list pods")
	cases := map[string]struct {
		change func(*testing.T, *Facts)
		check  Check
		status Status
		found  string
		// others are the further checks that do not pass.
		others []Check
	}{
		"healthy": {func(*testing.T, *Facts) {}, "serving-certificate", Pass, "valid until 2026-05-29T12:00:00Z", nil},

		"somebody else writes the caBundle": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.ManagedFields = append(f.webhook.value.ManagedFields, bundleWriter("argocd\x1b[31m\u202e"))
			},
			"ca-bundle-writers", Warn, `field manager "argocd\x1b[31m\u202e" writes the caBundle too, last at 2026-03-01T12:00:00Z`, nil,
		},
		"a left-over annotation of cert-manager": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Annotations["cert-manager.io/inject-ca-from"] = "a/b"
			},
			"ca-bundle-writers", Warn, `the annotation cert-manager.io/inject-ca-from=a/b`, nil,
		},
		"cert-manager writes the caBundle for a server that does not": {
			func(_ *testing.T, f *Facts) {
				f.flags.selfManaged = false
				f.webhook.value.Annotations["cert-manager.io/inject-ca-from"] = "a/b"
				f.webhook.value.ManagedFields = []metav1.ManagedFieldsEntry{bundleWriter("cert-manager-cainjector")}
			},
			"ca-bundle-writers", Pass, `cert-manager-cainjector alone writes it`, nil,
		},
		"two write the caBundle for a server that does not": {
			func(_ *testing.T, f *Facts) {
				f.flags.selfManaged = false
				f.webhook.value.ManagedFields = append(f.webhook.value.ManagedFields, bundleWriter("cert-manager-cainjector"))
			},
			"ca-bundle-writers", Warn, `field managers cert-manager-cainjector, shorthop-ca-bundle write the caBundle`, nil,
		},
		"the Secret of the CA is gone": {
			func(_ *testing.T, f *Facts) { f.caSecret.value = false },
			"ca-secret", Fail, `there is no Secret shorthop-system/shorthop-ca`, nil,
		},
		"the Secret of the CA may not be read": {
			func(_ *testing.T, f *Facts) { f.caSecret.err = errors.New("needs get secrets") },
			"ca-secret", Unknown, "needs get secrets", nil,
		},
		"no Secret is needed": {
			func(_ *testing.T, f *Facts) { f.flags.selfManaged, f.caSecret.value = false, false },
			"ca-secret", Pass, "does not sign its own certificate", nil,
		},
		"the Lease is gone": {
			func(_ *testing.T, f *Facts) { f.lease.value = nil },
			"detector", Warn, `there is no Lease shorthop-system/shorthop-detector`, nil,
		},
		"nobody holds the Lease": {
			func(_ *testing.T, f *Facts) { f.lease.value.Spec.HolderIdentity = new("") },
			"detector", Warn, "nobody holds Lease", nil,
		},
		"nobody renews the Lease": {
			func(_ *testing.T, f *Facts) { f.now = f.now.Add(20 * time.Minute) },
			"detector", Warn, "was renewed last at 2026-03-01T11:59:00Z", nil,
		},
		"the detector is off": {
			func(_ *testing.T, f *Facts) { f.flags.detects, f.lease.value = false, nil },
			"detector", Pass, "switched off", nil,
		},
		"a second release": {
			func(_ *testing.T, f *Facts) { f.secondRelease(func(*admissionv1.MutatingWebhook) {}) },
			"other-installations", Fail, `webhook configuration shorthop-two is one of Shorthop's too, and calls Service shorthop-system/shorthop`, nil,
		},
		"a second release without our annotation": {
			func(_ *testing.T, f *Facts) {
				f.secondRelease(func(*admissionv1.MutatingWebhook) {})
				f.configurations.value[2].Annotations = nil
			},
			"other-installations", Fail, "are rewritten by each in turn", nil,
		},
		"a second release for other namespaces": {
			func(_ *testing.T, f *Facts) {
				team := func(name string) func(*admissionv1.MutatingWebhook) {
					return func(w *admissionv1.MutatingWebhook) {
						w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": name}}
					}
				}
				f.secondRelease(team("a"))
				for i := range f.webhook.value.Webhooks {
					team("b")(&f.webhook.value.Webhooks[i])
				}
			},
			"other-installations", Pass, "selects other pods", []Check{"webhook-filter"},
		},
		"somebody else's webhook with the same path": {
			func(_ *testing.T, f *Facts) {
				f.secondRelease(func(w *admissionv1.MutatingWebhook) { w.Name = "mpod.kb.io" })
				f.configurations.value[2].Annotations = nil
			},
			"other-installations", Pass, "no other", nil,
		},
		"the network waits for DNS, and DNS for the network": {
			func(_ *testing.T, f *Facts) {
				pod := cniAgent()
				pod.Pod.Metadata = pod.Metadata.PodMetadata
				f.bootstrap.value = []audit.Pod{*pod}
			},
			"bootstrap-pods", Fail, "namespace calico-system: DaemonSet cni-node finds the API server by the name api.example.com", nil,
		},
		"the network waits for DNS by a host that nobody recorded": {
			func(_ *testing.T, f *Facts) {
				pod := cniAgent()
				pod.Metadata.Annotations = nil
				pod.Pod.Metadata = pod.Metadata.PodMetadata
				f.bootstrap.value = []audit.Pod{*pod}
			},
			"bootstrap-pods", Warn, "has the policy's host api.example.com without a record", nil,
		},
		"pods may not be listed": {
			func(_ *testing.T, f *Facts) { f.bootstrap.err = forbidden },
			"bootstrap-pods", Unknown, "needs list pods", nil,
		},
		"nodes without a cache": {
			func(_ *testing.T, f *Facts) { f.nodes.value = 7 },
			"node-local-cache", Warn, "2 nodes of 7 without a cache (kube-system/node-local-dns)", nil,
		},
		"nodes may not be listed": {
			func(_ *testing.T, f *Facts) { f.nodes.err = errors.New("needs list nodes") },
			"node-local-cache", Unknown, "needs list nodes", nil,
		},

		"the kill switch, in the policy and at the API server": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "spec:\n", "spec:\n  mode: Off\n")
				f.registerFor(t, "spec:\n", "spec:\n  mode: Off\n")
			},
			"webhook-filter", Pass, "selectors and conditions are those of the policy in force", nil,
		},
		"the kill switch is left behind at the API server": {
			func(t *testing.T, f *Facts) { f.registerFor(t, "spec:\n", "spec:\n  mode: Off\n") },
			"webhook-filter", Fail, "kill switch (mode Off) than the policy in force has", nil,
		},
		"the kill switch is in the policy only": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "spec:\n", "spec:\n  mode: Off\n") },
			"webhook-filter", Fail, "kill switch (mode Off) than the policy in force has", nil,
		},
		"the webhook configuration cannot be read": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value, f.webhook.err = nil, errors.New("needs get mutatingwebhookconfigurations")
			},
			"webhook-configuration", Unknown, "needs get mutatingwebhookconfigurations", []Check{"ca-bundle-writers", "webhook-filter", "serving-certificate", "unpatched-pods"},
		},
		"dry runs would be rejected": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].SideEffects = new(admissionv1.SideEffectClassSome)
			},
			"webhook-configuration", Fail, "sideEffects is Some", nil,
		},
		"it is not called for new pods": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].Rules = f.webhook.value.Webhooks[0].Rules[1:]
			},
			"webhook-configuration", Fail, "is not called for new pods", nil,
		},
		"it is not called for ephemeral containers": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].Rules = f.webhook.value.Webhooks[0].Rules[:1]
			},
			"webhook-configuration", Warn, "is not called for ephemeral containers", nil,
		},
		"it calls another path": {
			func(_ *testing.T, f *Facts) { f.webhook.value.Webhooks[0].ClientConfig.Service.Path = new("/") },
			"webhook-configuration", Fail, `calls the path "/"`, nil,
		},
		"an entry of somebody else": {
			func(_ *testing.T, f *Facts) {
				other := f.webhook.value.Webhooks[0].DeepCopy()
				other.Name = "other.example.com"
				f.webhook.value.Webhooks = append(f.webhook.value.Webhooks, *other)
				f.failOpen.value = nil
			},
			"webhook-configuration", Warn, "other.example.com is not one of Shorthop's", nil,
		},
		"it is called for updates of pods": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].Rules[0].Operations = []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}
			},
			"webhook-filter", Fail, "must not include UPDATE for pods", nil,
		},
		"the order of requirements does not matter": {
			func(_ *testing.T, f *Facts) {
				for i := range f.webhook.value.Webhooks {
					e := f.webhook.value.Webhooks[i].NamespaceSelector.MatchExpressions
					e[0], e[1] = e[1], e[0]
				}
			},
			"webhook-filter", Pass, "", nil,
		},
		"a requirement is missing": {
			func(_ *testing.T, f *Facts) {
				s := f.webhook.value.Webhooks[0].NamespaceSelector
				s.MatchExpressions = s.MatchExpressions[1:]
			},
			"webhook-filter", Warn, "namespaceSelector lacks", nil,
		},
		"an objectSelector is added": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
			},
			"webhook-filter", Warn, `objectSelector has "a In [b]" besides`, nil,
		},

		"a platform leaves its own namespaces out": {
			func(_ *testing.T, f *Facts) { f.enforce("control-plane", "true") },
			"webhook-filter", Pass, `namespaceSelector has "control-plane NotIn [true]" besides: it leaves out more`, nil,
		},
		"a platform leaves its own namespaces out, and a requirement is missing": {
			func(_ *testing.T, f *Facts) {
				s := f.webhook.value.Webhooks[0].NamespaceSelector
				s.MatchExpressions = s.MatchExpressions[1:]
				f.enforce("control-plane", "true")
			},
			"webhook-filter", Warn, "namespaceSelector lacks", nil,
		},

		"a leaf that nobody renews": {
			func(t *testing.T, f *Facts) {
				ca := newIssuer(t)
				for i := range f.webhook.value.Webhooks {
					f.webhook.value.Webhooks[i].ClientConfig.CABundle = ca.pem()
				}
				for i := range f.replicas.value {
					f.replicas.value[i].served = ca.serve(t, testName, -80*day, 10*day)
				}
			},
			"serving-certificate", Warn, "expires in 240h0m0s", nil,
		},
		"a short-lived leaf in the middle of its life": {
			func(t *testing.T, f *Facts) {
				ca := newIssuer(t)
				for i := range f.webhook.value.Webhooks {
					f.webhook.value.Webhooks[i].ClientConfig.CABundle = append(f.webhook.value.Webhooks[i].ClientConfig.CABundle, ca.pem()...)
				}
				f.replicas.value[0].served = ca.serve(t, testName, -12*time.Hour, 12*time.Hour)
			},
			"serving-certificate", Pass, "valid until 2026-03-02T00:00:00Z", nil,
		},
		"a leaf that has expired": {
			func(_ *testing.T, f *Facts) {
				f.now = f.now.Add(200 * day)
				f.lease.value.Spec.RenewTime.Time = f.now
			},
			"serving-certificate", Fail, "expired", nil,
		},
		"a leaf for another name": {
			func(_ *testing.T, f *Facts) {
				for i := range f.webhook.value.Webhooks {
					f.webhook.value.Webhooks[i].ClientConfig.Service.Name = "renamed"
				}
			},
			"serving-certificate", Fail, "not renamed.shorthop-system.svc", nil,
		},
		"a caBundle that is no certificate": {
			func(_ *testing.T, f *Facts) { f.webhook.value.Webhooks[0].ClientConfig.CABundle = []byte("Cg==") },
			"serving-certificate", Fail, "holds no certificate", nil,
		},
		"a replica cannot be asked": {
			func(_ *testing.T, f *Facts) {
				why := errors.New("needs create pods/portforward")
				f.replicas.value[0].served, f.replicas.value[0].debug = fact[[]*x509.Certificate]{err: why}, fact[*health.PolicyDocument]{err: why}
			},
			"serving-certificate", Unknown, "pod a: needs create pods/portforward", []Check{"policy", "gates"},
		},

		"all replicas on one node": {
			func(_ *testing.T, f *Facts) { f.replicas.value[1].node = "node-a" },
			"replicas", Warn, "all 2 ready replicas are on node node-a", nil,
		},
		"a third replica is not ready": {
			func(_ *testing.T, f *Facts) { f.replicas.value = append(f.replicas.value, replica{name: "c"}) },
			"replicas", Warn, "1 replica not ready: c", nil,
		},
		"a quota that keeps all replicas from being created": {
			func(_ *testing.T, f *Facts) {
				f.replicas.value, f.failOpen.value = nil, nil
				f.notCreated.value = []notCreated{{"shorthop-5d8", "insufficient quota to match these scopes: [{PriorityClass In [system-cluster-critical]}]"}}
			},
			"replicas", Fail, "ReplicaSet shorthop-5d8 cannot create pods: insufficient quota", []Check{"serving-certificate", "policy", "gates"},
		},
		"a policy engine that keeps a third replica from being created": {
			func(_ *testing.T, f *Facts) {
				f.notCreated.value = []notCreated{{"shorthop-5d8", "denied:\n" + strings.Repeat("long ", 100)}}
			},
			"replicas", Warn, "ReplicaSet shorthop-5d8 cannot create pods: denied: long", nil,
		},
		"replicas that are not there, and ReplicaSets that cannot be listed": {
			func(_ *testing.T, f *Facts) {
				f.replicas.value, f.notCreated.err = nil, errors.New("needs list replicasets")
			},
			"replicas", Fail, "needs list replicasets", []Check{"serving-certificate", "policy", "gates"},
		},
		"pods cannot be listed": {
			func(_ *testing.T, f *Facts) { f.replicas = fact[[]replica]{err: forbidden} },
			"replicas", Unknown, "needs list pods", []Check{"serving-certificate", "policy", "gates"},
		},
		"a policy that is off": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "spec:", "spec:\n  mode: \"Off\"")
				f.registerFor(t, "spec:", "spec:\n  mode: \"Off\"")
			},
			"policy", Pass, "mode Off, the same on 2 replicas: no pod is changed", nil,
		},
		"--policy names another one": {
			func(t *testing.T, f *Facts) {
				f.given = parsed(t, strings.Replace(testPolicy, "NodeLocal", "Options", 1))
			},
			"policy", Warn, "that of --policy", nil,
		},
		"replicas have different policies": {
			func(_ *testing.T, f *Facts) { f.replicas.value[1].debug.value.Hash = "0123456789ab" },
			"policy", Fail, "replicas have different policies", nil,
		},

		"a gate is closed": {
			func(t *testing.T, f *Facts) {
				f.say(t, 1, `{"gates": [{"gate": "service_host", "target": "api.example.com:443", "open": false, "since": "2026-03-01T00:00:00Z", "lastError": "connection refused"}]}`)
			},
			"gates", Fail, "pod b: gate service_host api.example.com:443 is closed: connection refused", nil,
		},
		"a gate has not been asked yet": {
			func(t *testing.T, f *Facts) { f.say(t, 0, `{"gates": [{"gate": "node_local", "target": "a/b"}]}`) },
			"gates", Fail, "pod a: gate node_local a/b is closed: nothing is known yet", nil,
		},
		"gates are open": {
			func(t *testing.T, f *Facts) {
				f.say(t, 0, `{"gates": [{"gate": "service_host", "target": "a:443", "open": true}, {"gate": "node_local", "target": "a/b", "open": true, "newer": [1]}]}`)
			},
			"gates", Pass, "2 gates open on 2 replicas", nil,
		},

		"advice is applied nowhere": {
			func(*testing.T, *Facts) {},
			"advice", Pass, "not needed", nil,
		},
		"advice is applied, and there is none": {
			func(t *testing.T, f *Facts) {
				f.applyAdvice(t)
				f.say(t, 0, `{}`)
			},
			"advice", Warn, "pod a has no advice", nil,
		},
		"the evidence is old": {
			func(t *testing.T, f *Facts) {
				f.adviseBoth(t, `{"advice": {"workloads": 7, "status": {"to": "2026-02-01T12:00:00Z", "observed": 5, "workloads": 9}}}`)
			},
			"advice", Warn, "the evidence is 28 days old", nil,
		},
		"the last run failed": {
			func(t *testing.T, f *Facts) {
				f.adviseBoth(t, `{"advice": {"workloads": 7, "status": {"to": "2026-02-28T12:00:00Z"}}, "advisorRun": {"ended": "2026-03-01T11:00:00Z", "error": "no DNS pods found", "complete": "2026-03-01T11:00:00Z"}}`)
			},
			"advice", Warn, "the last run of the advisor failed: no DNS pods found", nil,
		},
		"no run ends well any more": {
			func(t *testing.T, f *Facts) {
				f.adviseBoth(t, `{"advice": {"workloads": 7, "status": {"to": "2026-02-28T12:00:00Z"}}, "advisorRun": {"ended": "2026-02-26T12:00:00Z", "succeeded": "2026-02-26T12:00:00Z", "complete": "2026-02-26T12:00:00Z"}}`)
			},
			"advice", Warn, "no run of the advisor has ended well for 3 days", nil,
		},
		"the advisor's evidence lacks something": {
			func(t *testing.T, f *Facts) {
				f.adviseBoth(t, `{"advice": {"workloads": 7, "status": {"to": "2026-02-28T12:00:00Z"}}, "advisorRun": {"ended": "2026-03-01T11:00:00Z", "succeeded": "2026-03-01T11:00:00Z", "complete": "2026-02-20T12:00:00Z", "incomplete": ["1 of 3 logs could not be read"]}}`)
			},
			"advice", Warn, "the advisor's evidence has lacked something for 9 days: 1 of 3 logs could not be read", nil,
		},
		"advice rests on a run of late": {
			func(t *testing.T, f *Facts) {
				f.adviseBoth(t, `{"advice": {"workloads": 7, "status": {"to": "2026-02-28T12:00:00Z"}}, "advisorRun": {"ended": "2026-03-01T11:00:00Z", "succeeded": "2026-03-01T11:00:00Z", "complete": "2026-03-01T11:00:00Z", "logs": 2, "of": 3, "observed": 5, "workloads": 9}}`)
			},
			"advice", Pass, "7 workloads known: the last query that changed it is 24 hours old; the last run ended 1h0m0s ago, and told of 5 of 9 workloads, from 2 of 3 logs", nil,
		},
		"no image is known": {
			func(*testing.T, *Facts) {},
			"upstream-dns", Pass, "not needed", nil,
		},
		"the cluster DNS asks the outside about svc": {
			func(t *testing.T, f *Facts) {
				f.knowImages(t)
				f.say(t, 0, `{"gates": [{"gate": "upstream", "target": "10.96.0.10", "state": "forwarded", "reason": "svc_not_local"}]}`)
			},
			"upstream-dns", Warn, "10.96.0.10 asks the outside about names that end in svc", nil,
		},
		"the cluster DNS invents addresses, and a namespace is a name outside": {
			func(t *testing.T, f *Facts) {
				f.knowImages(t)
				f.say(t, 0, `{"gates": [{"gate": "upstream", "target": "10.96.0.10", "state": "closed", "reason": "upstream_invents_answers", "lastError": "answered x", "publicNamespaces": ["dev"]}]}`)
			},
			"upstream-dns", Warn, "pod a: 10.96.0.10 (upstream_invents_answers): answered x", nil,
		},
		"the cluster DNS answers svc itself": {
			func(t *testing.T, f *Facts) {
				f.knowImages(t)
				f.say(t, 0, `{"gates": [{"gate": "upstream", "target": "10.96.0.10", "state": "local", "open": true}]}`)
			},
			"upstream-dns", Pass, "answered as it must be by 10.96.0.10", nil,
		},

		"the API host is not in the certificate": {
			func(_ *testing.T, f *Facts) { f.apiHosts[0].host = "api.example.org" },
			"api-host", Fail, "not api.example.org", nil,
		},
		"one of two API hosts is not reachable": {
			func(_ *testing.T, f *Facts) {
				f.apiHosts = append(f.apiHosts, apiHost{"internal", "6443", fact[[]*x509.Certificate]{err: errors.New("connection refused")}})
			},
			"api-host", Warn, "internal:6443 is not reachable from here", nil,
		},

		"an update of the cache within a percentage, rounded up": {
			func(_ *testing.T, f *Facts) { f.cacheStatus().NumberUnavailable = 1 }, // 10% of 5
			"node-local-cache", Warn, "not available on 1 of 5 nodes", nil,
		},
		"the cache is gone on too many nodes": {
			func(_ *testing.T, f *Facts) { f.cacheStatus().NumberUnavailable = 2 },
			"node-local-cache", Fail, "not available on 2 of 5 nodes, 1 allowed", nil,
		},
		"the cache runs nowhere": {
			func(_ *testing.T, f *Facts) { f.cacheStatus().DesiredNumberScheduled = 0 },
			"node-local-cache", Fail, "runs on no node", nil,
		},
		"there is no cache": {
			func(_ *testing.T, f *Facts) { f.daemonSets, f.cacheConfig = nil, nil },
			"node-local-cache", Fail, "there is no DaemonSet kube-system/node-local-dns", nil,
		},
		"the cache's Corefile breaks off": {
			func(_ *testing.T, f *Facts) { f.cache().corefiles[0].Text += "corp.test {\n" },
			"node-local-cache", Unknown, "DaemonSet kube-system/node-local-dns: ", nil,
		},
		"the cache does not say where it listens": {
			func(_ *testing.T, f *Facts) { f.cache().args = nil },
			"node-local-cache", Warn, "neither -localip nor a bind", nil,
		},
		"a cache without a DaemonSet": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "20.10]", "20.10], daemonSet: \"\"") },
			"node-local-cache", Pass, "names no DaemonSet", nil,
		},
		"a rule alone uses the cache": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "    mode: NodeLocal", "    mode: Options")
				f.setPolicy(t, "    mode: NodeLocal\n    nodeLocal: {servers: [169.254.20.10]}", "    nodeLocal: {servers: [169.254.20.10]}\n  rules: [{name: web, dns: {mode: NodeLocal, nodeLocal: {servers: [169.254.20.11]}}}]")
			},
			"node-local-cache", Fail, "rule web points pods at 169.254.20.11", nil,
		},
		"a rule alone uses the default cache, which is missing": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "  dns:\n    mode: NodeLocal\n    nodeLocal: {servers: [169.254.20.10]}", "  rules: [{name: web, dns: {mode: NodeLocal}}]")
				f.daemonSets, f.cacheConfig = nil, nil
			},
			"node-local-cache", Fail, "there is no DaemonSet kube-system/node-local-dns: new pods keep the cluster DNS", nil,
		},
		"annotations may choose a cache that is missing": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "    mode: NodeLocal", "    mode: Options")
				f.daemonSets, f.cacheConfig = nil, nil
			},
			"node-local-cache", Warn, "new pods that ask for mode NodeLocal by annotation keep the cluster DNS", nil,
		},
		"annotations may choose a cache that runs nowhere": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "    mode: NodeLocal", "    mode: Options")
				f.cacheStatus().DesiredNumberScheduled = 0
			},
			"node-local-cache", Warn, "runs on no node: new pods that ask", nil,
		},
		"annotations may choose a cache that listens elsewhere": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "    mode: NodeLocal", "    mode: Options")
				f.cache().args[1] = "169.254.20.11"
			},
			"node-local-cache", Fail, "spec.dns points pods at 169.254.20.10", nil,
		},
		"annotations may not choose the cache that is missing": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "spec:\n  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}\n  serviceHost: {host: api.example.com}\n  dns:\n    mode: NodeLocal\n",
					"spec:\n  podOverrides: {allowed: [ndots]}\n  serviceHost: {host: api.example.com}\n  dns:\n    mode: Options\n")
				f.daemonSets, f.cacheConfig = nil, nil
			},
			"node-local-cache", Pass, notUsed, nil,
		},

		"the cache listens on its own fallback": {
			func(_ *testing.T, f *Facts) { f.cache().args[1] = "169.254.20.10,10.0.0.10" },
			"cluster-dns", Warn, "when it dies, both are gone (but for kube-proxy in mode ipvs and for Cilium in its place)", nil,
		},
		"the cache listens on its own fallback, and kube-proxy is known to leave it that": {
			func(_ *testing.T, f *Facts) {
				f.cache().args[1], f.proxy = "169.254.20.10,10.0.0.10", nodecache.Proxy{From: "ConfigMap kube-system/kube-proxy"}
			},
			"cluster-dns", Warn, "when it dies, both are gone", nil,
		},
		"the cache listens on its own fallback in vain, in mode ipvs": {
			func(_ *testing.T, f *Facts) {
				f.cache().args[1], f.proxy = "169.254.20.10,10.0.0.10", nodecache.Proxy{Mode: "ipvs", From: "ConfigMap kube-system/kube-proxy"}
			},
			"cluster-dns", Pass, "", nil,
		},
		"the cache has an upstream Service": {
			func(_ *testing.T, f *Facts) {
				f.cache().args[1] = "169.254.20.10,10.0.0.10"
				f.dnsServices.value = append(f.dnsServices.value, dnsServiceAt("kube-dns-upstream", "10.0.0.11"))
			},
			"cluster-dns", Pass, "kube-dns-upstream 10.0.0.11", nil,
		},
		"a fallback that is somebody else": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "20.10]", "20.10], fallbackServers: [192.0.2.53]") },
			"cluster-dns", Warn, "falls back to 192.0.2.53", nil,
		},
		"a server that no Service has": {
			func(_ *testing.T, f *Facts) {
				f.dnsServices.value = []discovery.Service{dnsServiceAt("kube-dns", "10.0.0.12")}
			},
			"cluster-dns", Fail, "cluster.dnsServers has 10.0.0.10", nil,
		},
		"a dual-stack Service": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "[10.0.0.10]", `[10.0.0.10, "fd00::a"]`)
				f.dnsServices.value = []discovery.Service{dnsServiceAt("kube-dns", "10.0.0.10", "fd00::000a")}
			},
			"cluster-dns", Pass, "", nil,
		},
		"no DNS Service": {
			func(_ *testing.T, f *Facts) { f.dnsServices.value = nil },
			"cluster-dns", Unknown, "no Service of a cluster DNS was found", nil,
		},
		"a cluster DNS without a Corefile": {
			func(_ *testing.T, f *Facts) { f.clusterDNS.value = &clusterDNSConfig{} },
			"cluster-domain", Unknown, "no Corefile", nil,
		},
		"a Corefile that CoreDNS does not load": {
			func(_ *testing.T, f *Facts) { f.clusterDNS.value.corefiles[0].Text = "corp.test {\n log\n" },
			"cluster-domain", Unknown, "ConfigMap kube-system/coredns:2 - Syntax error", []Check{"custom-zones"},
		},
		"a Corefile of which a part names the zone": {
			func(_ *testing.T, f *Facts) { f.clusterDNS.value.corefiles[0].Text += "corp.test {\n" },
			"custom-zones", Unknown, "ConfigMap kube-system/coredns:", nil,
		},
		"a domain that is a variable of CoreDNS's container": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.corefiles[0].Text = ". {\n kubernetes {$DOMAIN} in-addr.arpa\n}\n"
			},
			"cluster-domain", Unknown, "the zone {$DOMAIN} is a variable", []Check{"custom-zones"},
		},
		"a domain that the replicas found": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "domain: cluster.local, ", "")
				f.say(t, 0, `{"discovered": {"Domain": "k8s.test", "contradictions": []}}`)
			},
			"cluster-domain", Fail, "the replicas found k8s.test, the cluster DNS serves cluster.local", nil,
		},
		"a domain that nobody knows yet": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "domain: cluster.local, ", "") },
			"cluster-domain", Pass, "leaves it to the replicas", nil,
		},
		"contradictions": {
			func(t *testing.T, f *Facts) {
				f.say(t, 0, `{"discovered": {"contradictions": ["resolv.conf has another domain"]}}`)
				f.say(t, 1, `{"discovered": {"contradictions": ["resolv.conf has another domain"]}}`)
			},
			"cluster-dns", Warn, "resolv.conf has another domain", nil,
		},

		"custom zones in a server block": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.corefiles = append(f.clusterDNS.value.corefiles, corefile.File{From: "ConfigMap kube-system/coredns-custom", Snippet: false, Text: "corp.test {\n forward . 192.0.2.1\n}\n"})
			},
			"custom-zones", Warn, "asks the upstream resolvers (__PILLAR__UPSTREAM__SERVERS__) for corp.test, which only the cluster DNS knows (ConfigMap kube-system/coredns-custom)", nil,
		},
		"a snippet that forwards a zone": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.corefiles = append(f.clusterDNS.value.corefiles, corefile.File{From: "x", Snippet: true, Text: "forward corp.test 192.0.2.1"})
			},
			"custom-zones", Warn, "for corp.test", nil,
		},
		"the cache forwards to the cluster DNS": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains = []string{"corp.test"}
				f.cache().corefiles[0].Text = ". {\n forward . 10.0.0.10\n}\n"
			},
			"custom-zones", Pass, "corp.test", nil,
		},
		"the cache forwards to a variable of its container": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains = []string{"corp.test"}
				f.cache().corefiles[0].Text = ". {\n forward . {$UPSTREAM}\n}\n"
			},
			"custom-zones", Unknown, "asks {$UPSTREAM} for corp.test, which only its container knows", nil,
		},
		"the cache has a block for the zone": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains = []string{"eu.corp.test"}
				f.cache().corefiles[0].Text += "corp.test {\n forward . 192.0.2.1\n}\n"
			},
			"custom-zones", Pass, "eu.corp.test", nil,
		},
		"stub domains that the cache reads": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains, f.cache().readsStubDomains = []string{"corp.test"}, true
			},
			"custom-zones", Pass, "corp.test", nil,
		},
		"stub domains that the cache does not read": {
			func(_ *testing.T, f *Facts) { f.clusterDNS.value.stubDomains = []string{"corp.test"} },
			"custom-zones", Warn, "stubDomains", nil,
		},

		"namespaces that opt out": {
			func(_ *testing.T, f *Facts) {
				f.namespaces.value[0].Labels = map[string]string{"shorthop.dev/inject": "false"}
				f.namespaces.value[1].Labels = map[string]string{"shorthop.dev/dns": "enabled"}
			},
			"namespaces-opted-out", Pass, "1 of 2 namespaces", nil,
		},
		"a namespace named like a top-level domain": {
			func(_ *testing.T, f *Facts) { f.namespaces.value[1].Name = "dev" },
			"namespace-names", Warn, "public top-level domain: dev", nil,
		},
		"a policy that cuts off pods that ask the cache": {
			func(_ *testing.T, f *Facts) { f.isolate("web", pinnedPod()) },
			"egress-policies", Fail, "cuts 1 pod off from the node-local cache: web-0", nil,
		},
		"a policy that would cut off pods that are created again": {
			func(_ *testing.T, f *Facts) { f.isolate("web", isolatedPod()) },
			"egress-policies", Warn, "would cut 1 pod off", nil,
		},
		"a cluster that knows a plugin's policies, which may not be read": {
			func(_ *testing.T, f *Facts) { f.egress.err = forbidden },
			"egress-policies", Unknown, "needs list pods", nil,
		},
		"pods whose cache is gone, and its fallback": {
			func(_ *testing.T, f *Facts) { f.pinTo("169.254.99.1", "10.9.9.9") },
			"pinned-pods", Fail, "nobody in the cluster has its nameservers, 169.254.99.1, 10.9.9.9: 1 pod, web-0", nil,
		},
		"pods whose cache is gone": {
			func(_ *testing.T, f *Facts) { f.pinTo("169.254.99.1", "10.0.0.10") },
			"pinned-pods", Warn, "asks 169.254.99.1 first", nil,
		},
		"pods with no nameserver at all": {
			func(_ *testing.T, f *Facts) { f.pinTo() },
			"pinned-pods", Fail, "has dnsPolicy None and no nameserver: 1 pod", nil,
		},
		"pods whose cache the policy does not name any more": {
			func(_ *testing.T, f *Facts) {
				f.pinTo("169.254.99.1")
				f.cachesThere.value = []nodecache.Cache{{Namespace: "dns", Name: "cache", LocalIPs: []string{"169.254.99.1"}}}
			},
			"pinned-pods", Pass, "has a nameserver that is there", nil,
		},
		"caches that may not be looked for": {
			func(_ *testing.T, f *Facts) { f.pinTo("169.254.99.1"); f.cachesThere.err = forbidden },
			"pinned-pods", Unknown, "needs list pods", nil,
		},
		"a workload without its pods, now": {
			func(_ *testing.T, f *Facts) {
				f.failedCreates.value = []failedCreate{{"web", "ReplicaSet web-1", `failed calling webhook "open.shorthop.dev": EOF`, testNow().Add(-time.Minute)}}
			},
			"failed-creates", Fail, `namespace web: ReplicaSet web-1 could not create a pod, last at 2026-03-01T11:59:00Z: failed calling webhook`, nil,
		},
		"a workload without its pods, a while ago": {
			func(_ *testing.T, f *Facts) {
				f.failedCreates.value = []failedCreate{{"web", "ReplicaSet web-1", "x", testNow().Add(-time.Hour)}}
			},
			"failed-creates", Warn, "could not create a pod", nil,
		},
		"events that may not be read": {
			func(_ *testing.T, f *Facts) { f.failedCreates.err = forbidden },
			"failed-creates", Unknown, "needs list pods", nil,
		},
		"nodes on which nothing is wrong": {
			func(_ *testing.T, f *Facts) { f.probe(nil, nil) },
			"node-probe", Pass, "answer on 2 nodes; 3 more were not asked", nil,
		},
		"a cache that does not answer on a node": {
			func(_ *testing.T, f *Facts) {
				f.probe(nil, []nodeprobe.Answer{{Kind: "dns", Target: "169.254.20.10", Error: "no answer within 2s"}, {Kind: "dns", Target: "10.0.0.10"}})
			},
			"node-probe", Fail, "1 node of 2 (node-1): the cache at 169.254.20.10 does not answer: no answer within 2s", nil,
		},
		"a cache that only annotations choose does not answer": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "  dns:\n    mode: NodeLocal\n", "  podOverrides: {allowed: [mode]}\n  dns:\n    mode: Options\n")
				f.probe(nil, []nodeprobe.Answer{{Kind: "dns", Target: "169.254.20.10", Error: "no answer within 2s"}})
			},
			"node-probe", Warn, "the cache at 169.254.20.10 does not answer", nil,
		},
		"the cluster DNS does not answer": {
			func(_ *testing.T, f *Facts) {
				a := []nodeprobe.Answer{{Kind: "dns", Target: "10.0.0.10", Error: "refused"}}
				f.probe(a, a)
			},
			"node-probe", Fail, "2 nodes of 2 (node-0, node-1): the cluster DNS at 10.0.0.10 does not answer: refused", nil,
		},
		"nodes that do not reach the API host": {
			func(_ *testing.T, f *Facts) {
				f.probe(nil, []nodeprobe.Answer{{Kind: "api", Target: "api.example.com:443", Error: "timeout"}})
			},
			"node-probe", Fail, "the API host api.example.com:443 is not reached: timeout", nil,
		},
		"a node on which no pod runs": {
			func(_ *testing.T, f *Facts) { f.probe(nil, nil); f.probed.value.nodes[1].err = forbidden },
			"node-probe", Unknown, "1 node of 2 (node-1): needs list pods", nil,
		},
		"nodes that may not be asked": {
			func(_ *testing.T, f *Facts) { f.probed.err = forbidden },
			"node-probe", Unknown, "needs list pods", nil,
		},
		"reviews failed open": {
			func(_ *testing.T, f *Facts) { f.failOpen.value = map[string]float64{webhookconfig.OpenEntry: 12} },
			"unpatched-pods", Warn, "let 12 reviews fail open", nil,
		},
	}
	// A check comes to what its row of the table says, and every row is tried.
	tried := map[Check]map[Status]bool{}
	for _, c := range cases {
		if tried[c.check] == nil {
			tried[c.check] = map[Status]bool{}
		}
		tried[c.check][c.status] = true
	}
	for _, d := range Checks() {
		for status, when := range map[Status]string{Warn: d.Warn, Fail: d.Fail} {
			if (when != "") != tried[d.Check][status] {
				t.Errorf("%s: its row says of %s %q, and a case that comes to it: %t", d.Check, status, when, tried[d.Check][status])
			}
		}
		if d.Check == "" || d.About == "" || d.Pass == "" || len(tried[d.Check]) == 0 {
			t.Errorf("%+v: needs a name, what it is about, when it passes, and a case", d)
		}
		delete(tried, d.Check)
	}
	if len(tried) > 0 {
		t.Errorf("cases for checks that there are not: %v", tried)
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := healthyFacts(t, newIssuer(t))
			c.change(t, f)
			report := Judge(f)
			if len(report.Checks) != len(Checks()) {
				t.Errorf("%d checks", len(report.Checks))
			}
			for _, r := range report.Checks {
				if r.Found == "" || (r.Do != "") != (r.Status == Warn || r.Status == Fail) {
					t.Errorf("%s is %s: found %q, to do %q", r.Check, r.Status, r.Found, r.Do)
				}
				if r.Check == c.check {
					if text := strings.Join(append([]string{r.Found}, r.Items...), "\n"); r.Status != c.status || !strings.Contains(text, c.found) {
						t.Errorf("%s is %s: %s\nwant %s and %q", r.Check, r.Status, text, c.status, c.found)
					}
					continue
				}
				passes := true
				for _, other := range c.others {
					passes = passes && other != r.Check
				}
				if passes != (r.Status == Pass) {
					t.Errorf("%s is %s as well: %s", r.Check, r.Status, r.Found)
				}
			}
		})
	}
}

// A replica of another version may say less, or what cannot be understood.
func TestJudgeWhatAnotherVersionSays(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{}`, `{"document": {}}`, `{"document": {"spec": {"rules": [{}], "dns": {}, "serviceHost": {}}}}`, `{"gates": [{}], "discovered": {}}`} {
		f := healthyFacts(t, newIssuer(t))
		for i := range f.replicas.value {
			f.replicas.value[i].debug.value = &health.PolicyDocument{}
			f.say(t, i, text)
		}
		for _, r := range Judge(f).Checks {
			if r.Found == "" {
				t.Errorf("%s: %s is %s and says nothing", text, r.Check, r.Status)
			}
		}
	}
}

// say adds to what a replica's /debug/policy says.
func (f *Facts) say(t *testing.T, replica int, text string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), f.replicas.value[replica].debug.value); err != nil {
		t.Fatal(err)
	}
}

// Nothing known is no reason to fail, or to crash.
func TestJudgeOfNothing(t *testing.T) {
	t.Parallel()
	report := Judge(&Facts{})
	if report.Count(Fail) != 2 { // no webhook configuration, no replica
		t.Errorf("%+v", report.Checks)
	}
	if report.Policy != nil {
		t.Errorf("a policy: %+v", report.Policy)
	}
}

func TestEgressRulesThatAdmitTheCache(t *testing.T) {
	t.Parallel()
	block := func(cidr string, except ...string) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}
	}
	port := func(protocol corev1.Protocol, port intstr.IntOrString) networkingv1.NetworkPolicyPort {
		return networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &port}
	}
	udp53 := port(corev1.ProtocolUDP, intstr.FromInt32(53))
	type peers = []networkingv1.NetworkPolicyPeer
	type ports = []networkingv1.NetworkPolicyPort
	for name, c := range map[string]struct {
		to    peers
		ports ports
		want  bool
	}{
		"everything":             {nil, nil, true},
		"the address":            {peers{block("169.254.20.10/32")}, ports{udp53}, true},
		"all addresses":          {peers{block("0.0.0.0/0")}, nil, true},
		"all but link-local":     {peers{block("0.0.0.0/0", "169.254.0.0/16")}, nil, false},
		"another address":        {peers{block("10.0.0.10/32")}, ports{udp53}, false},
		"all IPv6 addresses":     {peers{block("::/0")}, nil, false},
		"pods of the DNS":        {peers{{NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{}}}, ports{udp53}, false},
		"one of several peers":   {peers{{PodSelector: &metav1.LabelSelector{}}, block("169.254.0.0/16")}, nil, true},
		"TCP only":               {nil, ports{port(corev1.ProtocolTCP, intstr.FromInt32(53))}, false},
		"a port without a kind":  {nil, ports{{Port: new(intstr.FromInt32(53))}}, false},
		"UDP on every port":      {nil, ports{{Protocol: new(corev1.ProtocolUDP)}}, true},
		"another port":           {nil, ports{port(corev1.ProtocolUDP, intstr.FromInt32(5353))}, false},
		"a range of ports":       {nil, ports{{Protocol: new(corev1.ProtocolUDP), Port: new(intstr.FromInt32(1)), EndPort: new(int32(1023))}}, true},
		"a named port":           {nil, ports{port(corev1.ProtocolUDP, intstr.FromString("dns"))}, false},
		"one of several ports":   {nil, ports{port(corev1.ProtocolTCP, intstr.FromInt32(443)), udp53}, true},
		"a block that is broken": {peers{block("169.254.20.10")}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
				Egress:      []networkingv1.NetworkPolicyEgressRule{{To: c.to, Ports: c.ports}},
			}}
			all := egressOf([]networkingv1.NetworkPolicy{{Spec: networkingv1.NetworkPolicySpec{PolicyTypes: p.Spec.PolicyTypes}}, *p})
			applied := applying(all, &corev1.Pod{})
			got, _ := admits(applied, &destination{addresses: []netip.Addr{netip.MustParseAddr("169.254.20.10")}, port: 53, protocol: corev1.ProtocolUDP})
			if got != c.want {
				t.Errorf("admits it: %t", got)
			}
		})
	}
}

// isolate has a policy that lets pods with the label app=web send nothing.
func (f *Facts) isolate(namespace string, pods ...corev1.Pod) {
	deny := networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "deny"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		},
	}
	f.egress.value, f.cutOff.value = egressOf([]networkingv1.NetworkPolicy{deny}), pods
}

// probe has two nodes say this, of five.
func (f *Facts) probe(first, second []nodeprobe.Answer) {
	f.probed.value = &probed{left: 3, nodes: []nodeAnswers{{node: "node-0", answers: first}, {node: "node-1", answers: second}}}
}

// pinTo has a pod with these nameservers from an earlier policy.
func (f *Facts) pinTo(servers ...string) {
	pod := audit.Pod{}
	pod.Metadata.Namespace, pod.Metadata.Name = "web", "web-0"
	pod.Metadata.Labels = map[string]string{policy.LabelPinned: policy.PinnedNodeLocal}
	pod.Pod.Metadata = pod.Metadata.PodMetadata
	pod.Spec.DNSPolicy, pod.Spec.DNSConfig = "None", &policy.DNSConfig{Nameservers: servers}
	f.pinned.value = []audit.Pod{pod}
}

func isolatedPod() corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "web-0", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, Containers: []corev1.Container{{Name: "web"}}},
	}
}

func pinnedPod() corev1.Pod {
	p := isolatedPod()
	pin(&p)
	return p
}

func pin(p *corev1.Pod) {
	p.Labels[policy.LabelPinned] = policy.PinnedNodeLocal
	p.Spec.DNSPolicy, p.Spec.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"169.254.20.10"}}
}

// Which pods are looked at: those that a policy isolates and that ask the cache.
func TestPodsThatEgressPoliciesCutOff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		pod  func(*corev1.Pod)
		want Status
	}{
		"pinned":                {pin, Fail},
		"would be pinned":       {func(*corev1.Pod) {}, Warn},
		"not selected":          {func(p *corev1.Pod) { pin(p); p.Labels["app"] = "db" }, Pass},
		"opted out":             {func(p *corev1.Pod) { p.Labels[policy.LabelDNS] = "disabled" }, Pass},
		"on the host network":   {func(p *corev1.Pod) { pin(p); p.Spec.HostNetwork = true }, Pass},
		"finished":              {func(p *corev1.Pod) { pin(p); p.Status.Phase = corev1.PodSucceeded }, Pass},
		"of the node's own DNS": {func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSDefault }, Pass},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := healthyFacts(t, newIssuer(t))
			pod := isolatedPod()
			c.pod(&pod)
			f.isolate("web", pod)
			if got := judgeEgressPolicies(f, f.inForce()); got.status != c.want {
				t.Errorf("%s: %s", got.status, got.found)
			}
		})
	}
}

func TestNamespacesNamedLikeTopLevelDomains(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"dev": true, "com": true, "shop": true, "prod": true, "io": true, "app": true,
		"default": false, "kube-system": false, "web": false, "local": false, "production": false, "github": false,
	} {
		got := topLevel([]corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: name}}})
		if (len(got) == 1) != want {
			t.Errorf("%s: %t, want %t", name, !want, want)
		}
	}
}

func TestFlagsOfAPod(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]serverFlags{
		"": {false, "shorthop-ca", true, "shorthop-detector"},
		"--cert-source=self-managed --ca-secret=a --detect-interval=0 --detect-lease=b": {true, "a", false, "b"},
		"--cert-source self-managed --ca-secret a --detect-interval 0s --policy=x":      {true, "a", false, "shorthop-detector"},
		"--detect-interval=10m --detect-lease":                                          {false, "shorthop-ca", true, ""},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{}, {Command: []string{"webhook"}, Args: strings.Fields(args)}}}}
		if got := flagsOf(pod); *got != want {
			t.Errorf("%q: got %+v, want %+v", args, *got, want)
		}
	}
}
