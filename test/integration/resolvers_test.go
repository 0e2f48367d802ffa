package integration_test

import (
	"io"
	"log"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/images"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/hostile"
	"github.com/shorthop/shorthop/test/jsontest"
)

// TestResolversOfThePodsOfACluster lists images as pods of a real API server name them, odd ones included, and reads
// them: in every container, each once, with what containers run besides.
func TestResolversOfThePodsOfACluster(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("resolvers", nil)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	push := func(reference string) (digest string) {
		t.Helper()
		ref, err := name.ParseReference(reference)
		if err != nil {
			t.Fatal(err)
		}
		image, err := random.Image(100, 1)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		config.OS, config.Architecture = "linux", "amd64"
		if image, err = mutate.ConfigFile(image, config); err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image); err != nil {
			t.Fatal(err)
		}
		hash, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return hash.String()
	}
	web, sidecar := host+"/shop/web:1", host+"/shop/sidecar:1"
	digest := push(sidecar)
	push(web)
	pods := shared.Client.CoreV1().Pods(namespace)
	create := func(pod *corev1.Pod) *corev1.Pod {
		created, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
		if apierrors.IsInvalid(err) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return created
	}
	pod := func(podName string, containers ...string) *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: podName}}
		for i, image := range containers {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "c" + strconv.Itoa(i), Image: image})
		}
		return pod
	}
	first := pod("first", web, sidecar, web)
	first.Spec.InitContainers = []corev1.Container{{Name: "init", Image: sidecar + "@" + digest}}
	running := create(first)
	running.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c1", Image: sidecar, ImageID: host + "/shop/sidecar@sha256:" + strings.Repeat("0", 64)}}
	if _, err := pods.UpdateStatus(t.Context(), running, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	create(pod("second", web))
	windows := pod("windows", host+"/windows:1")
	windows.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
	create(windows)
	odd := 0
	for _, text := range hostile.ValidUTF8() {
		if create(pod("odd-"+strconv.Itoa(odd), "Not An Image "+text.Text)) != nil {
			odd++
		}
	}

	out, errs, code := kubectl(t, "resolvers", "-n", namespace, "--kubeconfig", shared.Kubeconfig(), "--cache-dir=", "-o", "json")
	if code != 1 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	document := jsontest.Decode[images.Document](t, out)
	if document.Pods != 3+odd || document.Windows != 1 || !document.Consistent || len(document.Images) != 3+odd {
		t.Errorf("%+v and %d images, want %d pods, one for Windows, and %d images", *document.List, len(document.Images), 3+odd, 3+odd)
	}
	want := map[string]struct {
		pods  int
		error string
	}{web: {2, ""}, sidecar + "@" + digest: {1, ""}, sidecar: {1, "its tag has moved, and of sha256:000"}}
	for _, result := range document.Images {
		w, known := want[result.Reference]
		if !known {
			w.pods, w.error = 1, "not a reference to an image"
			if len(result.Reference) > 512 {
				w.error = "more than 512 characters"
			}
		}
		delete(want, result.Reference)
		if result.Pods != w.pods || !strings.Contains(result.Error, w.error) || (result.Error == "") != (w.error == "") {
			t.Errorf("%.80q: %d pods, %q; want %d, %q", result.Reference, result.Pods, result.Error, w.pods, w.error)
		}
	}
	if len(want) > 0 {
		t.Errorf("not listed: %v", want)
	}
	for _, format := range []string{"table", "json", "policy"} {
		out, errs, _ := kubectl(t, "resolvers", "-n", namespace, "--kubeconfig", shared.Kubeconfig(), "--cache-dir=", "-o", format)
		for _, output := range [][]byte{out, errs} {
			if raw := hostile.Raw(output, ""); raw != "" {
				t.Errorf("-o %s has %s", format, raw)
			}
		}
		if format == "policy" {
			if _, err := policy.Parse(out); err != nil {
				t.Errorf("the policy: %v", err)
			}
		}
	}
}
