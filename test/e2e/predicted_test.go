//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/e2e/images"
)

// TestPodsAreAsExplained creates a pod for every combination of what DNS depends on, and compares what its container
// finds in /etc/resolv.conf and its environment with what `kubectl-shorthop explain` says from the manifest alone.
func TestPodsAreAsExplained(t *testing.T) {
	comparePods(t, combinations())
}

// TestEnvironmentIsAsExplained does the same for containers that have to do with KUBERNETES_SERVICE_HOST themselves.
func TestEnvironmentIsAsExplained(t *testing.T) {
	refer := []corev1.EnvVar{
		{Name: "BEFORE", Value: "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"},
		{Name: "ESCAPED", Value: "$$(KUBERNETES_SERVICE_HOST)"},
	}
	var pods []*corev1.Pod
	for _, namespace := range []string{"options-2", "node-ip", "plain", "closed"} {
		for _, env := range [][]corev1.EnvVar{
			refer,
			append(slices.Clone(refer), corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: "own.example.com"}),
			append(slices.Clone(refer), corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: "6443"}),
			{{Name: "KUBERNETES_SERVICE_HOST", Value: ""}},
			append(slices.Clone(refer), corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT_HTTPS", Value: "6443"}),
		} {
			pod := suite.pod(namespace, images.Musl, "report")
			pod.Spec.Containers[0].Env = env
			pods = append(pods, pod)
		}
		// The container that reports is an init container: those are patched too.
		pod := suite.pod(namespace, images.Musl, "report")
		pod.Spec.InitContainers = []corev1.Container{pod.Spec.Containers[0]}
		pod.Spec.Containers[0].Name = "main"
		pods = append(pods, pod)
		// And without service links, which keep KUBERNETES_SERVICE_HOST.
		pod = suite.pod(namespace, images.Musl, "report")
		pod.Spec.EnableServiceLinks = new(false)
		pods = append(pods, pod)
	}
	comparePods(t, pods)
}

// optOut is a way to opt out, by the pod's labels or by the namespace.
type optOut struct {
	name      string
	labels    map[string]string
	namespace string // instead of the one of the mode
}

// combinations is every dnsPolicy x hostNetwork x mode x dnsConfig of the user's x opt-out that is a valid pod.
func combinations() []*corev1.Pod {
	configs := map[string]*corev1.PodDNSConfig{
		"none":    nil,
		"options": {Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("4")}, {Name: "rotate"}}},
		"full": {
			Nameservers: []string{"10.0.0.53"}, Searches: []string{"user.example.com"},
			Options: []corev1.PodDNSConfigOption{{Name: "timeout", Value: new("3")}, {Name: "edns0"}},
		},
	}
	outs := []optOut{
		{name: "in"},
		{name: "label", labels: map[string]string{policy.LabelInject: "disabled"}},
		{name: "dns", labels: map[string]string{policy.LabelDNS: "disabled"}},
		{name: "namespace", namespace: "closed"},
	}
	var pods []*corev1.Pod
	for _, mode := range []string{"options-2", "node-local-corp"} {
		for _, dnsPolicy := range []corev1.DNSPolicy{corev1.DNSClusterFirst, corev1.DNSClusterFirstWithHostNet, corev1.DNSDefault, corev1.DNSNone} {
			for _, hostNetwork := range []bool{false, true} {
				for config, dnsConfig := range configs {
					for _, out := range outs {
						if dnsPolicy == corev1.DNSNone && config != "full" {
							continue // the API server wants a nameserver
						}
						namespace := mode
						if out.namespace != "" {
							namespace = out.namespace
						}
						pod := suite.pod(namespace, images.Musl, "report")
						pod.GenerateName = strings.ToLower(fmt.Sprintf("%s-host-%t-%s-%s-", dnsPolicy, hostNetwork, config, out.name))
						pod.Labels = out.labels
						pod.Spec.DNSPolicy, pod.Spec.HostNetwork, pod.Spec.DNSConfig = dnsPolicy, hostNetwork, dnsConfig.DeepCopy()
						pods = append(pods, pod)
					}
				}
			}
		}
	}
	// A closed namespace does not know of modes: the second half is the same as the first.
	seen := map[string]bool{}
	return slices.DeleteFunc(pods, func(pod *corev1.Pod) bool {
		key := pod.Namespace + "/" + pod.GenerateName
		twice := seen[key]
		seen[key] = true
		return twice
	})
}

