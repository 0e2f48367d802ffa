package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// secondName is a name of the API server's under which it serves a certificate of its own, which a test can replace.
const secondName = "localhost"

// secondIdentity has the certificate for secondName. Its CA is in the kubeconfigs that asWebhook writes.
type secondIdentity struct {
	ca  *cluster.CA
	dir string
}

// newSecondIdentity writes the certificate to a folder below dir.
func newSecondIdentity(dir string) (*secondIdentity, error) {
	ca, err := cluster.NewCA()
	if err != nil {
		return nil, err
	}
	identity := &secondIdentity{ca, filepath.Join(dir, "second-name")}
	if err := identity.serveFor(secondName); err != nil {
		return nil, err
	}
	return identity, nil
}

// serveFor makes the API server serve a certificate for this name to those who ask for secondName.
func (i *secondIdentity) serveFor(name string) error { return i.ca.WriteServingCert(i.dir, name) }

// flag is what kube-apiserver is told about it.
func (i *secondIdentity) flag() string {
	return fmt.Sprintf("%s,%s:%s", filepath.Join(i.dir, "tls.crt"), filepath.Join(i.dir, "tls.key"), secondName)
}

// wayToAPIServer is one that the test can cut.
func wayToAPIServer(t *testing.T) *clustertest.Way {
	t.Helper()
	return clustertest.NewWay(t, clustertest.HostOf(shared.Config))
}

// asWebhook writes a kubeconfig for a service account that has the permissions of a webhook: to read namespaces, and
// what the rules say in kube-system.
func (s *scope) asWebhook(rules ...rbacv1.PolicyRule) (kubeconfig string) {
	s.t.Helper()
	ctx := s.t.Context()
	s.adopt(ownNamespace, nil)
	must := func(_ any, err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	meta := metav1.ObjectMeta{Name: s.name}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Name: s.name, Namespace: ownNamespace}}
	reference := func(kind string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: s.name}
	}
	accounts, rbac := shared.Client.CoreV1().ServiceAccounts(ownNamespace), shared.Client.RbacV1()
	must(accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}))
	must(rbac.ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "list", "watch"}},
	}}, metav1.CreateOptions{}))
	must(rbac.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: subjects, RoleRef: reference("ClusterRole"),
	}, metav1.CreateOptions{}))
	must(rbac.Roles(metav1.NamespaceSystem).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}))
	must(rbac.RoleBindings(metav1.NamespaceSystem).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta, Subjects: subjects, RoleRef: reference("Role"),
	}, metav1.CreateOptions{}))
	token, err := accounts.CreateToken(ctx, s.name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(token, err)

	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{
		Server:                   shared.Config.Host,
		CertificateAuthorityData: slices.Concat(shared.Config.CAData, second.ca.Bundle()),
	}
	config.AuthInfos["test"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	config.CurrentContext = "test"
	kubeconfig = filepath.Join(s.t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, kubeconfig); err != nil {
		s.t.Fatal(err)
	}
	return kubeconfig
}

// readsServices and readsDaemonSet are the permissions in kube-system that discovery and a gate need.
var readsServices = rbacv1.PolicyRule{
	APIGroups: []string{""}, Resources: []string{"services"}, Verbs: []string{"list", "watch"},
}

func readsDaemonSet(name string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{
		APIGroups: []string{"apps"}, Resources: []string{"daemonsets"}, ResourceNames: []string{name}, Verbs: []string{"list", "watch"},
	}
}

// debugPolicy is the part of /debug/policy that tests look at.
type debugPolicy struct {
	Gates      []gates.Status
	Discovered *struct {
		policy.Discovered
		DNSServersSource string
		Contradictions   []string
	}
}

func (p *process) debug(t *testing.T) debugPolicy {
	t.Helper()
	var document debugPolicy
	if _, body := get(t, p.HealthURL+"/debug/policy"); json.Unmarshal([]byte(body), &document) != nil {
		t.Fatal(body)
	}
	return document
}

// waitGate waits until the only gate is open, or closed for a reason that contains the text, and checks that readiness
// does not depend on it.
func (p *process) waitGate(t *testing.T, kind gates.Kind, open bool, why string) {
	t.Helper()
	var last debugPolicy
	err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
		last = p.debug(t)
		if len(last.Gates) != 1 || last.Gates[0].Gate != kind {
			return false, errors.New("not the one gate that is expected")
		}
		gate := last.Gates[0]
		return gate.Open == open && strings.Contains(gate.LastError, why), nil
	})
	if err != nil {
		t.Fatalf("the gate does not become open=%v (%s): %v\n%+v", open, why, err, last.Gates)
	}
	want := 0.0
	if open {
		want = 1
	}
	if got := p.metric(t, fmt.Sprintf("shorthop_gate_open{gate=%q}", kind)); got != want {
		t.Errorf("shorthop_gate_open is %v, want %v", got, want)
	}
	if !p.isReady(t) {
		t.Error("the server is not ready")
	}
}

