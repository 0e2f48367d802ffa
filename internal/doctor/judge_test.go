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
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

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
	debug := func() fact[*debugPolicy] {
		return fact[*debugPolicy]{value: &debugPolicy{Hash: compiled.Hash(), Document: parsed(t, testPolicy)}}
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
			corefiles: []namedCorefile{{text: ". {\n forward . __PILLAR__UPSTREAM__SERVERS__\n}\n"}},
		}}},
	}
	f.webhook.value = webhookconfig.New(document, webhookconfig.Options{OwnNamespace: testNamespace, Service: "shorthop", CABundle: ca.pem()})
	f.replicas.value = []replica{
		{name: "a", node: "node-a", ready: true, served: served, debug: debug()},
		{name: "b", node: "node-b", ready: true, served: served, debug: debug()},
	}
	f.configMap.value = &policyConfigMap{testNamespace + "/shorthop", "policy.yaml", []byte(testPolicy)}
	f.dnsServices.value = []corev1.Service{dnsServiceAt("kube-dns", "10.0.0.10")}
	f.clusterDNS.value = &clusterDNSConfig{corefiles: []namedCorefile{{from: "ConfigMap kube-system/coredns", text: ". {\n kubernetes cluster.local in-addr.arpa\n forward . /etc/resolv.conf\n}\n"}}}
	for _, name := range []string{"default", "web"} {
		f.namespaces.value = append(f.namespaces.value, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	f.failOpen.value = map[string]float64{"other.example.com": 7}
	return f
}

func dnsServiceAt(name string, ips ...string) corev1.Service {
	return corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name, Labels: map[string]string{"k8s-app": "kube-dns"}},
		Spec:       corev1.ServiceSpec{ClusterIP: ips[0], ClusterIPs: ips},
	}
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
		f.replicas.value[i].debug.value = &debugPolicy{Hash: compiled.Hash(), Document: document}
	}
	f.configMap.value.document = []byte(text)
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
	for name, c := range map[string]struct {
		change func(*testing.T, *Facts)
		check  Check
		status Status
		found  string
		// others are the further checks that do not pass.
		others []Check
	}{
		"healthy": {func(*testing.T, *Facts) {}, CheckServingCertificate, Pass, "valid until 2026-05-29T12:00:00Z", nil},

		"the kill switch, in the policy and at the API server": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "spec:\n", "spec:\n  mode: Off\n")
				f.registerFor(t, "spec:\n", "spec:\n  mode: Off\n")
			},
			CheckWebhookFilter, Pass, "selectors and conditions are those of the policy in force", nil,
		},
		"the kill switch is left behind at the API server": {
			func(t *testing.T, f *Facts) { f.registerFor(t, "spec:\n", "spec:\n  mode: Off\n") },
			CheckWebhookFilter, Fail, "kill switch (mode Off) than the policy in force has", nil,
		},
		"the kill switch is in the policy only": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "spec:\n", "spec:\n  mode: Off\n") },
			CheckWebhookFilter, Fail, "kill switch (mode Off) than the policy in force has", nil,
		},
		"the webhook configuration cannot be read": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value, f.webhook.err = nil, errors.New("needs get mutatingwebhookconfigurations")
			},
			CheckWebhookConfiguration, Unknown, "needs get mutatingwebhookconfigurations", []Check{CheckWebhookFilter, CheckServingCertificate, CheckUnpatchedPods},
		},
		"dry runs would be rejected": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].SideEffects = new(admissionv1.SideEffectClassSome)
			},
			CheckWebhookConfiguration, Fail, "sideEffects is Some", nil,
		},
		"it is not called for new pods": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].Rules = f.webhook.value.Webhooks[0].Rules[1:]
			},
			CheckWebhookConfiguration, Fail, "is not called for new pods", nil,
		},
		"it is not called for ephemeral containers": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].Rules = f.webhook.value.Webhooks[0].Rules[:1]
			},
			CheckWebhookConfiguration, Warn, "is not called for ephemeral containers", nil,
		},
		"it calls another path": {
			func(_ *testing.T, f *Facts) { f.webhook.value.Webhooks[0].ClientConfig.Service.Path = new("/") },
			CheckWebhookConfiguration, Fail, `calls the path "/"`, nil,
		},
		"an entry of somebody else": {
			func(_ *testing.T, f *Facts) {
				other := f.webhook.value.Webhooks[0].DeepCopy()
				other.Name = "other.example.com"
				f.webhook.value.Webhooks = append(f.webhook.value.Webhooks, *other)
				f.failOpen.value = nil
			},
			CheckWebhookConfiguration, Warn, "other.example.com is not one of Shorthop's", nil,
		},
		"it is called for updates of pods": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].Rules[0].Operations = []admissionv1.OperationType{admissionv1.Create, admissionv1.Update}
			},
			CheckWebhookFilter, Fail, "must not include UPDATE for pods", nil,
		},
		"the order of requirements does not matter": {
			func(_ *testing.T, f *Facts) {
				for i := range f.webhook.value.Webhooks {
					e := f.webhook.value.Webhooks[i].NamespaceSelector.MatchExpressions
					e[0], e[1] = e[1], e[0]
				}
			},
			CheckWebhookFilter, Pass, "", nil,
		},
		"a requirement is missing": {
			func(_ *testing.T, f *Facts) {
				s := f.webhook.value.Webhooks[0].NamespaceSelector
				s.MatchExpressions = s.MatchExpressions[1:]
			},
			CheckWebhookFilter, Warn, "namespaceSelector lacks", nil,
		},
		"an objectSelector is added": {
			func(_ *testing.T, f *Facts) {
				f.webhook.value.Webhooks[0].ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
			},
			CheckWebhookFilter, Warn, `objectSelector has "a In [b]" besides`, nil,
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
			CheckServingCertificate, Warn, "expires in 240h0m0s", nil,
		},
		"a short-lived leaf in the middle of its life": {
			func(t *testing.T, f *Facts) {
				ca := newIssuer(t)
				for i := range f.webhook.value.Webhooks {
					f.webhook.value.Webhooks[i].ClientConfig.CABundle = append(f.webhook.value.Webhooks[i].ClientConfig.CABundle, ca.pem()...)
				}
				f.replicas.value[0].served = ca.serve(t, testName, -12*time.Hour, 12*time.Hour)
			},
			CheckServingCertificate, Pass, "valid until 2026-03-02T00:00:00Z", nil,
		},
		"a leaf that has expired": {
			func(_ *testing.T, f *Facts) { f.now = f.now.Add(200 * day) },
			CheckServingCertificate, Fail, "expired", nil,
		},
		"a leaf for another name": {
			func(_ *testing.T, f *Facts) {
				for i := range f.webhook.value.Webhooks {
					f.webhook.value.Webhooks[i].ClientConfig.Service.Name = "renamed"
				}
			},
			CheckServingCertificate, Fail, "not renamed.shorthop-system.svc", nil,
		},
		"a caBundle that is no certificate": {
			func(_ *testing.T, f *Facts) { f.webhook.value.Webhooks[0].ClientConfig.CABundle = []byte("Cg==") },
			CheckServingCertificate, Fail, "holds no certificate", nil,
		},
		"a replica cannot be asked": {
			func(_ *testing.T, f *Facts) {
				why := errors.New("needs create pods/portforward")
				f.replicas.value[0].served, f.replicas.value[0].debug = fact[[]*x509.Certificate]{err: why}, fact[*debugPolicy]{err: why}
			},
			CheckServingCertificate, Unknown, "pod a: needs create pods/portforward", []Check{CheckPolicy, CheckGates},
		},

		"all replicas on one node": {
			func(_ *testing.T, f *Facts) { f.replicas.value[1].node = "node-a" },
			CheckReplicas, Warn, "all 2 ready replicas are on node node-a", nil,
		},
		"a third replica is not ready": {
			func(_ *testing.T, f *Facts) { f.replicas.value = append(f.replicas.value, replica{name: "c"}) },
			CheckReplicas, Warn, "1 replica not ready: c", nil,
		},
		"pods cannot be listed": {
			func(_ *testing.T, f *Facts) { f.replicas = fact[[]replica]{err: forbidden} },
			CheckReplicas, Unknown, "needs list pods", []Check{CheckServingCertificate, CheckPolicy, CheckGates},
		},
		"a policy that is off": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "spec:", "spec:\n  mode: \"Off\"")
				f.registerFor(t, "spec:", "spec:\n  mode: \"Off\"")
			},
			CheckPolicy, Pass, "mode Off, the same on 2 replicas: no pod is changed", nil,
		},
		"--policy names another one": {
			func(t *testing.T, f *Facts) {
				f.given = parsed(t, strings.Replace(testPolicy, "NodeLocal", "Options", 1))
			},
			CheckPolicy, Warn, "that of --policy", nil,
		},

		"a gate is closed": {
			func(t *testing.T, f *Facts) {
				f.say(t, 1, `{"gates": [{"gate": "service_host", "target": "api.example.com:443", "open": false, "since": "2026-03-01T00:00:00Z", "lastError": "connection refused"}]}`)
			},
			CheckGates, Fail, "pod b: gate service_host api.example.com:443 is closed: connection refused", nil,
		},
		"a gate has not been asked yet": {
			func(t *testing.T, f *Facts) { f.say(t, 0, `{"gates": [{"gate": "node_local", "target": "a/b"}]}`) },
			CheckGates, Fail, "pod a: gate node_local a/b is closed: nothing is known yet", nil,
		},
		"gates are open": {
			func(t *testing.T, f *Facts) {
				f.say(t, 0, `{"gates": [{"gate": "service_host", "target": "a:443", "open": true}, {"gate": "node_local", "target": "a/b", "open": true, "newer": [1]}]}`)
			},
			CheckGates, Pass, "2 gates open on 2 replicas", nil,
		},

		"the API host is not in the certificate": {
			func(_ *testing.T, f *Facts) { f.apiHosts[0].host = "api.example.org" },
			CheckAPIHost, Fail, "not api.example.org", nil,
		},
		"one of two API hosts is not reachable": {
			func(_ *testing.T, f *Facts) {
				f.apiHosts = append(f.apiHosts, apiHost{"internal", "6443", fact[[]*x509.Certificate]{err: errors.New("connection refused")}})
			},
			CheckAPIHost, Warn, "internal:6443 is not reachable from here", nil,
		},

		"an update of the cache within a percentage, rounded up": {
			func(_ *testing.T, f *Facts) { f.cacheStatus().NumberUnavailable = 1 }, // 10% of 5
			CheckNodeLocalCache, Warn, "not available on 1 of 5 nodes", nil,
		},
		"the cache is gone on too many nodes": {
			func(_ *testing.T, f *Facts) { f.cacheStatus().NumberUnavailable = 2 },
			CheckNodeLocalCache, Fail, "not available on 2 of 5 nodes, 1 allowed", nil,
		},
		"the cache runs nowhere": {
			func(_ *testing.T, f *Facts) { f.cacheStatus().DesiredNumberScheduled = 0 },
			CheckNodeLocalCache, Fail, "runs on no node", nil,
		},
		"there is no cache": {
			func(_ *testing.T, f *Facts) { f.daemonSets, f.cacheConfig = nil, nil },
			CheckNodeLocalCache, Fail, "there is no DaemonSet kube-system/node-local-dns", nil,
		},
		"the cache does not say where it listens": {
			func(_ *testing.T, f *Facts) { f.cache().args = nil },
			CheckNodeLocalCache, Warn, "neither -localip nor a bind", nil,
		},
		"a cache without a DaemonSet": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "20.10]", "20.10], daemonSet: \"\"") },
			CheckNodeLocalCache, Pass, "names no DaemonSet", nil,
		},
		"a rule alone uses the cache": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "    mode: NodeLocal", "    mode: Options")
				f.setPolicy(t, "    mode: NodeLocal\n    nodeLocal: {servers: [169.254.20.10]}", "    nodeLocal: {servers: [169.254.20.10]}\n  rules: [{name: web, dns: {mode: NodeLocal, nodeLocal: {servers: [169.254.20.11]}}}]")
			},
			CheckNodeLocalCache, Fail, "rule web points pods at 169.254.20.11", nil,
		},

		"the cache listens on its own fallback": {
			func(_ *testing.T, f *Facts) { f.cache().args[1] = "169.254.20.10,10.0.0.10" },
			CheckClusterDNS, Warn, "when it dies, both are gone", nil,
		},
		"the cache has an upstream Service": {
			func(_ *testing.T, f *Facts) {
				f.cache().args[1] = "169.254.20.10,10.0.0.10"
				f.dnsServices.value = append(f.dnsServices.value, dnsServiceAt("kube-dns-upstream", "10.0.0.11"))
			},
			CheckClusterDNS, Pass, "kube-dns-upstream 10.0.0.11", nil,
		},
		"a fallback that is somebody else": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "20.10]", "20.10], fallbackServers: [192.0.2.53]") },
			CheckClusterDNS, Warn, "falls back to 192.0.2.53", nil,
		},
		"a dual-stack Service": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "[10.0.0.10]", `[10.0.0.10, "fd00::a"]`)
				f.dnsServices.value = []corev1.Service{dnsServiceAt("kube-dns", "10.0.0.10", "fd00::000a")}
			},
			CheckClusterDNS, Pass, "", nil,
		},
		"no DNS Service": {
			func(_ *testing.T, f *Facts) { f.dnsServices.value = nil },
			CheckClusterDNS, Unknown, "no Service of a cluster DNS was found", nil,
		},
		"a cluster DNS without a Corefile": {
			func(_ *testing.T, f *Facts) { f.clusterDNS.value = &clusterDNSConfig{} },
			CheckClusterDomain, Unknown, "no Corefile", nil,
		},
		"a domain that the replicas found": {
			func(t *testing.T, f *Facts) {
				f.setPolicy(t, "domain: cluster.local, ", "")
				f.say(t, 0, `{"discovered": {"Domain": "k8s.test", "contradictions": []}}`)
			},
			CheckClusterDomain, Fail, "the replicas found k8s.test, the cluster DNS serves cluster.local", nil,
		},
		"a domain that nobody knows yet": {
			func(t *testing.T, f *Facts) { f.setPolicy(t, "domain: cluster.local, ", "") },
			CheckClusterDomain, Pass, "leaves it to the replicas", nil,
		},
		"contradictions": {
			func(t *testing.T, f *Facts) {
				f.say(t, 0, `{"discovered": {"contradictions": ["resolv.conf has another domain"]}}`)
				f.say(t, 1, `{"discovered": {"contradictions": ["resolv.conf has another domain"]}}`)
			},
			CheckClusterDNS, Warn, "resolv.conf has another domain", nil,
		},

		"custom zones in a server block": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.corefiles = append(f.clusterDNS.value.corefiles, namedCorefile{"ConfigMap kube-system/coredns-custom", false, "corp.test {\n forward . 192.0.2.1\n}\n"})
			},
			CheckCustomZones, Warn, "asks the upstream resolvers (__PILLAR__UPSTREAM__SERVERS__) for corp.test, which only the cluster DNS knows (ConfigMap kube-system/coredns-custom)", nil,
		},
		"a snippet that forwards a zone": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.corefiles = append(f.clusterDNS.value.corefiles, namedCorefile{"x", true, "forward corp.test 192.0.2.1"})
			},
			CheckCustomZones, Warn, "for corp.test", nil,
		},
		"the cache forwards to the cluster DNS": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains = []string{"corp.test"}
				f.cache().corefiles[0].text = ". {\n forward . 10.0.0.10\n}\n"
			},
			CheckCustomZones, Pass, "corp.test", nil,
		},
		"the cache has a block for the zone": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains = []string{"eu.corp.test"}
				f.cache().corefiles[0].text += "corp.test {\n forward . 192.0.2.1\n}\n"
			},
			CheckCustomZones, Pass, "eu.corp.test", nil,
		},
		"stub domains that the cache reads": {
			func(_ *testing.T, f *Facts) {
				f.clusterDNS.value.stubDomains, f.cache().readsStubDomains = []string{"corp.test"}, true
			},
			CheckCustomZones, Pass, "corp.test", nil,
		},
		"stub domains that the cache does not read": {
			func(_ *testing.T, f *Facts) { f.clusterDNS.value.stubDomains = []string{"corp.test"} },
			CheckCustomZones, Warn, "stubDomains", nil,
		},

		"namespaces that opt out": {
			func(_ *testing.T, f *Facts) {
				f.namespaces.value[0].Labels = map[string]string{"shorthop.dev/inject": "false"}
				f.namespaces.value[1].Labels = map[string]string{"shorthop.dev/dns": "enabled"}
			},
			CheckNamespacesOptedOut, Pass, "1 of 2 namespaces", nil,
		},
		"reviews failed open": {
			func(_ *testing.T, f *Facts) { f.failOpen.value = map[string]float64{webhookconfig.OpenEntry: 12} },
			CheckUnpatchedPods, Warn, "let 12 reviews fail open", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := healthyFacts(t, newIssuer(t))
			c.change(t, f)
			report := Judge(f)
			if len(report.Checks) != 15 {
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
			denies := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{PolicyTypes: p.Spec.PolicyTypes}}
			if got := admitsDNS([]*networkingv1.NetworkPolicy{denies, p}, "169.254.20.10"); got != c.want {
				t.Errorf("admits it: %t", got)
			}
		})
	}
}

