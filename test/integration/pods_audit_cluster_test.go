package integration_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/testfile"
)

// seed is a kind of pods that audit should find.
type seed struct {
	// class, or leftOut.
	class   audit.Class
	leftOut audit.LeftOut
	// labels of the pods.
	labels map[string]string
	// of 100 pods.
	of int
}

// seeds in the order in which they are created: under the older policy, under the policy in force, without a webhook.
func seeds() (older, reviewed, missed []seed) {
	return []seed{{class: audit.Stale, of: 5}},
		[]seed{
			{class: audit.OK, of: 68},
			{class: audit.Pinned, labels: map[string]string{"edge": "true"}, of: 4},
			{class: audit.Unknown, labels: map[string]string{"slow": "true"}, of: 3},
			{class: audit.OptedOut, labels: map[string]string{policy.LabelInject: "disabled"}, of: 6},
			{class: audit.Skipped, labels: map[string]string{"k8s-app": "kube-dns"}, of: 2},
		},
		[]seed{
			{class: audit.Missed, of: 7},
			{leftOut: audit.LeftOutFinished, of: 5},
		}
}

// neverCalled keeps the API server from calling a webhook of which selectors say that it is called.
var neverCalled = admissionv1.MatchCondition{Name: "never", Expression: "request.namespace == ''"}

// auditedCluster is a control plane with pods of every kind.
type auditedCluster struct {
	*cluster.Cluster
	t          *testing.T
	document   string
	namespaces []string
	kubelet    *forwardingKubelet
	ca         *cluster.CA
	certDir    string
	policyFile string
}

func newAuditedCluster(t *testing.T, args map[string][]string) *auditedCluster {
	t.Helper()
	c := clustertest.Start(t, cluster.Options{APIServerArgs: args})
	a := &auditedCluster{Cluster: c, t: t, kubelet: startKubelet(t), certDir: t.TempDir(), policyFile: filepath.Join(t.TempDir(), "policy.yaml")}
	a.ca = clustertest.CA(t)
	if err := a.ca.WriteServingCert(a.certDir, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateNamespace(t.Context(), doctorNamespace, nil); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *auditedCluster) policy(ndots int) string {
	a.t.Helper()
	host, port, err := a.Endpoint()
	if err != nil {
		a.t.Fatal(err)
	}
	return fmt.Sprintf(podsAuditPolicy, host, port, ndots)
}

// install creates what the chart would, so far as audit reads it. The webhook configuration is there, but is not called while the pods
// are created.
func (a *auditedCluster) install() {
	t, ctx := a.t, a.t.Context()
	config := webhookconfig.New(parse(t, a.document), webhookconfig.Options{OwnNamespace: doctorNamespace, Service: "shorthop", CABundle: a.ca.Bundle()})
	for i := range config.Webhooks {
		config.Webhooks[i].MatchConditions = append(config.Webhooks[i].MatchConditions, neverCalled)
	}
	if err := cluster.RegisterWebhook(ctx, a.Client, config); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app.kubernetes.io/name": "shorthop"}
	must[*corev1.Service](t)(a.Client.CoreV1().Services(doctorNamespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "shorthop"},
		Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromInt32(9443)}}},
	}, metav1.CreateOptions{}))
	must[*corev1.ConfigMap](t)(a.Client.CoreV1().ConfigMaps(doctorNamespace).Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "shorthop", Labels: labels}, Data: map[string]string{"policy.yaml": a.document},
	}, metav1.CreateOptions{}))
}

// start runs a replica.
func (a *auditedCluster) start(kubeconfig string, args ...string) *process {
	a.t.Helper()
	program, err := webhookProgram()
	if err != nil {
		a.t.Fatal(err)
	}
	webhook := clustertest.Webhook(a.t, cluster.WebhookOptions{
		Binary: program, Policy: a.policyFile, CertDir: a.certDir, Kubeconfig: kubeconfig,
		Args: append([]string{"--own-namespace", doctorNamespace, "--shutdown-delay", "0s"}, args...),
	})
	return &process{Webhook: webhook, endpoint: endpoint{strings.TrimSuffix(webhook.URL, webhookconfig.Path), a.ca.Bundle()}}
}

// waitReviewed waits until pods are reviewed under a policy, or not at all (nil).
func (a *auditedCluster) waitReviewed(compiled *policy.Compiled) {
	a.t.Helper()
	err := cluster.WaitEffective(a.t.Context(), func(ctx context.Context) (bool, error) {
		pod, err := a.Client.CoreV1().Pods(a.namespaces[0]).Create(ctx, plainPod("trial"), dryRun)
		if err != nil {
			return false, err
		}
		record := pod.Annotations[policy.AnnotationInjected]
		if compiled == nil {
			return record == "", nil
		}
		return strings.Contains(record, compiled.Hash()), nil
	})
	if err != nil {
		a.t.Fatal(err)
	}
}

