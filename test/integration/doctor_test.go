package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
)

const doctorNamespace = "shorthop-system"

// doctorPolicy uses every feature that doctor looks after. The port is that of the way to the API server; nothing is
// probed again after the start, so that no gate closes while that way is broken.
const doctorPolicy = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: doctor}
spec:
  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}
  serviceHost: {host: localhost, port: %d, probe: {interval: 24h}}
  dns:
    mode: NodeLocal
    nodeLocal: {servers: [169.254.20.10], maxUnavailable: 1}
`

// installation is a healthy installation on a control plane of its own: doctor looks at the whole cluster.
type installation struct {
	*cluster.Cluster
	t        *testing.T
	kubelet  *forwardingKubelet
	ca       *cluster.CA
	policy   string
	replicas []*installedReplica
	// apiServer is the way to the API server that the policy names.
	apiServer *passthrough
	config    *admissionv1.MutatingWebhookConfiguration
}

type installedReplica struct {
	*cluster.Webhook
	name, policyFile, certDir string
}

// passthrough forwards connections to an address that can be changed; to none, it closes them.
type passthrough struct {
	port   int
	target atomic.Value // string
}

func newPassthrough(t *testing.T, target string) *passthrough {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &passthrough{port: listener.Addr().(*net.TCPAddr).Port}
	p.target.Store(target)
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go p.forward(from)
		}
	}()
	return p
}

func (p *passthrough) forward(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", p.target.Load().(string))
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(to, from)
		to.Close()
	}()
	_, _ = io.Copy(from, to)
}

// swing points it elsewhere until the end of the test.
func (p *passthrough) swing(t *testing.T, target string) {
	t.Helper()
	before := p.target.Swap(target)
	t.Cleanup(func() { p.target.Store(before) })
}

func install(t *testing.T) *installation {
	t.Helper()
	c, err := cluster.Start(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	i := &installation{Cluster: c, t: t, kubelet: &forwardingKubelet{}}
	host, err := url.Parse(c.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	address := c.Config.Host
	if host.Host != "" {
		address = host.Host
	}
	i.apiServer = newPassthrough(t, address)
	i.policy = fmt.Sprintf(doctorPolicy, i.apiServer.port)
	for _, name := range []string{doctorNamespace, "web-shop", "batch"} {
		if err := c.CreateNamespace(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	i.createDNS()
	i.createPods()
	if i.ca, err = cluster.NewCA(); err != nil {
		t.Fatal(err)
	}
	i.createReplicas()
	// Last: pods that are created from now on call it.
	i.config = webhookconfig.New(parse(t, i.policy), webhookconfig.Options{OwnNamespace: doctorNamespace, Service: "shorthop", CABundle: i.ca.Bundle()})
	created, err := c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), i.config, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	i.config = created
	return i
}

// must is for creations whose result does not matter.
func must[T any](t *testing.T) func(T, error) {
	return func(_ T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

const (
	clusterCorefile = `.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
    }
    forward . /etc/resolv.conf
}
`
	cacheCorefile = `cluster.local:53 {
    bind 169.254.20.10
    forward . 10.0.0.11
}
.:53 {
    bind 169.254.20.10
    forward . /etc/resolv.conf
}
`
)

// createDNS creates a cluster DNS and a node-local cache on three nodes, as far as they are objects.
func (i *installation) createDNS() {
	t, ctx := i.t, i.t.Context()
	services, maps := i.Client.CoreV1().Services("kube-system"), i.Client.CoreV1().ConfigMaps("kube-system")
	for name, ip := range map[string]string{"kube-dns": "10.0.0.10", "kube-dns-upstream": "10.0.0.11"} {
		must[*corev1.Service](t)(services.Create(ctx, dnsService(name, ip), metav1.CreateOptions{}))
	}
	for name, corefile := range map[string]string{"coredns": clusterCorefile, "node-local-dns": cacheCorefile} {
		must[*corev1.ConfigMap](t)(maps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"Corefile": corefile},
		}, metav1.CreateOptions{}))
	}
	labels := map[string]string{"k8s-app": "node-local-dns"}
	sets := i.Client.AppsV1().DaemonSets("kube-system")
	set, err := sets.Create(ctx, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: "node-local-dns"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "node-cache", Image: "example.com/node-cache", Args: []string{"-localip", "169.254.20.10", "-conf", "/etc/Corefile"}}},
					Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
						LocalObjectReference: corev1.LocalObjectReference{Name: "node-local-dns"},
					}}}},
				},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set.Status = appsv1.DaemonSetStatus{
		DesiredNumberScheduled: 3, CurrentNumberScheduled: 3, NumberReady: 3, NumberAvailable: 3, UpdatedNumberScheduled: 3,
		ObservedGeneration: set.Generation,
	}
	must[*appsv1.DaemonSet](t)(sets.UpdateStatus(ctx, set, metav1.UpdateOptions{}))
}

func dnsService(name, ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"k8s-app": "kube-dns"}},
		Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{
			{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP},
		}},
	}
}

// createPods creates a pod that is pinned to the node-local cache, in a namespace whose default-deny policy admits it,
// and one that is not pinned yet.
func (i *installation) createPods() {
	t, ctx := i.t, i.t.Context()
	pinned := plainPod("web-0")
	pinned.Labels = map[string]string{policy.LabelPinned: policy.PinnedNodeLocal}
	pinned.Spec.DNSPolicy = corev1.DNSNone
	pinned.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"169.254.20.10", "10.0.0.11"}}
	must[*corev1.Pod](t)(i.Client.CoreV1().Pods("web-shop").Create(ctx, pinned, metav1.CreateOptions{}))
	must[*corev1.Pod](t)(i.Client.CoreV1().Pods("batch").Create(ctx, plainPod("job-0"), metav1.CreateOptions{}))
	must[*networkingv1.NetworkPolicy](t)(i.Client.NetworkingV1().NetworkPolicies("web-shop").Create(ctx, denyEgress(networkingv1.NetworkPolicyEgressRule{
		To:    []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "169.254.20.10/32"}}},
		Ports: []networkingv1.NetworkPolicyPort{{Protocol: new(corev1.ProtocolUDP), Port: new(intstr.FromInt32(53))}},
	}), metav1.CreateOptions{}))
}

// denyEgress denies everything but the rules and the cluster DNS's pods.
func denyEgress(rules ...networkingv1.NetworkPolicyEgressRule) *networkingv1.NetworkPolicy {
	clusterDNS := networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{{
		NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"k8s-app": "kube-dns"}},
	}}}
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "default-deny"},
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}, Egress: append(rules, clusterDNS),
		},
	}
}

// createReplicas runs the webhook twice, each as the process of a pod on a node of its own, and creates what the chart
// would.
func (i *installation) createReplicas() {
	t, ctx := i.t, i.t.Context()
	program, err := webhookProgram()
	if err != nil {
		t.Fatal(err)
	}
	core := i.Client.CoreV1()
	labels := map[string]string{"app.kubernetes.io/name": "shorthop"}
	must[*corev1.ConfigMap](t)(core.ConfigMaps(doctorNamespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "shorthop", Labels: labels}, Data: map[string]string{"policy.yaml": i.policy},
	}, metav1.CreateOptions{}))
	must[*corev1.ConfigMap](t)(core.ConfigMaps(doctorNamespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": string(i.Config.CAData)},
	}, metav1.CreateOptions{}))
	must[*corev1.Service](t)(core.Services(doctorNamespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "shorthop"},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromString("reviews")}}},
	}, metav1.CreateOptions{}))
	kubeletPort := i.kubelet.start(t)
	for n := range 2 {
		r := &installedReplica{name: fmt.Sprintf("shorthop-%d", n), certDir: t.TempDir(), policyFile: filepath.Join(t.TempDir(), "policy.yaml")}
		replaceFile(t, r.policyFile, i.policy)
		if err := i.ca.WriteServingCert(r.certDir, "shorthop."+doctorNamespace+".svc"); err != nil {
			t.Fatal(err)
		}
		r.Webhook, err = cluster.StartProcess(ctx, cluster.WebhookOptions{
			Binary: program, Policy: r.policyFile, CertDir: r.certDir, Kubeconfig: i.Kubeconfig(),
			Args: []string{"--own-namespace", doctorNamespace, "--shutdown-delay", "0s"},
		})
		if err != nil {
			t.Fatal(err)
		}
		processes.Store(r.Webhook, nil)
		t.Cleanup(func() {
			r.Kill()
			processes.Delete(r.Webhook)
		})
		i.replicas = append(i.replicas, r)
		i.kubelet.addresses.Store(r.name+":9443", r.address())
		i.kubelet.addresses.Store(r.name+":8081", strings.TrimPrefix(r.HealthURL, "http://"))

		node, err := core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", n)}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
		node.Status.DaemonEndpoints.KubeletEndpoint.Port = kubeletPort
		must[*corev1.Node](t)(core.Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}))
		pod := plainPod(r.name)
		pod.Labels = labels
		pod.Spec.NodeName = node.Name
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "reviews", ContainerPort: 9443}, {Name: "health", ContainerPort: 8081}}
		pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromString("health")},
		}}
		if pod, err = core.Pods(doctorNamespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		must[*corev1.Pod](t)(core.Pods(doctorNamespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{}))
	}
}

// address is where reviews are answered.
func (r *installedReplica) address() string {
	return strings.TrimSuffix(strings.TrimPrefix(r.URL, "https://"), webhookconfig.Path)
}

// doctor runs the real program and returns its report by check.
func (i *installation) doctor(t *testing.T, kubeconfig string, args ...string) (map[doctor.Check]doctor.Result, int) {
	t.Helper()
	program, err := kubectlProgram()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, append([]string{"doctor", "--kubeconfig", kubeconfig, "-o", "json"}, args...)...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	if exit, failed := errors.AsType[*exec.ExitError](err); err != nil && (!failed || exit.ExitCode() != 1) {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var report doctor.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v: %s", err, stdout.String())
	}
	byCheck := map[doctor.Check]doctor.Result{}
	for _, result := range report.Checks {
		byCheck[result.Check] = result
	}
	return byCheck, command.ProcessState.ExitCode()
}

// edit changes an object and changes it back at the end of the test.
func edit[T any, P interface {
	*T
	metav1.Object
	DeepCopy() P
}](t *testing.T, name string, get func(context.Context, string, metav1.GetOptions) (P, error), update func(context.Context, P, metav1.UpdateOptions) (P, error), change func(P)) {
	t.Helper()
	before, err := get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	after := before.DeepCopy()
	change(after)
	must[P](t)(update(t.Context(), after, metav1.UpdateOptions{}))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		current, err := get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		before.SetResourceVersion(current.GetResourceVersion())
		must[P](t)(update(ctx, before, metav1.UpdateOptions{}))
	})
}

func (i *installation) editConfig(t *testing.T, change func(*admissionv1.MutatingWebhookConfiguration)) {
	t.Helper()
	configs := i.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	edit(t, "shorthop", configs.Get, configs.Update, change)
}

func (i *installation) editData(t *testing.T, namespace, name string, change func(data map[string]string)) {
	t.Helper()
	maps := i.Client.CoreV1().ConfigMaps(namespace)
	edit(t, name, maps.Get, maps.Update, func(m *corev1.ConfigMap) { change(m.Data) })
}

func (i *installation) editPodStatus(t *testing.T, name string, change func(*corev1.PodStatus)) {
	t.Helper()
	pods := i.Client.CoreV1().Pods(doctorNamespace)
	edit(t, name, pods.Get, pods.UpdateStatus, func(p *corev1.Pod) { change(&p.Status) })
}

func (i *installation) editCache(t *testing.T, change func(*appsv1.DaemonSetStatus)) {
	t.Helper()
	sets := i.Client.AppsV1().DaemonSets("kube-system")
	edit(t, "node-local-dns", sets.Get, sets.UpdateStatus, func(s *appsv1.DaemonSet) { change(&s.Status) })
}

// observeCache is what the DaemonSet's controller would do after a change.
func (i *installation) observeCache(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	sets := i.Client.AppsV1().DaemonSets("kube-system")
	set, err := sets.Get(ctx, "node-local-dns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set.Status.ObservedGeneration = set.Generation
	must[*appsv1.DaemonSet](t)(sets.UpdateStatus(ctx, set, metav1.UpdateOptions{}))
}

// loadPolicy gives replicas another policy until the end of the test, and waits until they have it.
func (i *installation) loadPolicy(t *testing.T, document string, replicas ...*installedReplica) {
	t.Helper()
	load := func(ctx context.Context, document string) {
		hash := compile(t, document).Hash()
		for _, r := range replicas {
			replaceFile(t, r.policyFile, document)
			err := cluster.WaitEffective(ctx, func(context.Context) (bool, error) {
				return strings.Contains(r.debug(ctx, t), hash), nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	load(t.Context(), document)
	t.Cleanup(func() { load(context.WithoutCancel(t.Context()), i.policy) })
}

// serveFrom makes a replica serve a certificate of another CA until the end of the test.
func (r *installedReplica) serveFrom(t *testing.T, ca, own *cluster.CA) {
	t.Helper()
	serve := func(ctx context.Context, ca *cluster.CA) {
		before := r.serial(ctx, t)
		if err := ca.WriteServingCert(r.certDir, "shorthop."+doctorNamespace+".svc"); err != nil {
			t.Fatal(err)
		}
		err := cluster.WaitEffective(ctx, func(context.Context) (bool, error) { return r.serial(ctx, t) != before, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	serve(t.Context(), ca)
	t.Cleanup(func() { serve(context.WithoutCancel(t.Context()), own) })
}

func (r *installedReplica) serial(ctx context.Context, t *testing.T) string {
	t.Helper()
	connection, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx, "tcp", r.address())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func (r *installedReplica) debug(ctx context.Context, t *testing.T) string {
	t.Helper()
	body, err := httpGet(ctx, r.HealthURL+"/debug/policy")
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// fault is something wrong with an installation that is otherwise healthy.
type fault struct {
	// seed breaks it until the end of the test.
	seed   func(*testing.T, *installation)
	check  doctor.Check
	status doctor.Status
	// found is part of what doctor says.
	found string
	// consequences are checks that cannot be made then, or that see it too. All others must pass.
	consequences []doctor.Check
}

func TestDoctorFindsEachFaultAndNothingElse(t *testing.T) {
	t.Parallel()
	i := install(t)
	healthy, code := i.doctor(t, i.Kubeconfig())
	for check, result := range healthy {
		if result.Status != doctor.Pass {
			t.Errorf("a healthy installation: %s is %s: %s %q", check, result.Status, result.Found, result.Items)
		}
	}
	if code != 0 || len(healthy) != 15 || t.Failed() {
		t.Fatalf("a healthy installation: exit code %d, %d checks", code, len(healthy))
	}
	faults := doctorFaults()
	if len(faults) < 12 {
		t.Fatalf("only %d faults", len(faults))
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			f.seed(t, i)
			i.expect(t, &f)
		})
	}
	t.Run("nothing is left of them", func(t *testing.T) {
		i.expect(t, &fault{check: doctor.CheckReplicas, status: doctor.Pass})
	})
	t.Run("as text, a check is a line", func(t *testing.T) {
		i.editData(t, doctorNamespace, "shorthop", func(data map[string]string) { data["policy.yaml"] += "  color: blue\n" })
		i.expectText(t)
	})
	t.Run("an operator who may read everything and connect to nothing", func(t *testing.T) {
		grant(t, i.Client, "reader", rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list"}})
		kubeconfig := kubeconfigAs(t, i.Cluster, "reader")
		var report map[doctor.Check]doctor.Result
		err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) { // RBAC is cached
			report, _ = i.doctor(t, kubeconfig)
			return report[doctor.CheckReplicas].Status == doctor.Pass, nil
		})
		if err != nil {
			t.Fatal(err, report)
		}
		needs := map[doctor.Check]string{
			doctor.CheckServingCertificate: "needs create pods/portforward",
			doctor.CheckPolicy:             "needs create pods/portforward",
			doctor.CheckGates:              "needs create pods/portforward",
			doctor.CheckUnpatchedPods:      "needs get /metrics",
		}
		for check, result := range report {
			want := doctor.Pass
			if needs[check] != "" {
				want = doctor.Unknown
			}
			if result.Status != want || !strings.Contains(result.Found, needs[check]) {
				t.Errorf("%s is %s: %s; want %s and %q", check, result.Status, result.Found, want, needs[check])
			}
		}
	})
	// The API server never forgets this one.
	t.Run("a pod was created while no replica answered", func(t *testing.T) {
		must[*corev1.Pod](t)(i.Client.CoreV1().Pods("web-shop").Create(t.Context(), plainPod("unpatched"), metav1.CreateOptions{}))
		i.expect(t, &fault{check: doctor.CheckUnpatchedPods, status: doctor.Warn, found: webhookconfig.OpenEntry})
	})
}

// expectText expects the checks of -o json in the same order, and that one of them failed.
func (i *installation) expectText(t *testing.T) {
	t.Helper()
	program, err := kubectlProgram()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := exec.CommandContext(t.Context(), program, "doctor", "--kubeconfig", i.Kubeconfig()).Output()
	if exit, failed := errors.AsType[*exec.ExitError](err); !failed || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit code 1", err)
	}
	report, _ := i.doctor(t, i.Kubeconfig())
	var checks []string
	for line := range strings.Lines(string(stdout)) {
		words := strings.Fields(line)
		if len(words) < 3 || !slices.Contains(doctor.Statuses(), doctor.Status(words[0])) {
			continue
		}
		checks = append(checks, words[1])
		if result := report[doctor.Check(words[1])]; words[0] != string(result.Status) || strings.Join(words[2:], " ") != result.Found {
			t.Errorf("%swant %s and %s", line, result.Status, result.Found)
		}
	}
	if len(checks) != len(report) || !strings.Contains(string(stdout), "to do: mend the policy") || !strings.HasSuffix(string(stdout), "\n14 pass, 0 warn, 1 fail, 0 unknown\n") {
		t.Errorf("%d checks of %d:\n%s", len(checks), len(report), stdout)
	}
	t.Logf("\n%s", stdout)
}

func (i *installation) expect(t *testing.T, f *fault) {
	t.Helper()
	report, code := i.doctor(t, i.Kubeconfig())
	got := report[f.check]
	text := strings.Join(append([]string{got.Found}, got.Items...), "\n")
	if got.Status != f.status || !strings.Contains(text, f.found) {
		t.Errorf("%s is %s: %s\nwant %s and %q", f.check, got.Status, text, f.status, f.found)
	}
	if acts := f.status == doctor.Warn || f.status == doctor.Fail; acts != (got.Do != "") {
		t.Errorf("%s is %s and says what to do: %q", f.check, got.Status, got.Do)
	}
	wantCode := 0
	if f.status == doctor.Fail {
		wantCode = 1
	}
	if code != wantCode {
		t.Errorf("exit code %d, want %d", code, wantCode)
	}
	for check, result := range report {
		if check != f.check && result.Status != doctor.Pass && !slices.Contains(f.consequences, check) {
			t.Errorf("%s is %s as well: %s %q", check, result.Status, result.Found, result.Items)
		}
	}
}

func doctorFaults() map[string]fault {
	eachEntry := func(change func(*admissionv1.MutatingWebhook)) func(*testing.T, *installation) {
		return func(t *testing.T, i *installation) {
			i.editConfig(t, func(c *admissionv1.MutatingWebhookConfiguration) {
				for k := range c.Webhooks {
					change(&c.Webhooks[k])
				}
			})
		}
	}
	corefile := func(namespace, name, from, to string) func(*testing.T, *installation) {
		return func(t *testing.T, i *installation) {
			i.editData(t, namespace, name, func(data map[string]string) { data["Corefile"] = strings.ReplaceAll(data["Corefile"], from, to) })
		}
	}
	return map[string]fault{
		"the API server would reject pods": {
			seed:  eachEntry(func(w *admissionv1.MutatingWebhook) { w.FailurePolicy = new(admissionv1.Fail) }),
			check: doctor.CheckWebhookConfiguration, status: doctor.Fail, found: "failurePolicy is Fail",
		},
		"pods would wait for half a minute": {
			seed:  eachEntry(func(w *admissionv1.MutatingWebhook) { w.TimeoutSeconds = new(int32(30)) }),
			check: doctor.CheckWebhookConfiguration, status: doctor.Warn, found: "timeoutSeconds is 30",
		},
		"sidecars that come later are missed": {
			seed:  eachEntry(func(w *admissionv1.MutatingWebhook) { w.ReinvocationPolicy = new(admissionv1.NeverReinvocationPolicy) }),
			check: doctor.CheckWebhookConfiguration, status: doctor.Warn, found: "reinvocationPolicy is Never",
		},
		"an entry is missing": {
			seed: func(t *testing.T, i *installation) {
				i.editConfig(t, func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks = c.Webhooks[:1] })
			},
			check: doctor.CheckWebhookConfiguration, status: doctor.Fail, found: webhookconfig.ClosedEntry + " is missing",
		},
		"the webhook configuration is gone": {
			seed: func(t *testing.T, i *installation) {
				configs := i.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
				if err := configs.Delete(t.Context(), "shorthop", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					again := i.config.DeepCopy()
					again.ResourceVersion = ""
					must[*admissionv1.MutatingWebhookConfiguration](t)(configs.Create(context.WithoutCancel(t.Context()), again, metav1.CreateOptions{}))
				})
			},
			check: doctor.CheckWebhookConfiguration, status: doctor.Fail, found: "there is no webhook configuration shorthop",
			consequences: []doctor.Check{doctor.CheckWebhookFilter, doctor.CheckServingCertificate, doctor.CheckUnpatchedPods},
		},
		"Shorthop's own namespace is selected": {
			seed: eachEntry(func(w *admissionv1.MutatingWebhook) {
				for k := range w.NamespaceSelector.MatchExpressions {
					r := &w.NamespaceSelector.MatchExpressions[k]
					r.Values = slices.DeleteFunc(r.Values, func(v string) bool { return v == doctorNamespace })
				}
			}),
			check: doctor.CheckWebhookFilter, status: doctor.Fail, found: "selects shorthop-system, the namespace Shorthop runs in",
		},
		"a policy excludes a namespace that the API server does not": {
			seed: func(t *testing.T, i *installation) {
				document := i.policy + "  excludedNamespaces: [kube-system, kube-public, kube-node-lease, vault]\n"
				i.loadPolicy(t, document, i.replicas...)
				i.editData(t, doctorNamespace, "shorthop", func(data map[string]string) { data["policy.yaml"] = document })
			},
			check: doctor.CheckWebhookFilter, status: doctor.Fail, found: "filter-hash",
		},
		"a condition keeps pods away": {
			seed:  eachEntry(func(w *admissionv1.MutatingWebhook) { w.MatchConditions[1].Expression = "false" }),
			check: doctor.CheckWebhookFilter, status: doctor.Warn, found: "another expression",
		},
		"a selector keeps namespaces away": {
			seed: eachEntry(func(w *admissionv1.MutatingWebhook) {
				w.NamespaceSelector.MatchLabels = map[string]string{"team": "search"}
			}),
			check: doctor.CheckWebhookFilter, status: doctor.Warn, found: "team In [search]",
		},
		"the caBundle is of another CA": {
			seed: eachEntry(func(w *admissionv1.MutatingWebhook) {
				other, err := cluster.NewCA()
				if err == nil {
					w.ClientConfig.CABundle = other.Bundle()
				}
			}),
			check: doctor.CheckServingCertificate, status: doctor.Fail, found: "does not verify what pod shorthop-0 serves",
		},
		"the caBundle is empty": {
			seed:  eachEntry(func(w *admissionv1.MutatingWebhook) { w.ClientConfig.CABundle = nil }),
			check: doctor.CheckServingCertificate, status: doctor.Fail, found: "caBundle is empty",
		},
		"one replica serves a certificate of another CA": {
			seed: func(t *testing.T, i *installation) {
				other, err := cluster.NewCA()
				if err != nil {
					t.Fatal(err)
				}
				i.replicas[1].serveFrom(t, other, i.ca)
			},
			check: doctor.CheckServingCertificate, status: doctor.Fail, found: "does not verify what pod shorthop-1 serves",
		},
		"one replica is not ready": {
			seed: func(t *testing.T, i *installation) {
				i.editPodStatus(t, "shorthop-0", func(s *corev1.PodStatus) { s.Conditions[0].Status = corev1.ConditionFalse })
			},
			check: doctor.CheckReplicas, status: doctor.Warn, found: "only shorthop-1 is ready",
		},
		"no replica is ready": {
			seed: func(t *testing.T, i *installation) {
				for _, r := range i.replicas {
					i.editPodStatus(t, r.name, func(s *corev1.PodStatus) { s.Conditions[0].Status = corev1.ConditionFalse })
				}
			},
			check: doctor.CheckReplicas, status: doctor.Fail, found: "no replica is ready",
			consequences: []doctor.Check{doctor.CheckServingCertificate, doctor.CheckPolicy, doctor.CheckGates},
		},
		"one replica has another policy": {
			seed: func(t *testing.T, i *installation) {
				i.loadPolicy(t, i.policy+"  rollout: {percent: 50}\n", i.replicas[1])
			},
			check: doctor.CheckPolicy, status: doctor.Fail, found: "replicas have different policies",
		},
		"the ConfigMap is not loaded": {
			seed: func(t *testing.T, i *installation) {
				i.editData(t, doctorNamespace, "shorthop", func(data map[string]string) { data["policy.yaml"] += "  rollout: {percent: 50}\n" })
			},
			check: doctor.CheckPolicy, status: doctor.Warn, found: "the replicas have loaded",
		},
		"the ConfigMap is not a valid policy": {
			seed: func(t *testing.T, i *installation) {
				i.editData(t, doctorNamespace, "shorthop", func(data map[string]string) { data["policy.yaml"] += "  color: blue\n" })
			},
			check: doctor.CheckPolicy, status: doctor.Fail, found: "color",
		},
		"nothing answers at the API host": {
			seed:  func(t *testing.T, i *installation) { i.apiServer.swing(t, "127.0.0.1:1") },
			check: doctor.CheckAPIHost, status: doctor.Warn, found: "is not reachable from here",
		},
		"somebody else answers at the API host": {
			seed:  func(t *testing.T, i *installation) { i.apiServer.swing(t, i.replicas[0].address()) },
			check: doctor.CheckAPIHost, status: doctor.Fail, found: "does not prove to be the API server",
		},
		"pods do not trust the API server's CA": {
			seed: func(t *testing.T, i *installation) {
				i.editData(t, doctorNamespace, "kube-root-ca.crt", func(data map[string]string) { data["ca.crt"] = string(i.ca.Bundle()) })
			},
			check: doctor.CheckAPIHost, status: doctor.Fail, found: "checked with ConfigMap shorthop-system/kube-root-ca.crt",
		},
		"the node-local cache is not available on more nodes than allowed": {
			seed: func(t *testing.T, i *installation) {
				i.editCache(t, func(s *appsv1.DaemonSetStatus) { s.NumberAvailable, s.NumberReady, s.NumberUnavailable = 1, 1, 2 })
			},
			check: doctor.CheckNodeLocalCache, status: doctor.Fail, found: "not available on 2 of 3 nodes, 1 allowed",
			consequences: []doctor.Check{doctor.CheckGates},
		},
		"the node-local cache is not available on one node": {
			seed: func(t *testing.T, i *installation) {
				i.editCache(t, func(s *appsv1.DaemonSetStatus) { s.NumberAvailable, s.NumberReady, s.NumberUnavailable = 2, 2, 1 })
			},
			check: doctor.CheckNodeLocalCache, status: doctor.Warn, found: "within maxUnavailable",
		},
		"the node-local cache listens elsewhere": {
			seed: func(t *testing.T, i *installation) {
				t.Cleanup(func() { i.observeCache(t) })
				corefile("kube-system", "node-local-dns", "169.254.20.10", "169.254.1.1")(t, i)
				sets := i.Client.AppsV1().DaemonSets("kube-system")
				edit(t, "node-local-dns", sets.Get, sets.Update, func(s *appsv1.DaemonSet) {
					s.Spec.Template.Spec.Containers[0].Args[1] = "169.254.1.1"
				})
				i.observeCache(t)
			},
			check: doctor.CheckNodeLocalCache, status: doctor.Fail, found: "points pods at 169.254.20.10",
		},
		"the cluster DNS has another address": {
			seed: func(t *testing.T, i *installation) {
				services := i.Client.CoreV1().Services("kube-system")
				replace := func(ctx context.Context, ip string) {
					if err := services.Delete(ctx, "kube-dns", metav1.DeleteOptions{}); err != nil {
						t.Fatal(err)
					}
					must[*corev1.Service](t)(services.Create(ctx, dnsService("kube-dns", ip), metav1.CreateOptions{}))
				}
				replace(t.Context(), "10.0.0.12")
				t.Cleanup(func() { replace(context.WithoutCancel(t.Context()), "10.0.0.10") })
			},
			check: doctor.CheckClusterDNS, status: doctor.Fail, found: "cluster.dnsServers has 10.0.0.10",
		},
		"the cluster has another domain": {
			seed:  corefile("kube-system", "coredns", "cluster.local", "k8s.example.com"),
			check: doctor.CheckClusterDomain, status: doctor.Fail, found: "the cluster DNS serves k8s.example.com",
		},
		"a namespace opts out": {
			seed: func(t *testing.T, i *installation) {
				namespaces := i.Client.CoreV1().Namespaces()
				edit(t, "batch", namespaces.Get, namespaces.Update, func(n *corev1.Namespace) { n.Labels["node-local-dns-injection"] = "disabled" })
			},
			check: doctor.CheckNamespacesOptedOut, status: doctor.Pass, found: "batch (node-local-dns-injection=disabled)",
		},
		"a namespace is named like a top-level domain": {
			seed: func(t *testing.T, i *installation) {
				if err := i.CreateNamespace(t.Context(), "dev", nil); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { removeNamespace(t, i.Client, "dev") })
			},
			check: doctor.CheckNamespaceNames, status: doctor.Warn, found: "dev",
		},
		"a policy cuts a pinned pod off": {
			seed: func(t *testing.T, i *installation) {
				policies := i.Client.NetworkingV1().NetworkPolicies("web-shop")
				edit(t, "default-deny", policies.Get, policies.Update, func(p *networkingv1.NetworkPolicy) { p.Spec.Egress = p.Spec.Egress[1:] })
			},
			check: doctor.CheckEgressPolicies, status: doctor.Fail, found: "web-0",
		},
		"a policy would cut a pod off": {
			seed: func(t *testing.T, i *installation) {
				policies := i.Client.NetworkingV1().NetworkPolicies("batch")
				must[*networkingv1.NetworkPolicy](t)(policies.Create(t.Context(), denyEgress(), metav1.CreateOptions{}))
				t.Cleanup(func() {
					if err := policies.Delete(context.WithoutCancel(t.Context()), "default-deny", metav1.DeleteOptions{}); err != nil {
						t.Error(err)
					}
				})
			},
			check: doctor.CheckEgressPolicies, status: doctor.Warn, found: "job-0",
		},
		"a zone of the cluster DNS is bypassed": {
			seed: func(t *testing.T, i *installation) {
				maps := i.Client.CoreV1().ConfigMaps("kube-system")
				must[*corev1.ConfigMap](t)(maps.Create(t.Context(), &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: "coredns-custom"},
					Data:       map[string]string{"corp.server": "corp.example.com:53 {\n    forward . 192.0.2.53\n}\n"},
				}, metav1.CreateOptions{}))
				t.Cleanup(func() {
					if err := maps.Delete(context.WithoutCancel(t.Context()), "coredns-custom", metav1.DeleteOptions{}); err != nil {
						t.Error(err)
					}
				})
			},
			check: doctor.CheckCustomZones, status: doctor.Warn, found: "asks the upstream resolvers (/etc/resolv.conf) for corp.example.com",
		},
	}
}

// removeNamespace does what the namespace controller would: nothing is in it.
func removeNamespace(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	namespace, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	namespace.Spec.Finalizers = nil
	must[*corev1.Namespace](t)(client.CoreV1().Namespaces().Finalize(ctx, namespace, metav1.UpdateOptions{}))
}

// kubeconfigAs returns a kubeconfig for somebody else than the administrator.
func kubeconfigAs(t *testing.T, c *cluster.Cluster, user string) string {
	t.Helper()
	loaded, err := clientcmd.LoadFromFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range loaded.AuthInfos {
		info.Impersonate = user
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*loaded, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// grant lets a user do what the rules say, for the rest of the test.
func grant(t *testing.T, client kubernetes.Interface, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	rbac, meta := client.RbacV1(), metav1.ObjectMeta{Name: user}
	must[*rbacv1.ClusterRole](t)(rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}))
	must[*rbacv1.ClusterRoleBinding](t)(rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}, metav1.CreateOptions{}))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_ = rbac.ClusterRoleBindings().Delete(ctx, user, metav1.DeleteOptions{})
		_ = rbac.ClusterRoles().Delete(ctx, user, metav1.DeleteOptions{})
	})
}

// An operator who may only look at the webhook configuration learns that, and which permissions the rest needs.
func TestDoctorSaysWhichPermissionsAreMissing(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	name := s.name + "-doctor"
	grant(t, shared.Client, name, rbacv1.PolicyRule{
		APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations"}, Verbs: []string{"get"},
	})
	document := parse(t, strings.Replace(doctorPolicy, "%d", "443", 1))
	config := webhookconfig.New(document, webhookconfig.Options{Name: s.name, OwnNamespace: doctorNamespace, Service: "shorthop"})
	s.register(config)

	kubeconfig := kubeconfigAs(t, shared, name)
	i := &installation{}
	var report map[doctor.Check]doctor.Result
	var code int
	err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) { // RBAC is cached
		report, code = i.doctor(t, kubeconfig, "--webhook-configuration", s.name)
		return report[doctor.CheckWebhookConfiguration].Status == doctor.Pass, nil
	})
	if err != nil {
		t.Fatal(err, report)
	}
	for check, want := range map[doctor.Check]string{
		doctor.CheckReplicas:           "needs get services",
		doctor.CheckServingCertificate: "needs get services", // whatever the caBundle is
		doctor.CheckPolicy:             "needs get services",
		doctor.CheckNamespacesOptedOut: "needs list namespaces",
		doctor.CheckNamespaceNames:     "needs list namespaces",
		doctor.CheckEgressPolicies:     "needs list networkpolicies",
		doctor.CheckUnpatchedPods:      "needs get /metrics",
	} {
		if got := report[check]; got.Status != doctor.Unknown || !strings.Contains(got.Found, want) {
			t.Errorf("%s is %s: %s; want unknown and %q", check, got.Status, got.Found, want)
		}
	}
	if code != 0 {
		t.Errorf("exit code %d: what is unknown is no failure", code)
	}
}

// A server outside the cluster is registered by URL: what it serves is verified, its replicas cannot be asked.
func TestDoctorVerifiesAServerOutsideTheCluster(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	document := strings.Replace(doctorPolicy, "serviceHost: {host: localhost, port: %d, probe: {interval: 24h}}", "excludedNamespaces: [kube-system]", 1)
	document = strings.Replace(document, "mode: NodeLocal", "mode: Options", 1)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, document)
	webhook := s.startWebhook(file)
	other, err := cluster.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	i := &installation{}
	for name, c := range map[string]struct {
		caBundle []byte
		want     doctor.Status
	}{
		"the CA that signed": {webhook.caBundle, doctor.Pass},
		"another CA":         {other.Bundle(), doctor.Fail},
	} {
		s.register(configuration(s.name, parse(t, document), endpoint{webhook.url, c.caBundle}))
		report, _ := i.doctor(t, shared.Kubeconfig(), "--webhook-configuration", s.name, "--own-namespace", ownNamespace, "--policy", file)
		if got := report[doctor.CheckServingCertificate]; got.Status != c.want {
			t.Errorf("%s: serving-certificate is %s: %s", name, got.Status, got.Found)
		}
		if got := report[doctor.CheckReplicas]; got.Status != doctor.Unknown || !strings.Contains(got.Found, "called by URL") {
			t.Errorf("%s: replicas is %s: %s", name, got.Status, got.Found)
		}
		// The test's scope is a selector of its own; the policy is the one that --policy names.
		if got := report[doctor.CheckWebhookFilter]; got.Status != doctor.Warn || !strings.Contains(got.Found, scopeLabel) {
			t.Errorf("%s: webhook-filter is %s: %s", name, got.Status, got.Found)
		}
	}
}

func httpGet(ctx context.Context, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}
