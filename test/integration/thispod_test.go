package integration_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shorthop/shorthop/pkg/policy"
)

const apiHost = "api.example.com"

// shape is what a container says of the API server and of a proxy.
type shape struct{ proxy, noProxy, envFrom, host, port string }

// shapes are all combinations.
func shapes() []shape {
	var all []shape
	for _, proxy := range []string{"", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "secret", "HTTP_PROXY"} {
		for _, noProxy := range []string{"", "10.0.0.0/8,.svc", "localhost,.example.com", "$(KUBERNETES_SERVICE_HOST)"} {
			for _, envFrom := range []string{"", "pair"} {
				for _, host := range []string{"", "10.1.2.3"} {
					for _, port := range []string{"", policy.EnvServicePort, policy.EnvServicePortHTTPS} {
						all = append(all, shape{proxy, noProxy, envFrom, host, port})
					}
				}
			}
		}
	}
	return all
}

func (s shape) container(name string) corev1.Container {
	c := corev1.Container{Name: name, Image: "example.com/app"}
	add := func(name, value string) { c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value}) }
	switch s.proxy {
	case "":
	case "secret":
		c.Env = append(c.Env, corev1.EnvVar{Name: "HTTPS_PROXY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "proxy"}, Key: "url",
		}}})
	default:
		add(s.proxy, "http://squid.corp.example:3128")
	}
	if s.noProxy != "" {
		add("NO_PROXY", s.noProxy)
	}
	if s.host != "" {
		add(policy.EnvServiceHost, s.host)
	}
	if s.port != "" {
		add(s.port, "8443")
	}
	if s.envFrom != "" {
		c.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: s.envFrom}}}}
	}
	return c
}

// gets is what a container of the shape gets. asked: a label of the pod enables the host.
func (s shape) gets(port string, asked bool) []corev1.EnvVar {
	proxied := s.proxy != "" && s.proxy != "HTTP_PROXY" && s.noProxy != "localhost,.example.com" && s.noProxy != "$(KUBERNETES_SERVICE_HOST)"
	if s.host != "" || s.port != "" || proxied && !asked {
		return nil
	}
	ours := []corev1.EnvVar{{Name: policy.EnvServiceHost, Value: apiHost}}
	if port == "" && s.envFrom != "" {
		port = "443"
	}
	if port != "" {
		ours = append(ours, corev1.EnvVar{Name: policy.EnvServicePort, Value: port}, corev1.EnvVar{Name: policy.EnvServicePortHTTPS, Value: port})
	}
	return ours
}

// TestHostPortAndProxyOfEveryKindOfContainer has every combination of proxy variables, envFrom, host and port in init
// containers, sidecars, main containers and new ephemeral ones, with and without a port of the policy's, in pods that ask
// for the host and in pods that do not.
func TestHostPortAndProxyOfEveryKindOfContainer(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	for i, port := range []string{"", "6443"} {
		namespace := s.namespace(fmt.Sprintf("containers-%d", i), map[string]string{"port": "p" + port})
		serviceHost := "host: " + apiHost
		if port != "" {
			serviceHost += ", port: " + port
		}
		document := fmt.Sprintf(policyWithSpec, "{serviceHost: {"+serviceHost+", probe: {enabled: false}}}")
		file := filepath.Join(t.TempDir(), "policy.yaml")
		replaceFile(t, file, document)
		webhook := s.startWebhook(file)
		config := s.confine(configuration(s.name+"-"+fmt.Sprint(i), parse(t, document), webhook.endpoint), map[string]string{"port": "p" + port})
		s.registerAsIs(config)
		s.wait(namespace, isPatched)
		for _, asked := range []bool{false, true} {
			n := 0
			for some := range slices.Chunk(shapes(), 48) { // a pod with all of them would be too large to patch
				n++
				s.checkContainers(namespace, fmt.Sprintf("asked-%t-%d", asked, n), some, port, asked)
			}
		}
	}
}

// checkContainers creates a pod with a container of every kind for each shape.
func (s *scope) checkContainers(namespace, name string, all []shape, port string, asked bool) {
	s.t.Helper()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if asked {
		pod.Labels = map[string]string{policy.LabelServiceHost: "enabled"}
	}
	always := corev1.ContainerRestartPolicyAlways
	for i, shape := range all {
		sidecar := shape.container(fmt.Sprintf("sidecar-%d", i))
		sidecar.RestartPolicy = &always
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, shape.container(fmt.Sprintf("init-%d", i)), sidecar)
		pod.Spec.Containers = append(pod.Spec.Containers, shape.container(fmt.Sprintf("main-%d", i)))
	}
	created := s.create(namespace, pod)
	debugged := created.DeepCopy()
	for i, shape := range all {
		c := shape.container(fmt.Sprintf("debug-%d", i))
		debugged.Spec.EphemeralContainers = append(debugged.Spec.EphemeralContainers, corev1.EphemeralContainer{
			EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: c.Name, Image: c.Image, Env: c.Env, EnvFrom: c.EnvFrom},
		})
	}
	debugged, err := shared.Client.CoreV1().Pods(namespace).UpdateEphemeralContainers(s.t.Context(), pod.Name, debugged, metav1.UpdateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	injected := 0
	for i, shape := range all {
		ours := shape.gets(port, asked)
		want := slices.Concat(ours, shape.container("").Env)
		injected += len(ours)
		for kind, got := range map[string][]corev1.EnvVar{
			"init": created.Spec.InitContainers[2*i].Env, "sidecar": created.Spec.InitContainers[2*i+1].Env,
			"main": created.Spec.Containers[i].Env, "ephemeral": debugged.Spec.EphemeralContainers[i].Env,
		} {
			if diff := cmp.Diff(want, got); len(want)+len(got) > 0 && diff != "" {
				s.t.Errorf("policy's port %q, asked %t, %s container %+v (-want +got):\n%s", port, asked, kind, shape, diff)
			}
		}
	}
	if injected == 0 {
		s.t.Error("no container is injected")
	}
}

// TestAnnotationsOfANamespaceTuneItsPods changes them while the webhook runs.
func TestAnnotationsOfANamespaceTuneItsPods(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("tuned", nil)
	document := policyWithNdots(t, 4)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, document)
	webhook := s.startWebhook(file)
	s.registerAndWait(configuration(s.name, parse(t, document), webhook.endpoint), namespace, hasNdots(4))
	annotate := func(value string) {
		t.Helper()
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, policy.AnnotationNdots, value)
		if _, err := shared.Client.CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	annotate(`"2"`)
	s.wait(namespace, hasNdots(2))
	own := plainPod("own")
	own.Annotations = map[string]string{policy.AnnotationNdots: "3"}
	if pod := s.create(namespace, own); !hasNdots(3)(pod) {
		t.Errorf("the pod has the options %v, want those of its own annotation", injectionOf(pod).Options)
	}
	annotate(`"many"`) // a wrong value changes nothing and blocks nobody
	s.wait(namespace, hasNdots(4))
	annotate("null")
	s.wait(namespace, hasNdots(4))
}