// TestAHostThatDoesNotAnswerAsItselfIsNotInjected takes a real API server through everything that a gate is there for:
// a second name, a certificate without that name, no answer at all. Every time, the gate opens again.
func TestAHostThatDoesNotAnswerAsItselfIsNotInjected(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("host", nil)
	way := wayToAPIServer(t)
	document := fmt.Sprintf(`
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: gate}
spec:
  serviceHost: {host: %s, port: %s, probe: {interval: 1s, failureThreshold: 2}}
  dns: {ndots: 2}
`, secondName, way.Port())
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, document)
	kubeconfig := s.asWebhook(readsServices)
	webhook := s.startWebhook(file, "--kubeconfig", kubeconfig)
	// The very first pod: the server does not listen before its first probe.
	s.registerAndWait(configuration(s.name, parse(t, document), webhook.endpoint), namespace, func(pod *corev1.Pod) bool {
		if injectionOf(pod).Rule != "" && !isPatched(pod) {
			t.Error("a pod was reviewed before the host was probed")
		}
		return isPatched(pod)
	})

	const closed = "skip service_host_unhealthy"
	check := func(phase string, open bool, why string, wantReason string) {
		t.Helper()
		webhook.waitGate(t, gates.KindServiceHost, open, why)
		want := injection{
			Env:       []string{"main:"},
			DNSPolicy: corev1.DNSClusterFirst, Options: []string{"ndots:2"}, Rule: "default",
		}
		if open {
			want.Env = []string{fmt.Sprintf("main: KUBERNETES_SERVICE_HOST=%s KUBERNETES_SERVICE_PORT=%[2]s KUBERNETES_SERVICE_PORT_HTTPS=%[2]s", secondName, way.Port())}
		}
		pod := s.create(namespace, plainPod(objectName(phase)))
		if diff := cmp.Diff(want, injectionOf(pod)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", phase, diff)
		}
		if got := s.audited(namespace, pod.Name, "").Annotations[webhookconfig.OpenEntry+"/service_host"]; got != wantReason {
			t.Errorf("%s: the audit log says %q, want %q", phase, got, wantReason)
		}
	}
	const injects = "inject enabled_by_policy"
	check("the second name", true, "", injects)

	t.Cleanup(func() { _ = second.serveFor(secondName) })
	if err := second.serveFor("other.example.com"); err != nil {
		t.Fatal(err)
	}
	check("a certificate without that name", false, "certificate is valid for other.example.com, not "+secondName, closed)
	if err := second.serveFor(secondName); err != nil {
		t.Fatal(err)
	}
	check("the name is back", true, "", injects)

	way.Cut()
	check("stopped", false, "connection refused", closed)
	late := s.startWebhook(file, "--kubeconfig", kubeconfig) // returns once it is ready
	late.waitGate(t, gates.KindServiceHost, false, "connection refused")
	way.Open()
	check("started again", true, "", injects)
	late.waitGate(t, gates.KindServiceHost, true, "")

	counted := webhook.metric(t, `shorthop_decisions_total{action="skip",feature="service_host",reason="service_host_unhealthy"}`)
	if counted < 2 {
		t.Errorf("%v decisions with reason service_host_unhealthy, want those of the two phases", counted)
	}
	for _, want := range []string{"gate is open", "gate is closed", "a probe failed, the gate stays open"} {
		if !strings.Contains(webhook.Logs(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// TestANewHostIsProbedBeforeItIsInForce changes the host while pods are created: none of them goes without.
func TestANewHostIsProbedBeforeItIsInForce(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("new-host", nil)
	way := wayToAPIServer(t)
	document := policyWithNdots(t, 2)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, document)
	webhook := s.startWebhook(file, "--kubeconfig", s.asWebhook(readsServices))
	s.registerAndWait(configuration(s.name, parse(t, document), webhook.endpoint), namespace, isPatched)

	host, port, err := shared.Endpoint()
	if err != nil {
		t.Fatal(err)
	}
	old, next := fmt.Sprintf("port: %d", port), "port: "+way.Port()
	replaceFile(t, file, strings.Replace(document, old, next, 1))
	s.wait(namespace, func(pod *corev1.Pod) bool {
		if !isPatched(pod) {
			t.Error("a pod has no service host")
		}
		return slices.Contains(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: policy.EnvServicePort, Value: way.Port()})
	})
	want := []string{net.JoinHostPort(host, way.Port())}
	var got []string
	for _, gate := range webhook.debug(t).Gates {
		got = append(got, gate.Target)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("gates after the reload (-want +got):\n%s", diff)
	}
}

// TestACacheThatIsNotRolledOutIsNotInjected takes a real DaemonSet's status through a roll-out, with a webhook that may
// read this one DaemonSet and no other.
func TestACacheThatIsNotRolledOutIsNotInjected(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("cache", nil)
	name := "cache-" + s.name
	target := metav1.NamespaceSystem + "/" + name
	document := fmt.Sprintf(`
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: gate}
spec:
  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}
  dns: {mode: NodeLocal, nodeLocal: {daemonSet: %s, maxUnavailable: 10%%}}
`, target)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, document)
	webhook := s.startWebhook(file, "--kubeconfig", s.asWebhook(readsServices, readsDaemonSet(name)))
	s.registerAndWait(configuration(s.name, parse(t, document), webhook.endpoint), namespace, func(pod *corev1.Pod) bool {
		return injectionOf(pod).Rule != ""
	})

	status := func(desired, available int32) func(context.Context) error {
		return func(ctx context.Context) error { return shared.SetDaemonSet(ctx, target, desired, available) }
	}
	for _, phase := range []struct {
		name   string
		change func(context.Context) error
		open   bool
		why    string
	}{
		{"missing", nil, false, "there is no such DaemonSet"},
		{"just created", status(0, 0), false, "wants no node"},
		{"two of five unavailable", status(5, 3), false, "unavailable on 2 of 5 nodes, at most 10% may be"},
		{"one of five unavailable as 10 percent is rounded up", status(5, 4), true, ""},
		{"no node wants it", status(0, 0), false, "wants no node"},
		{"rolled out", status(5, 5), true, ""},
		{"deleted", func(ctx context.Context) error {
			return shared.Client.AppsV1().DaemonSets(metav1.NamespaceSystem).Delete(ctx, name, metav1.DeleteOptions{})
		}, false, "there is no such DaemonSet"},
		{"created again", status(3, 3), true, ""},
	} {
		if phase.change != nil {
			if err := phase.change(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		webhook.waitGate(t, gates.KindNodeLocal, phase.open, phase.why)
		want, wantReason := injection{
			Env: []string{"main:"}, DNSPolicy: corev1.DNSClusterFirst, Options: []string{"ndots:4"}, Rule: "default",
		}, "inject node_local_unhealthy"
		if phase.open {
			want, wantReason = injection{
				Env: []string{"main:"}, DNSPolicy: corev1.DNSNone, Nameservers: []string{"169.254.20.10", "10.0.0.10"},
				Searches: []string{namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"},
				Options:  []string{"ndots:4"}, Rule: "default", Pinned: "node-local",
			}, "inject enabled_by_policy"
		}
		pod := s.create(namespace, plainPod(objectName(phase.name)))
		if diff := cmp.Diff(want, injectionOf(pod)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", phase.name, diff)
		}
		if got := s.audited(namespace, pod.Name, "").Annotations[webhookconfig.OpenEntry+"/dns"]; got != wantReason {
			t.Errorf("%s: the audit log says %q, want %q", phase.name, got, wantReason)
		}
	}
}

// TestWithoutPermissionsTheGateStaysClosed shows that a webhook that may read neither the DaemonSet nor Services serves
// all the same, and says once what it misses.
func TestWithoutPermissionsTheGateStaysClosed(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("forbidden", nil)
	document := `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: gate}
spec:
  cluster: {domain: cluster.local}
  dns: {mode: NodeLocal}
`
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, document)
	webhook := s.startWebhook(file, "--kubeconfig", s.asWebhook())
	s.registerAndWait(configuration(s.name, parse(t, document), webhook.endpoint), namespace, func(pod *corev1.Pod) bool {
		return injectionOf(pod).Rule != ""
	})
	webhook.waitGate(t, gates.KindNodeLocal, false, "forbidden")
	want := injection{Env: []string{"main:"}, DNSPolicy: corev1.DNSClusterFirst, Options: []string{"ndots:4"}, Rule: "default"}
	if diff := cmp.Diff(want, injectionOf(s.create(namespace, plainPod("pod")))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, line := range []string{"gate is closed", "cannot watch Services"} {
		if n := strings.Count(webhook.Logs(), line); n != 1 {
			t.Errorf("the log says %q %d times, want once", line, n)
		}
	}
}