// parallel calls do for 0 to n-1.
func (a *auditedCluster) parallel(n int, do func(context.Context, int) error) {
	a.t.Helper()
	group, ctx := errgroup.WithContext(a.t.Context())
	group.SetLimit(24)
	for i := range n {
		group.Go(func() error { return do(ctx, i) })
	}
	if err := group.Wait(); err != nil {
		a.t.Fatal(err)
	}
}

// plant creates the pods of a seed, five to a Deployment.
func (a *auditedCluster) plant(s seed, total int) {
	a.t.Helper()
	name := strings.ReplaceAll(string(s.class)+string(s.leftOut), "_", "-")
	a.parallel(total*s.of/100, func(ctx context.Context, i int) error {
		workload := fmt.Sprintf("%s-%d", name, i/5)
		pod := plainPod(fmt.Sprintf("%s-abc123-%d", workload, i))
		pod.Labels = map[string]string{"pod-template-hash": "abc123"}
		maps.Copy(pod.Labels, s.labels)
		pod.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: "ReplicaSet", Name: workload + "-abc123", UID: "0", Controller: new(true),
		}}
		// As large as pods are.
		for n := range 20 {
			pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", n), Value: strings.Repeat("v", 40)})
		}
		namespace := a.namespaces[i/5%len(a.namespaces)]
		created, err := a.Client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
		if err != nil || s.leftOut == "" {
			return err
		}
		created.Status.Phase = corev1.PodSucceeded
		_, err = a.Client.CoreV1().Pods(namespace).UpdateStatus(ctx, created, metav1.UpdateOptions{})
		return err
	})
}

// sow creates all pods, through the real webhook and past it, and leaves one cache broken.
func (a *auditedCluster) sow(total int) {
	t, ctx := a.t, a.t.Context()
	t.Helper()
	for i := range max(1, min(200, total/10)) {
		a.namespaces = append(a.namespaces, fmt.Sprintf("audited-%d", i))
	}
	a.parallel(len(a.namespaces), func(ctx context.Context, i int) error {
		return a.CreateNamespace(ctx, a.namespaces[i], nil)
	})
	for _, cache := range []string{auditCache, edgeCache} {
		if err := a.SetDaemonSet(ctx, cache, 3, 3); err != nil {
			t.Fatal(err)
		}
	}
	before := a.policy(2)
	a.document = a.policy(3)
	a.install()

	replaceFile(t, a.policyFile, before)
	webhook := a.start(a.Kubeconfig(), "--detect-interval", "0")
	config := configuration("seeding", parse(t, before), webhook.endpoint)
	if err := cluster.RegisterWebhook(ctx, a.Client, config); err != nil {
		t.Fatal(err)
	}
	older, reviewed, missed := seeds()
	a.waitReviewed(compile(t, before))
	for _, s := range older {
		a.plant(s, total)
	}
	replaceFile(t, a.policyFile, a.document)
	a.waitReviewed(compile(t, a.document))
	for _, s := range reviewed {
		a.plant(s, total)
	}
	if err := a.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(ctx, "seeding", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.waitReviewed(nil)
	webhook.Kill()
	for _, s := range missed {
		a.plant(s, total)
	}
	a.plantByHand()
	if err := a.SetDaemonSet(ctx, edgeCache, 3, 0); err != nil {
		t.Fatal(err)
	}
}

// frontDoor is a way to the API server on which single requests can be held up.
type frontDoor struct {
	kubeconfig string
	// hold is called before a page of the pods of all namespaces is asked for.
	hold func(request *http.Request)
}

// isFirstPage reports whether a request for pods does not go on with an earlier one.
func isFirstPage(r *http.Request) bool { return r.URL.Query().Get("continue") == "" }

func (a *auditedCluster) openFrontDoor(hold func(*http.Request)) *frontDoor {
	t := a.t
	t.Helper()
	config := rest.CopyConfig(a.Config)
	config.NextProtos = []string{"http/1.1"} // port forwarding upgrades the connection
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = transport
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/pods" {
			hold(r)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: %q}}], users: [{name: u, user: {}}]}`, server.URL)
	testfile.Write(t, kubeconfig, text)
	return &frontDoor{kubeconfig, hold}
}
