package doctor

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/reviewtest"
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
	return reviewtest.Parse(t, document)
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
	f.webhook.value = webhookconfig.New(parsed(t, testPolicy), webhookconfig.Options{OwnNamespace: testNamespace, Service: "shorthop", CABundle: ca.pem()})
	f.replicas.value = []replica{
		{name: "a", node: "node-a", ready: true, served: served},
		{name: "b", node: "node-b", ready: true, served: served},
	}
	f.flags = &serverFlags{selfManaged: true, caSecret: "shorthop-ca", detects: true, lease: "shorthop-detector"}
	f.caSecret.value = true
	f.lease.value = &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("a_1"), RenewTime: new(metav1.NewMicroTime(testNow().Add(-time.Minute))),
	}}
	f.webhook.value.ManagedFields = []metav1.ManagedFieldsEntry{bundleWriter("shorthop-ca-bundle")}
	f.configurations.value = []admissionv1.MutatingWebhookConfiguration{*f.webhook.value, {ObjectMeta: metav1.ObjectMeta{Name: "istio"}}}
	f.nodes.value = 5
	f.configMap.value = &policyConfigMap{testNamespace + "/shorthop", "policy.yaml", nil}
	f.loadPolicy(t, testPolicy)
	f.dnsServices.value = []discovery.Service{dnsServiceAt("kube-dns", "10.0.0.10")}
	f.clusterDNS.value = &clusterDNSConfig{corefiles: []corefile.File{{From: "ConfigMap kube-system/coredns", Text: ". {\n kubernetes cluster.local in-addr.arpa\n forward . /etc/resolv.conf\n}\n"}}}
	for _, name := range []string{"default", "web"} {
		f.namespaces.value = append(f.namespaces.value, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	f.failOpen.value = map[string]float64{"other.example.com": 7}
	return f
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

// loadPolicy has a policy loaded everywhere.
func (f *Facts) loadPolicy(t *testing.T, text string) {
	t.Helper()
	compiled, err := policy.Compile(parsed(t, text), testNamespace)
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.replicas.value {
		f.replicas.value[i].debug.value = &health.PolicyDocument{Hash: compiled.Hash(), Document: parsed(t, text)}
	}
	f.configMap.value.document = []byte(text)
}

// register has the filter of another policy.
func (f *Facts) register(t *testing.T, text string) {
	t.Helper()
	other := webhookconfig.New(parsed(t, text), webhookconfig.Options{
		OwnNamespace: testNamespace, Service: "shorthop", CABundle: f.webhook.value.Webhooks[0].ClientConfig.CABundle,
	})
	f.webhook.value.Annotations, f.webhook.value.Webhooks = other.Annotations, other.Webhooks
}

func (f *Facts) cache() *cacheConfig { return f.cacheConfig["kube-system/node-local-dns"].value }

// say adds to what a replica's /debug/policy says.
func (f *Facts) say(t *testing.T, replica int, text string) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), f.replicas.value[replica].debug.value); err != nil {
		t.Fatal(err)
	}
}

func isolatedPod() corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "web-0", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst, Containers: []corev1.Container{{Name: "web"}}},
	}
}
