//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/e2e/images"
)

// environment is a cluster with Shorthop in it.
type environment struct {
	config *rest.Config
	client kubernetes.Interface
	// prefix begins the names of the probes' images.
	prefix string
	// hostResolvConf is the node's resolv.conf, as a file that explain can read.
	hostResolvConf string
	// serviceHost and servicePort are the Service kubernetes: what kubelet puts into the environment.
	serviceHost, servicePort string

	dir   string
	chart *chart // nil with E2E_EXISTING=1
}

// policyFile is the policy of all tests; what differs between them are its rules, which go by namespace. Once the chart is
// installed, it is the policy that the chart has made of it.
var policyFile = "testdata/policy.yaml"

// namespaces of the policy's rules, with their labels.
var namespaces = map[string]map[string]string{
	"options-1":             nil,
	"options-2":             nil,
	"options-4":             nil,
	"options-tcp":           nil,
	"node-local":            nil,
	"node-local-corp":       nil,
	"node-local-hasty":      nil,
	"node-local-only":       nil,
	"fallthrough":           nil,
	"fallthrough-forwarded": nil,
	"fallthrough-vouched":   nil,
	"fallthrough-cache":     nil,
	"node-ip":               nil,
	"plain":                 nil,
	"closed":                {policy.LabelInject: "disabled"},
	"default":               nil,
}

// newEnvironment creates the namespaces.
func newEnvironment(ctx context.Context, config *rest.Config) (_ *environment, err error) {
	e := &environment{config: config, prefix: images.DefaultPrefix}
	defer func() {
		if err != nil {
			e.stop()
		}
	}()
	if e.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("creating a client: %w", err)
	}
	if e.dir, err = os.MkdirTemp("", "shorthop-e2e-"); err != nil {
		return nil, fmt.Errorf("creating a folder: %w", err)
	}
	service, err := e.client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the Service kubernetes: %w", err)
	}
	e.serviceHost, e.servicePort = service.Spec.ClusterIP, strconv.Itoa(int(service.Spec.Ports[0].Port))
	for name, labels := range namespaces {
		if err := e.createNamespace(ctx, name, labels); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// reviewMetrics returns what the API server has measured of the webhook's reviews: the lines of how long they took
// (duration) and of the pods that it has admitted without an answer (failedOpen, empty where there are none).
func (e *environment) reviewMetrics(ctx context.Context) (duration, failedOpen string, err error) {
	text, err := e.client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return "", "", fmt.Errorf("reading the API server's metrics: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "apiserver_admission_webhook_fail_open_count{"):
			failedOpen += line
		case strings.HasPrefix(line, "apiserver_admission_webhook_admission_duration_seconds_bucket{") &&
			strings.Contains(line, `operation="CREATE"`) && strings.Contains(line, webhookconfig.OpenEntry):
			duration += line[strings.Index(line, ",le=")+1:]
		}
	}
	return duration, failedOpen, nil
}

// discoverHostResolvConf learns the node's resolv.conf from a pod with dnsPolicy Default, which gets that file.
func (e *environment) discoverHostResolvConf(ctx context.Context) error {
	pod := e.pod("plain", images.Musl, "report")
	pod.Spec.DNSPolicy = corev1.DNSDefault
	pods := e.client.CoreV1().Pods(pod.Namespace)
	created, err := pods.Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating a pod with the node's resolv.conf: %w", err)
	}
	defer func() { _ = pods.Delete(ctx, created.Name, metav1.DeleteOptions{}) }() // it has ended by itself
	if err := cluster.WaitEffective(ctx, func(ctx context.Context) (bool, error) {
		current, err := pods.Get(ctx, created.Name, metav1.GetOptions{})
		return err == nil && current.Status.Phase == corev1.PodSucceeded, err
	}); err != nil {
		return err
	}
	text, err := pods.GetLogs(created.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		return fmt.Errorf("reading the log of pod %s: %w", created.Name, err)
	}
	var got report
	if err := json.Unmarshal(text, &got); err != nil {
		return fmt.Errorf("decoding the log of pod %s: %w", created.Name, err)
	}
	e.hostResolvConf = filepath.Join(e.dir, "host-resolv.conf")
	if err := os.WriteFile(e.hostResolvConf, []byte(got.ResolvConf), 0o600); err != nil {
		return fmt.Errorf("writing the node's resolv.conf: %w", err)
	}
	return nil
}