// Which pods are looked at: those that a policy isolates and that ask the cache.
func TestPodsThatEgressPoliciesCutOff(t *testing.T) {
	t.Parallel()
	deny := networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "deny"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		},
	}
	pod := func(change func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "web-0", Labels: map[string]string{"app": "web"}},
			Spec:       corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, Containers: []corev1.Container{{Name: "web"}}},
		}
		change(&p)
		return p
	}
	pin := func(p *corev1.Pod) {
		p.Labels[policy.LabelPinned] = policy.PinnedNodeLocal
		p.Spec.DNSPolicy, p.Spec.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"169.254.20.10"}}
	}
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
			f.isolated.value = []isolatedNamespace{{"web", []networkingv1.NetworkPolicy{deny}, []corev1.Pod{pod(c.pod)}}}
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

func TestPolicyHosts(t *testing.T) {
	t.Parallel()
	document := parsed(t, `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: test}
spec:
  serviceHost: {host: a.example.com}
  rules:
  - {name: same, match: {namespaces: [a]}, dns: {ndots: 2}}
  - {name: port, match: {namespaces: [b]}, serviceHost: {port: 6443}}
  - {name: other, match: {namespaces: [c]}, serviceHost: {host: b.example.com}}
  - {name: node, match: {namespaces: [d]}, serviceHost: {hostFrom: NodeIP}}
`)
	var got []string
	for _, h := range policyHosts(&document.Spec) {
		got = append(got, h.String())
	}
	if want := "a.example.com:443 a.example.com:6443 b.example.com:443"; strings.Join(got, " ") != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
