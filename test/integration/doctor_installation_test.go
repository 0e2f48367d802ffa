package integration_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// installation is a healthy installation on a control plane of its own: doctor looks at the whole cluster.
type installation struct {
	*cluster.Cluster
	t        *testing.T
	kubelet  *forwardingKubelet
	ca       *cluster.CA
	policy   string
	replicas []*installedReplica
	// apiServer is the way to the API server that the policy names.
	apiServer *clustertest.Way
	config    *admissionv1.MutatingWebhookConfiguration
	// drawn are the paths of doctor's last report, healthyPaths those of the first.
	drawn        []doctor.Path
	healthyPaths string
}

type installedReplica struct {
	*cluster.Webhook
	name, policyFile, certDir string
}

// bundleManager is what the server's injector calls itself.
const bundleManager = "shorthop-ca-bundle"

func install(t *testing.T) *installation {
	t.Helper()
	c := clustertest.Start(t, cluster.Options{})
	i := &installation{Cluster: c, t: t, kubelet: startKubelet(t)}
	i.apiServer = clustertest.NewWay(t, clustertest.HostOf(c.Config))
	i.policy = fmt.Sprintf(doctorPolicy, i.apiServer.Port())
	for _, name := range []string{doctorNamespace, "web-shop", "batch"} {
		if err := c.CreateNamespace(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	i.createDNS()
	i.createPods()
	i.ca = clustertest.CA(t)
	i.createReplicas()
	// Last: pods that are created from now on call it.
	i.config = webhookconfig.New(parse(t, i.policy), webhookconfig.Options{OwnNamespace: doctorNamespace, Service: "shorthop", CABundle: i.ca.Bundle()})
	created, err := c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), i.config, metav1.CreateOptions{FieldManager: bundleManager})
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

// objects are those of a kind.
type objects[T any] interface {
	Create(context.Context, T, metav1.CreateOptions) (T, error)
	Delete(context.Context, string, metav1.DeleteOptions) error
}

// createFor creates an object until the end of the test.
func createFor[T metav1.Object](t *testing.T, of objects[T], object T) {
	t.Helper()
	must[T](t)(of.Create(t.Context(), object, metav1.CreateOptions{}))
	t.Cleanup(func() {
		if err := of.Delete(context.WithoutCancel(t.Context()), object.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
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
		answer(t, i.Cluster, name)
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

// createBootstrapPod creates a CNI's agent that an earlier policy gave a host by name, until the end of the test.
func (i *installation) createBootstrapPod(t *testing.T) {
	t.Helper()
	const record = `{"v":1,"rule":"default","policy":"fa3bcf5f76a8","serviceHost":"api.example.com","added":{"containers":["setup","app"],"serviceHostSum":"707d667a1ca5d603"}}`
	host := []corev1.EnvVar{{Name: policy.EnvServiceHost, Value: "api.example.com"}}
	pod := plainPod("cni-node")
	pod.Annotations = map[string]string{policy.AnnotationInjected: record}
	pod.Spec.HostNetwork, pod.Spec.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet
	pod.Spec.InitContainers = []corev1.Container{{Name: "setup", Image: "example.com/cni", Env: host}}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "example.com/cni", Env: host}}
	i.createUnseen(t, pod)
}

// createUnseen creates a pod in a namespace that no review sees, until the end of the test.
func (i *installation) createUnseen(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	accounts := i.Client.CoreV1().ServiceAccounts("kube-system") // what a controller would create
	must[*corev1.ServiceAccount](t)(accounts.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}))
	pods := i.Client.CoreV1().Pods("kube-system")
	must[*corev1.Pod](t)(pods.Create(t.Context(), pod, metav1.CreateOptions{}))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if err := pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)}); err != nil {
			t.Error(err)
		}
		if err := accounts.Delete(ctx, "default", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
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
	must[*corev1.Secret](t)(core.Secrets(doctorNamespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "shorthop-ca"}}, metav1.CreateOptions{}))
	for n := range 2 {
		r := &installedReplica{name: fmt.Sprintf("shorthop-%d", n), certDir: t.TempDir(), policyFile: filepath.Join(t.TempDir(), "policy.yaml")}
		replaceFile(t, r.policyFile, i.policy)
		if err := i.ca.WriteServingCert(r.certDir, "shorthop."+doctorNamespace+".svc"); err != nil {
			t.Fatal(err)
		}
		r.Webhook = clustertest.Webhook(t, cluster.WebhookOptions{
			Binary: program, Policy: r.policyFile, CertDir: r.certDir, Kubeconfig: i.Kubeconfig(),
			Args: []string{"--own-namespace", doctorNamespace, "--shutdown-delay", "0s"},
		})
		i.replicas = append(i.replicas, r)
		pod := plainPod(r.name)
		// As objects, they sign their own certificates; the processes are given theirs, to be broken.
		pod.Spec.Containers[0].Args = []string{"--cert-source=self-managed", "--ca-secret=shorthop-ca", "--detect-lease=shorthop-detector"}
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "reviews", ContainerPort: 9443}, {Name: "health", ContainerPort: 8081}}
		pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromString("health")},
		}}
		runAsPod(t, i.Cluster, i.kubelet, r.Webhook, pod)
	}
}

// address is where reviews are answered.
func (r *installedReplica) address() string {
	return strings.TrimSuffix(strings.TrimPrefix(r.URL, "https://"), webhookconfig.Path)
}

// doctor runs the real program and returns its report by check.
func (i *installation) doctor(t *testing.T, kubeconfig string, args ...string) (map[doctor.Check]doctor.Result, int) {
	t.Helper()
	stdout, stderr, code := kubectl(t, append([]string{"doctor", "--kubeconfig", kubeconfig, "-o", "json"}, args...)...)
	if code > 1 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var report doctor.Report
	if err := json.Unmarshal(stdout, &report); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	i.drawn = report.Paths
	byCheck := map[doctor.Check]doctor.Result{}
	for _, result := range report.Checks {
		byCheck[result.Check] = result
	}
	return byCheck, code
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
	edit(t, "shorthop", configs.Get, func(ctx context.Context, c *admissionv1.MutatingWebhookConfiguration, o metav1.UpdateOptions) (*admissionv1.MutatingWebhookConfiguration, error) {
		o.FieldManager = bundleManager // nobody else is to write the caBundle
		return configs.Update(ctx, c, o)
	}, change)
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
				_, body := get(t, r.HealthURL+"/debug/policy")
				return strings.Contains(body, hash), nil
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