func (e *environment) createNamespace(ctx context.Context, name string, labels map[string]string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	_, err := e.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", name, err)
	}
	return cluster.WaitEffective(ctx, func(ctx context.Context) (bool, error) {
		_, err := e.client.CoreV1().ServiceAccounts(name).Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
}

func (e *environment) stop() {
	_ = os.RemoveAll(e.dir) // in the sandbox it is in memory anyway
}

// pod is a pod with one container that runs a probe's command once.
func (e *environment) pod(namespace, probe string, command ...string) *corev1.Pod {
	return &corev1.Pod{
		// Explain reads it as a manifest.
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: probe + "-"},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: new(int64(1)),
			Containers: []corev1.Container{{
				Name: "probe", Image: images.Name(e.prefix, probe), Args: command, ImagePullPolicy: corev1.PullIfNotPresent,
			}},
		},
	}
}

// known is the same pod by the image's name that the policy knows.
func (e *environment) known(namespace, probe string, command ...string) *corev1.Pod {
	pod := e.pod(namespace, probe, command...)
	pod.Spec.Containers[0].Image = images.Known(e.prefix, probe)
	return pod
}

// report is what the command "report" of a probe prints.
type report struct {
	ResolvConf string   `json:"resolvConf"`
	Env        []string `json:"env"`
}

// answer is one line of what the command "lookup" of a probe prints.
type answer struct {
	Name         string   `json:"name"`
	Addresses    []string `json:"addresses"`
	Error        string   `json:"error"`
	Milliseconds float64  `json:"milliseconds"`
}

// startPod creates a pod that runs until the test ends, and waits until its containers run.
func startPod(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	ctx := t.Context()
	created, err := suite.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("creating the pod: %v", err)
	}
	t.Cleanup(func() { deletePod(t, created) })
	return waitPod(t, created, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
}

func deletePod(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	err := suite.client.CoreV1().Pods(pod.Namespace).Delete(context.WithoutCancel(t.Context()), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Errorf("deleting pod %s: %v", pod.Name, err)
	}
}

// waitPod waits until a condition holds of a pod.
func waitPod(t *testing.T, pod *corev1.Pod, condition func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		watcher, err := suite.client.CoreV1().Pods(pod.Namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + pod.Name})
		if err != nil {
			t.Fatalf("watching pod %s: %v", pod.Name, err)
		}
		for event := range watcher.ResultChan() {
			current, ok := event.Object.(*corev1.Pod)
			if !ok || event.Type == watch.Deleted {
				continue
			}
			if condition(current) {
				watcher.Stop()
				return current
			}
			if pod = current; current.Status.Phase == corev1.PodFailed {
				t.Fatalf("pod %s/%s failed: %+v\n%s", current.Namespace, current.Name, current.Status.ContainerStatuses, podLogs(t, current))
			}
		}
	}
	t.Fatalf("pod %s/%s: %v; its status: %+v", pod.Namespace, pod.Name, ctx.Err(), pod.Status)
	return nil
}

func podLogs(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	text, err := suite.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{Container: "probe"}).DoRaw(t.Context())
	if err != nil {
		t.Fatalf("reading the log of pod %s: %v", pod.Name, err)
	}
	return string(text)
}

// runIn runs a command of the probe in a running pod and decodes what it prints, line by line.
func runIn[T any](t *testing.T, pod *corev1.Pod, command ...string) []T {
	t.Helper()
	return runInContainer[T](t, pod, "probe", command...)
}

func runInContainer[T any](t *testing.T, pod *corev1.Pod, container string, command ...string) []T {
	t.Helper()
	request := suite.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: append([]string{"/probe"}, command...), Stdout: true, Stderr: true}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(suite.config, "GET", request.URL().String())
	if err != nil {
		t.Fatalf("preparing exec: %v", err)
	}
	var stdout, stderr bytes.Buffer
	if err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		t.Fatalf("running %v in pod %s: %v\n%s%s", command, pod.Name, err, stdout.Bytes(), stderr.Bytes())
	}
	return decodeLines[T](t, stdout.Bytes())
}

func decodeLines[T any](t *testing.T, text []byte) []T {
	t.Helper()
	var values []T
	for line := range bytes.Lines(text) {
		var value T
		if err := json.Unmarshal(line, &value); err != nil {
			t.Fatalf("the probe printed %q: %v", line, err)
		}
		values = append(values, value)
	}
	return values
}
