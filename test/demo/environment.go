package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
)

// webhookStopTimeout bounds the webhook's stop, which takes milliseconds without --shutdown-delay.
const webhookStopTimeout = 10 * time.Second

// environment is everything that runs. The zero value but for progress is one in which nothing runs yet.
type environment struct {
	progress *progress
	// version is the API server's, for example v1.36.3.
	version string

	dir     string // the audit log, the policy and the serving certificate
	cluster *cluster.Cluster
	client  kubernetes.Interface
	webhook *cluster.Webhook
	creates int // requests so far, which numbers their audit ids
}

func (e *environment) auditLog() string   { return filepath.Join(e.dir, "audit.log") }
func (e *environment) policyFile() string { return filepath.Join(e.dir, "policy.yaml") }

// startControlPlane starts etcd and kube-apiserver.
func (e *environment) startControlPlane(ctx context.Context) (err error) {
	if e.dir, err = os.MkdirTemp("", "shorthop-demo-"); err != nil {
		return fmt.Errorf("creating a temporary folder: %w", err)
	}
	e.progress.step("Starting etcd and kube-apiserver")
	if e.cluster, err = cluster.Start(ctx, cluster.Options{AuditLog: e.auditLog()}); err != nil {
		return err
	}
	config := rest.CopyConfig(e.cluster.Config)
	config.WarningHandler = rest.NoWarnings{} // the report has them
	if e.client, err = kubernetes.NewForConfig(config); err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	version, err := e.client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("asking for the API server's version: %w", err)
	}
	e.version = version.GitVersion
	return nil
}

// createNamespaces creates the namespaces of the samples.
func (e *environment) createNamespaces(ctx context.Context, samples []sample) error {
	done := map[string]bool{metav1.NamespaceDefault: true}
	for _, s := range samples {
		name := s.Pod.Namespace
		if done[name] {
			continue
		}
		done[name] = true
		if err := e.cluster.CreateNamespace(ctx, name, namespaceLabels[name]); err != nil {
			return err
		}
	}
	return nil
}

// adaptPolicy writes a copy of the policy that works here: the hosts of policies do not exist on this machine, so they
// become the API server's address, and the caches get a DaemonSet that is rolled out. Nothing that does not work is
// injected.
func (e *environment) adaptPolicy(ctx context.Context, document *policy.InjectionPolicy) (*policy.Compiled, error) {
	if err := e.cluster.PointAtAPIServer(document); err != nil {
		return nil, err
	}
	compiled, err := policy.Compile(document, "")
	if err != nil {
		return nil, fmt.Errorf("the policy with the API server's address: %w", err)
	}
	text, err := yaml.Marshal(document)
	if err != nil {
		return nil, fmt.Errorf("encoding the policy: %w", err)
	}
	if err := os.WriteFile(e.policyFile(), text, 0o600); err != nil {
		return nil, fmt.Errorf("writing the policy: %w", err)
	}
	for _, probe := range compiled.HostProbes() {
		e.progress.step("The service host is this API server, %s", net.JoinHostPort(probe.Host, probe.Port))
	}
	for _, cache := range compiled.Caches() {
		e.progress.step("Creating DaemonSet %s, with the status of one that is rolled out", cache.DaemonSet)
		namespace, _, _ := strings.Cut(cache.DaemonSet, "/")
		if err := e.cluster.CreateNamespace(ctx, namespace, nil); err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, err
		}
		if err := e.cluster.SetDaemonSet(ctx, cache.DaemonSet, 5, 5); err != nil {
			return nil, err
		}
	}
	return compiled, nil
}

// startWebhook runs bin/webhook, registers it, and returns once the API server calls it.
func (e *environment) startWebhook(ctx context.Context, compiled *policy.Compiled, samples []sample) error {
	certDir := filepath.Join(e.dir, "certs")
	caBundle, err := cluster.ServingCert(certDir, "127.0.0.1")
	if err != nil {
		return err
	}
	e.progress.step("Starting the webhook")
	if e.webhook, err = cluster.StartProcess(ctx, cluster.WebhookOptions{
		Policy:     e.policyFile(),
		CertDir:    certDir,
		Kubeconfig: e.cluster.Kubeconfig(),
		Args:       []string{"--shutdown-delay=0s"}, // no load balancer has to notice that it stops
	}); err != nil {
		return err
	}

	e.progress.step("Registering it and waiting until kube-apiserver calls it")
	config := webhookconfig.New(compiled.Document(), webhookconfig.Options{
		URL:      strings.TrimSuffix(e.webhook.URL, webhookconfig.Path),
		CABundle: caBundle,
	})
	if err := cluster.RegisterWebhook(ctx, e.client, config); err != nil {
		return err
	}
	// A pod without labels in a namespace that is neither excluded nor closed always gets a review.
	open := slices.IndexFunc(samples, func(s sample) bool {
		return !compiled.Excludes(s.Pod.Namespace) && !closed(s.Pod.Namespace)
	})
	if open < 0 {
		return errors.New("the policy excludes every namespace of the samples")
	}
	probe := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "probe", Namespace: samples[open].Pod.Namespace},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "probe", Image: "example.com/probe"}}},
	}
	return cluster.WaitEffective(ctx, func(ctx context.Context) (bool, error) {
		c, err := e.create(ctx, probe, metav1.DryRunAll)
		return c.Review != nil, err
	})
}

