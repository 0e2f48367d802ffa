//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/e2e/images"
	"github.com/shorthop/shorthop/test/e2e/sandbox"
)

// memoryLimit is half of the chart's default.
const memoryLimit = "64Mi"

// TestAReplicaWithLittleMemory runs one more replica of the release, which is not behind its Service, with a limit of
// 64 MiB, and sends it more than a cluster does. No review may go unanswered, and the kernel may not kill it.
func TestAReplicaWithLittleMemory(t *testing.T) {
	ctx := t.Context()
	pod := startSmallReplica(t)
	config, err := suite.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, release, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(config.Webhooks[0].ClientConfig.CABundle)
	replica := &smallReplica{
		url:  "https://" + net.JoinHostPort(pod.Status.PodIP, "9443") + webhookconfig.Path,
		tls:  &tls.Config{RootCAs: roots, ServerName: release + "." + releaseNamespace + ".svc", MinVersion: tls.VersionTLS12},
		body: reviewOf(t, 0),
	}
	large := *replica
	large.body = reviewOf(t, 200<<10)
	usage := func(when string) {
		t.Helper()
		now, most, kills := memoryUsage(t, pod)
		t.Logf("%-45s %5.1f MiB now, %5.1f MiB at most, killed %d times", when, now, most, kills)
		if kills > 0 {
			t.Fatalf("%s: out of memory", when)
		}
	}
	usage("idle:")
	for _, phase := range []struct {
		what                          string
		replica                       *smallReplica
		connections, reviews, abreast int
	}{
		{"20,000 reviews over 8 connections:", replica, 8, 20_000, 32},
		{"500 connections at once, 10 reviews each:", replica, 500, 5_000, 500},
		{"400 pods of 200 KiB, 20 at once:", &large, 4, 400, 20},
	} {
		if err := phase.replica.load(ctx, phase.connections, phase.reviews, phase.abreast); err != nil {
			t.Errorf("%s %v", phase.what, err)
		}
		usage(phase.what)
	}
	now, err := suite.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if status := now.Status.ContainerStatuses[0]; status.RestartCount > 0 || !status.Ready {
		t.Errorf("the container is %+v", status)
	}
}

// startSmallReplica creates a pod of the release's Deployment, with the limit, and returns it once it is ready.
func startSmallReplica(t *testing.T) *corev1.Pod {
	t.Helper()
	ctx := t.Context()
	deployment, err := suite.client.AppsV1().Deployments(releaseNamespace).Get(ctx, release, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := deployment.Spec.Template.Spec
	spec.TopologySpreadConstraints = nil // it has none of the labels
	limit := resource.MustParse(memoryLimit)
	spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: limit}
	spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: limit}
	pods := suite.client.CoreV1().Pods(releaseNamespace)
	pod, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "small-replica"}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if t.Failed() {
			t.Log(suite.webhookLogs(ctx))
		}
		if err := pods.Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
			t.Error(err)
		}
	})
	if err := cluster.WaitEffective(ctx, func(ctx context.Context) (bool, error) {
		if pod, err = pods.Get(ctx, pod.Name, metav1.GetOptions{}); err != nil {
			return false, err
		}
		return len(pod.Status.ContainerStatuses) > 0 && pod.Status.ContainerStatuses[0].Ready, nil
	}); err != nil {
		t.Fatal(err)
	}
	return pod
}

// reviewOf is a review of a pod with that many bytes of annotations.
func reviewOf(t *testing.T, padding int) []byte {
	t.Helper()
	pod := suite.pod("options-2", images.Musl, "pause")
	if padding > 0 {
		pod.Annotations = map[string]string{"example.com/padding": strings.Repeat("x", padding)}
	}
	object, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(&admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: types.UID("1"), Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Operation: admissionv1.Create, Namespace: pod.Namespace, Object: runtime.RawExtension{Raw: object},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// smallReplica is where reviews go, and the review.
type smallReplica struct {
	url  string
	tls  *tls.Config
	body []byte
}

// load sends reviews over connections of their own, so many abreast. Every answer must have a patch.
func (r *smallReplica) load(ctx context.Context, connections, reviews, abreast int) error {
	clients := make([]*http.Client, connections)
	for i := range clients {
		transport := &http.Transport{TLSClientConfig: r.tls, ForceAttemptHTTP2: true, TLSHandshakeTimeout: time.Minute}
		clients[i] = &http.Client{Transport: transport, Timeout: time.Minute}
	}
	defer func() {
		for _, client := range clients {
			client.CloseIdleConnections()
		}
	}()
	errs := make([]error, abreast)
	var workers sync.WaitGroup
	for worker := range abreast {
		workers.Go(func() {
			for n := worker; n < reviews && errs[worker] == nil; n += abreast {
				if err := r.review(ctx, clients[n%connections]); err != nil {
					errs[worker] = fmt.Errorf("review %d: %w", n, err)
				}
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

func (r *smallReplica) review(ctx context.Context, client *http.Client) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(r.body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(content, &review); err != nil {
		return err
	}
	if review.Response == nil || !bytes.Contains(review.Response.Patch, []byte("ndots")) {
		return fmt.Errorf("no patch in %s", content)
	}
	return nil
}

// memoryUsage reads what the kernel has counted for the container of a pod, in MiB, and how often it has killed a process.
func memoryUsage(t *testing.T, pod *corev1.Pod) (now, most float64, kills int) {
	t.Helper()
	_, container, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	var dir string
	for _, root := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup"} { // version 1, version 2
		found, err := filepath.Glob(filepath.Join(root, sandbox.Cgroup(), "kubepods", "*", "pod"+string(pod.UID), container))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 1 {
			dir = found[0]
			break
		}
	}
	if dir == "" {
		t.Fatalf("the container %s has no cgroup", container)
	}
	mib := func(names ...string) float64 {
		t.Helper()
		var errs error
		for _, name := range names {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil {
				bytes, err := strconv.ParseFloat(strings.TrimSpace(string(content)), 64)
				if err != nil {
					t.Fatal(err)
				}
				return bytes / (1 << 20)
			}
			errs = errors.Join(errs, err)
		}
		t.Fatal(errs)
		return 0
	}
	if limit := mib("memory.limit_in_bytes", "memory.max"); limit != 64 {
		t.Fatalf("the container's limit is %.1f MiB", limit)
	}
	for _, name := range []string{"memory.oom_control", "memory.events"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue // that is the other version's
		}
		for line := range strings.Lines(string(content)) {
			if text, found := strings.CutPrefix(line, "oom_kill "); found {
				if kills, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
					t.Fatal(err)
				}
				return mib("memory.usage_in_bytes", "memory.current"), mib("memory.max_usage_in_bytes", "memory.peak"), kills
			}
		}
	}
	t.Fatal("the kernel does not count the processes that it has killed")
	return 0, 0, 0
}