// comparePods runs all pods, in batches, and compares each with its explanation.
func comparePods(t *testing.T, pods []*corev1.Pod) {
	t.Helper()
	const batch = 40
	for i, pod := range pods {
		pod.Name, pod.GenerateName = fmt.Sprintf("%s%d", pod.GenerateName, i), ""
	}
	explained := explain(t, pods)
	equal := 0
	for start := 0; start < len(pods); start += batch {
		part := pods[start:min(start+batch, len(pods))]
		for _, pod := range part {
			if _, err := suite.client.CoreV1().Pods(pod.Namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
				t.Fatalf("creating pod %s: %v", pod.Name, err)
			}
		}
		for _, pod := range part {
			done := waitPod(t, pod, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
			got := decodeLines[report](t, []byte(podLogs(t, done)))
			if len(got) != 1 {
				t.Fatalf("pod %s printed %d lines", pod.Name, len(got))
			}
			if comparePod(t, explained[pod.Namespace+"/"+pod.Name], done, got[0]) {
				equal++
			}
			deletePod(t, done)
		}
	}
	t.Logf("%d of %d pods are exactly as explained", equal, len(pods))
	// Not a difference between what is explained and what is done, but it looks like one. (An existing cluster's count
	// goes back to its beginning.)
	if suite.node == nil {
		return
	}
	duration, missed, err := suite.reviewMetrics(t.Context())
	if err != nil || missed != "" {
		t.Errorf("the API server has admitted pods without a review: %s (%v)", missed, err)
	}
	t.Logf("reviews by how long they took, in seconds, as the API server sees it:\n%s", duration)
}

// explanation is what explain says about a pod.
type explanation struct {
	Namespace, Pod string
	ResolvConf     struct{ After resolver.ResolvConf }
	admitted       *corev1.Pod
}

// explain asks the built kubectl-shorthop about all pods at once.
func explain(t *testing.T, pods []*corev1.Pod) map[string]*explanation {
	t.Helper()
	explained := map[string]*explanation{}
	byNamespace := map[string][]*corev1.Pod{}
	for _, pod := range pods {
		byNamespace[pod.Namespace] = append(byNamespace[pod.Namespace], pod)
	}
	for namespace, pods := range byNamespace {
		var manifests bytes.Buffer
		for _, pod := range pods {
			manifest, err := yaml.Marshal(pod)
			if err != nil {
				t.Fatal(err)
			}
			manifests.WriteString("---\n")
			manifests.Write(manifest)
		}
		file := filepath.Join(t.TempDir(), "pods.yaml")
		if err := os.WriteFile(file, manifests.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"explain", "-f", file, "--policy", policyFile, "--node-resolv-conf", suite.hostResolvConf}
		for key, value := range namespaces[namespace] {
			args = append(args, "--namespace-labels", key+"="+value)
		}
		ask := func(format string) []byte {
			cmd := exec.CommandContext(t.Context(), filepath.Join(repository, "bin", "kubectl-shorthop"), append(args, "-o", format)...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			output, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.Bytes())
			}
			return output
		}
		var list struct{ Items []*explanation }
		if err := json.Unmarshal(ask("json"), &list); err != nil {
			t.Fatalf("what explain prints: %v", err)
		}
		documents := bytes.Split(ask("yaml"), []byte("---\n"))
		if len(list.Items) != len(pods) || len(documents) != len(pods) {
			t.Fatalf("explain speaks of %d and %d pods, not of %d", len(list.Items), len(documents), len(pods))
		}
		for i, e := range list.Items {
			e.admitted = &corev1.Pod{}
			if err := yaml.Unmarshal(documents[i], e.admitted); err != nil {
				t.Fatalf("the pod that explain prints: %v", err)
			}
			explained[e.Namespace+"/"+e.Pod] = e
		}
	}
	return explained
}

// comparePod compares a pod that has run, and what its container saw, with the explanation.
func comparePod(t *testing.T, e *explanation, pod *corev1.Pod, got report) bool {
	t.Helper()
	if e == nil {
		t.Errorf("%s/%s: not explained", pod.Namespace, pod.Name)
		return false
	}
	equal := true
	differ := func(what string, got, want any) {
		t.Errorf("%s/%s: %s is\n  %v\nexplain said\n  %v", pod.Namespace, pod.Name, what, got, want)
		equal = false
	}
	conf, err := resolver.ParseResolvConf(got.ResolvConf)
	if err != nil {
		differ("resolv.conf", got.ResolvConf, "one that can be parsed")
	}
	want := e.ResolvConf.After
	for _, list := range []struct {
		name      string
		got, want []string
	}{
		{"nameserver", conf.Nameservers, want.Nameservers},
		{"search", conf.Searches, want.Searches},
		// kubelet writes options in random order.
		{"options", slices.Sorted(slices.Values(conf.Options)), slices.Sorted(slices.Values(want.Options))},
	} {
		if !slices.Equal(list.got, list.want) {
			differ(list.name, list.got, list.want)
		}
	}
	container := reporting(e.admitted)
	if container == nil {
		differ("the container", pod.Spec.Containers, e.admitted.Spec.Containers)
		return false
	}
	env := map[string]string{}
	for _, entry := range got.Env {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	expected := environmentOf(container, pod)
	if env[policy.EnvResOptions] != expected[policy.EnvResOptions] { // what is not expected must not be there either
		differ("env "+policy.EnvResOptions, env[policy.EnvResOptions], expected[policy.EnvResOptions])
	}
	for name, value := range expected {
		if env[name] != value {
			differ("env "+name, env[name], value)
		}
	}
	return equal
}

// reporting is the container that printed the report.
func reporting(pod *corev1.Pod) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == "probe" {
				return &list[i]
			}
		}
	}
	return nil
}

// environmentOf is what kubelet makes of a container's env (makeEnvironmentVariables): in order, and a reference finds
// what is defined before it, otherwise the Service's variables.
func environmentOf(container *corev1.Container, pod *corev1.Pod) map[string]string {
	env := map[string]string{}
	if strings.Contains(container.Image, "-"+images.Own+":") {
		env[policy.EnvResOptions] = images.OwnResOptions // the image's
	}
	service := map[string]string{"KUBERNETES_SERVICE_HOST": suite.serviceHost, "KUBERNETES_SERVICE_PORT": suite.servicePort}
	for _, entry := range container.Env {
		value := entry.Value
		if from := entry.ValueFrom; from != nil && from.FieldRef != nil && from.FieldRef.FieldPath == "status.hostIP" {
			value = pod.Status.HostIP
		}
		for name, otherwise := range service {
			replacement, ok := env[name]
			if !ok {
				replacement = otherwise
			}
			value = strings.ReplaceAll(value, "$$("+name+")", "\x00")
			value = strings.ReplaceAll(value, "$("+name+")", replacement)
			value = strings.ReplaceAll(value, "\x00", "$("+name+")")
		}
		env[entry.Name] = value
	}
	for name, value := range service {
		if _, ok := env[name]; !ok {
			env[name] = value
		}
	}
	return env
}