// creation is what the API server made of a pod.
type creation struct {
	Pod      *corev1.Pod
	Review   *review // nil where the API server did not call the webhook
	Warnings []string
}

// create creates a pod and finds in the audit log what admission did to it.
func (e *environment) create(ctx context.Context, pod *corev1.Pod, dryRun ...string) (creation, error) {
	e.creates++
	auditID := "shorthop-demo-" + strconv.Itoa(e.creates)
	created := &corev1.Pod{}
	result := e.client.CoreV1().RESTClient().Post().
		Namespace(pod.Namespace).Resource("pods").
		VersionedParams(&metav1.CreateOptions{DryRun: dryRun}, scheme.ParameterCodec).
		SetHeader(auditIDHeader, auditID).
		Body(pod).Do(ctx)
	if err := result.Into(created); err != nil {
		return creation{}, fmt.Errorf("creating pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	c := creation{Pod: created}
	for _, warning := range result.Warnings() {
		c.Warnings = append(c.Warnings, warning.Text)
	}
	annotations, err := waitForAudit(ctx, e.auditLog(), auditID)
	if err != nil {
		return creation{}, err
	}
	c.Review, err = reviewFrom(annotations)
	return c, err
}

// createWithoutWebhook returns the samples as the API server would store them without Shorthop. It also shows that each
// is a valid pod, so that whatever happens later is our doing.
func (e *environment) createWithoutWebhook(ctx context.Context, samples []sample) ([]*corev1.Pod, error) {
	pods := make([]*corev1.Pod, 0, len(samples))
	for _, s := range samples {
		c, err := e.create(ctx, s.Pod, metav1.DryRunAll)
		if err != nil {
			return nil, err
		}
		pods = append(pods, c.Pod)
	}
	return pods, nil
}

// createSamples creates the samples and reads them back.
func (e *environment) createSamples(ctx context.Context, samples []sample) ([]creation, error) {
	creations := make([]creation, 0, len(samples))
	for _, s := range samples {
		c, err := e.create(ctx, s.Pod)
		if err != nil {
			return nil, err
		}
		if c.Pod, err = e.client.CoreV1().Pods(c.Pod.Namespace).Get(ctx, c.Pod.Name, metav1.GetOptions{}); err != nil {
			return nil, fmt.Errorf("reading a pod back: %w", err)
		}
		creations = append(creations, c)
	}
	return creations, nil
}

// running tells the user how to reach what runs.
type running struct {
	Kubeconfig string `json:"kubeconfig"`
	PolicyFile string `json:"policyFile"`
	Webhook    string `json:"webhook"`
	Metrics    string `json:"metrics"`
	Health     string `json:"health"`
	Debug      string `json:"debug"`
	AuditLog   string `json:"auditLog"`
}

func (e *environment) describe() *running {
	return &running{
		Kubeconfig: e.cluster.Kubeconfig(),
		PolicyFile: e.policyFile(),
		Webhook:    e.webhook.URL,
		Metrics:    e.webhook.MetricsURL,
		Health:     e.webhook.HealthURL + "/readyz",
		Debug:      e.webhook.HealthURL + "/debug/policy",
		AuditLog:   e.auditLog(),
	}
}

// stop ends whatever runs and removes what was written. It takes no context, because an interrupted demo must do it too.
func (e *environment) stop() error {
	if e.dir == "" {
		return nil // nothing has been started
	}
	var errs []error
	if e.webhook != nil {
		e.progress.step("Stopping the webhook")
		ctx, cancel := context.WithTimeout(context.Background(), webhookStopTimeout)
		defer cancel()
		code, err := e.webhook.Stop(ctx)
		if err == nil && code != 0 {
			err = fmt.Errorf("the webhook ended with exit code %d; its output:\n%s", code, e.webhook.Logs())
		}
		errs = append(errs, err)
	}
	if e.cluster != nil {
		e.progress.step("Stopping kube-apiserver and etcd")
		errs = append(errs, e.cluster.Stop())
	}
	errs = append(errs, os.RemoveAll(e.dir))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	e.progress.step("Everything is stopped and removed")
	return nil
}
