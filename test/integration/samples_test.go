package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

const examplePods = "../../examples/pods"

// examplePolicy is a copy of examples/policy.yaml whose host is that of our API server.
var examplePolicy string

// copyExamplePolicy writes examplePolicy, and rolls out the cache that it names.
func copyExamplePolicy(ctx context.Context, dir string) error {
	text, err := os.ReadFile("../../examples/policy.yaml")
	if err != nil {
		return err
	}
	document, err := policy.Parse(text)
	if err != nil {
		return err
	}
	if err := shared.PointAtAPIServer(document); err != nil {
		return err
	}
	if text, err = yaml.Marshal(document); err != nil {
		return err
	}
	examplePolicy = filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(examplePolicy, text, 0o600); err != nil {
		return err
	}
	return shared.SetDaemonSet(ctx, "kube-system/node-local-dns", 5, 5)
}

// sampleNamespaces are the namespaces of the sample pods, with the labels that their comments ask for.
var sampleNamespaces = map[string]map[string]string{
	"default":  nil,
	"crawl-eu": nil,
	"quiet":    {policy.LabelInject: "disabled"},
}

// injection is what can be seen of us on a pod.
type injection struct {
	// Env has the environment of every container, init containers first: "name: VAR=value VAR=value".
	Env []string
	// DNS is what resolv.conf is made from.
	DNSPolicy   corev1.DNSPolicy
	Nameservers []string
	Searches    []string
	Options     []string
	// Rule is the rule that the record names, "" where there is no record.
	Rule   string
	Pinned string
}

func injectionOf(pod *corev1.Pod) injection {
	i := injection{DNSPolicy: pod.Spec.DNSPolicy, Pinned: pod.Labels[policy.LabelPinned]}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for j := range containers {
			i.Env = append(i.Env, envOf(containers[j].Name, containers[j].Env))
		}
	}
	if config := pod.Spec.DNSConfig; config != nil {
		i.Nameservers, i.Searches = config.Nameservers, config.Searches
		for _, option := range config.Options {
			text := option.Name
			if option.Value != nil {
				text += ":" + *option.Value
			}
			i.Options = append(i.Options, text)
		}
	}
	if text, ok := pod.Annotations[policy.AnnotationInjected]; ok {
		var record struct{ Rule string }
		if err := json.Unmarshal([]byte(text), &record); err != nil {
			record.Rule = "unreadable: " + text
		}
		i.Rule = record.Rule
	}
	return i
}

func envOf(container string, env []corev1.EnvVar) string {
	words := []string{container + ":"}
	for _, v := range env {
		words = append(words, v.Name+"="+v.Value)
	}
	return strings.Join(words, " ")
}

// injected is a container's environment with the example policy's host, before what the container has itself.
func injected(container string, own ...string) string {
	host, port, err := shared.Endpoint()
	if err != nil {
		panic(err) // examplePolicy could not have been written
	}
	ours := fmt.Sprintf("KUBERNETES_SERVICE_HOST=%s KUBERNETES_SERVICE_PORT=%[2]d KUBERNETES_SERVICE_PORT_HTTPS=%[2]d", host, port)
	return strings.Join(append([]string{container + ":", ours}, own...), " ")
}

// sampleWants says, for every file in examples/pods, what becomes of its pod under examplePolicy.
func sampleWants() map[string]injection {
	return map[string]injection{
		"plain.yaml": {
			Env:       []string{injected("web")},
			DNSPolicy: corev1.DNSClusterFirst, Options: []string{"ndots:4", "timeout:1", "attempts:2"}, Rule: "default",
		},
		"init-and-sidecar.yaml": {
			Env: []string{
				injected("migrate"), injected("log-shipper"), // an init container and a sidecar
				injected("web", "API=https://$(KUBERNETES_SERVICE_HOST)"), // before the entry that refers to it
				"other-cluster: KUBERNETES_SERVICE_HOST=api.other.example.com",
			},
			DNSPolicy: corev1.DNSClusterFirst, Options: []string{"ndots:4", "timeout:1", "attempts:2"}, Rule: "default",
		},
		"own-dns-config.yaml": {
			Env:       []string{injected("web")},
			DNSPolicy: corev1.DNSClusterFirst, Searches: []string{"corp.example.com"},
			Options: []string{"ndots:2", "single-request-reopen", "timeout:1", "attempts:2"}, Rule: "default",
		},
		"crawler.yaml": {
			Env:       []string{injected("fetch")},
			DNSPolicy: corev1.DNSClusterFirst, Options: []string{"ndots:1", "timeout:1", "attempts:2"}, Rule: "crawlers",
		},
		"shop.yaml": {
			Env:       []string{injected("cart")},
			DNSPolicy: corev1.DNSNone, Nameservers: []string{"169.254.20.10", "10.0.0.10"},
			Searches: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"},
			Options:  []string{"ndots:2", "timeout:1", "attempts:2"}, Rule: "shop", Pinned: "node-local",
		},
		"host-network.yaml": {
			Env:       []string{injected("agent")},
			DNSPolicy: corev1.DNSClusterFirst, Rule: "default",
		},
		"gardener-opt-out.yaml": {
			Env:       []string{"controller:"},
			DNSPolicy: corev1.DNSClusterFirst, Options: []string{"ndots:4", "timeout:1", "attempts:2"}, Rule: "default",
		},
		"in-opted-out-namespace.yaml": {
			Env:       []string{"web:"},
			DNSPolicy: corev1.DNSClusterFirst,
		},
		"overrides-its-namespace.yaml": {
			Env:       []string{injected("web")},
			DNSPolicy: corev1.DNSClusterFirst, Options: []string{"ndots:4", "timeout:1", "attempts:2"}, Rule: "default",
		},
	}
}

// TestTheProgramAtARealAPIServer has everything that operators see on their first day: the real program, the example
// policy, the webhook configuration that belongs to it, and pods of all kinds. The subtests run one after the other.
func TestTheProgramAtARealAPIServer(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	for name, labels := range sampleNamespaces {
		s.adopt(name, labels)
	}
	s.adopt("default", nil) // last: once the API server knows of this, it knows of the others
	webhook := s.startWebhook(examplePolicy)
	document := testfile.Read(t, examplePolicy)
	// Of several configurations the API server calls the one with the lowest name first.
	config := configuration(s.name+"-a", parse(t, string(document)), webhook.endpoint)
	s.registerAndWait(config, "default", isPatched)

	t.Run("the sample pods come out as their files say", func(t *testing.T) { s.in(t).checkSamples() })
	t.Run("the pod of a ReplicaSet gets the rule for its Deployment", func(t *testing.T) { s.in(t).checkReplicaSetPod() })
	t.Run("ephemeral containers get the service host when they are new", func(t *testing.T) { s.in(t).checkEphemeralContainers() })
	t.Run("a mirror pod is left alone", func(t *testing.T) { s.in(t).checkMirrorPod() })
	t.Run("excluded namespaces and our own are never asked about", func(t *testing.T) { s.in(t).checkExcludedNamespaces(webhook) })
	t.Run("a sidecar that another webhook adds after us gets the service host", func(t *testing.T) { s.in(t).checkLateSidecar() })
}

// adopt makes a namespace with a fixed name part of the scope. It may exist already.
func (s *scope) adopt(name string, labels map[string]string) {
	s.t.Helper()
	s.t.Cleanup(func() { // for a second run of the test
		_ = shared.Client.CoreV1().Pods(name).DeleteCollection(context.WithoutCancel(s.t.Context()),
			metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, metav1.ListOptions{})
	})
	err := shared.CreateNamespace(s.t.Context(), name, s.labels(labels))
	if !apierrors.IsAlreadyExists(err) {
		if err != nil {
			s.t.Fatal(err)
		}
		return
	}
	patch := jsontest.Marshal(s.t, map[string]any{"metadata": map[string]any{"labels": s.labels(labels)}})
	if _, err := shared.Client.CoreV1().Namespaces().Patch(s.t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		s.t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := shared.Client.CoreV1().ServiceAccounts(name).Create(s.t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		s.t.Fatal(err)
	}
}

func (s *scope) checkSamples() {
	entries, err := os.ReadDir(examplePods)
	if err != nil {
		s.t.Fatal(err)
	}
	var files []string
	for _, entry := range entries {
		files = append(files, entry.Name())
	}
	wants := sampleWants()
	for file := range wants {
		if !slices.Contains(files, file) {
			s.t.Errorf("%s is expected but is not there", file)
		}
	}
	bare := newScope(s.t).namespace("bare", nil) // in another scope, and so without any webhook
	for _, file := range files {
		s.t.Run(file, func(t *testing.T) {
			want, known := wants[file]
			if !known {
				t.Fatal("nothing is expected of this file: add it to sampleWants")
			}
			s.in(t).checkSample(filepath.Join(examplePods, file), want, bare)
		})
	}
}

func (s *scope) checkSample(file string, want injection, bare string) {
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(text, &pod); err != nil {
		s.t.Fatal(err)
	}
	pods := shared.Client.CoreV1().Pods(pod.Namespace)
	trial, err := pods.Create(s.t.Context(), &pod, dryRun)
	if err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(want, injectionOf(trial)); diff != "" {
		s.t.Errorf("with --dry-run=server (-want +got):\n%s", diff)
	}
	stored := s.create(pod.Namespace, &pod)
	if diff := cmp.Diff(want, injectionOf(stored)); diff != "" {
		s.t.Errorf("stored (-want +got):\n%s", diff)
	}
	if trial, stored := stableParts(s.t, trial), stableParts(s.t, stored); trial != stored {
		s.t.Errorf("the trial differs from what is stored (-trial +stored):\n%s", cmp.Diff(trial, stored))
	}
	s.checkExplainYAML(file, stored, bare)
	s.checkExplainJSON(file, stored)
}

// stableParts is the part of a pod that does not differ from one creation to the next.
func stableParts(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	text, err := json.MarshalIndent(map[string]any{"labels": pod.Labels, "annotations": pod.Annotations, "spec": pod.Spec}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return tokenVolume.ReplaceAllString(string(text), "kube-api-access")
}

// tokenVolume is the name that the API server draws for the volume of the service account's token.
var tokenVolume = regexp.MustCompile(`kube-api-access-[a-z0-9]{5}`)

// explain runs kubectl-shorthop.
func (s *scope) explain(file, namespace, output string) []byte {
	s.t.Helper()
	args := []string{"explain", "-f", file, "--policy", examplePolicy, "-o", output}
	for key, value := range sampleNamespaces[namespace] {
		args = append(args, "--namespace-labels", key+"="+value)
	}
	answer, complaints, code := kubectl(s.t, args...)
	if code != 0 {
		s.t.Fatalf("%v: exit code %d\n%s", args, code, complaints)
	}
	return answer
}

// checkExplainYAML wants the pod that explain prints to be the one that was stored, once the API server has filled in what
// it fills in for every pod. It does so in a namespace without webhooks.
func (s *scope) checkExplainYAML(file string, stored *corev1.Pod, bare string) {
	s.t.Helper()
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict(s.explain(file, stored.Namespace, "yaml"), &pod); err != nil {
		s.t.Fatal(err)
	}
	pod.Namespace = bare
	explained, err := shared.Client.CoreV1().Pods(bare).Create(s.t.Context(), &pod, dryRun)
	if err != nil {
		s.t.Fatal(err)
	}
	if want, got := stableParts(s.t, stored), stableParts(s.t, explained); want != got {
		s.t.Errorf("explain -o yaml says something else than what was stored (-stored +explained):\n%s", cmp.Diff(want, got))
	}
}

// checkExplainJSON compares explain with what the audit log says of the real review.
func (s *scope) checkExplainJSON(file string, stored *corev1.Pod) {
	s.t.Helper()
	var explained struct {
		Rule             string
		ServiceHost, DNS struct{ Action, Reason string }
		Record           struct{ Value any }
		Patch            []any
	}
	jsontest.Unmarshal(s.t, s.explain(file, stored.Namespace, "json"), &explained)
	type account struct {
		Rule, ServiceHost, DNS string
		Record                 any
		Patch                  []any
	}
	got := account{
		explained.Rule, explained.ServiceHost.Action + " " + explained.ServiceHost.Reason,
		explained.DNS.Action + " " + explained.DNS.Reason, explained.Record.Value, explained.Patch,
	}
	event := s.audited(stored.Namespace, stored.Name, "")
	entry := webhookconfig.OpenEntry
	switch {
	case sampleNamespaces[stored.Namespace][policy.LabelInject] == "disabled":
		entry = webhookconfig.ClosedEntry
	case stored.Labels[policy.LabelInject] == "disabled":
		entry = webhookconfig.OptedOutEntry
	}
	if _, called := event.Annotations[entry+"/dns"]; !called {
		if len(got.Patch) > 0 || got.Record != nil || explained.ServiceHost.Action != "skip" || explained.DNS.Action != "skip" {
			s.t.Errorf("explain says that a pod is changed of which the webhook was not even asked: %+v", got)
		}
		return
	}
	want := account{
		Rule:        event.Annotations[entry+"/rule"],
		ServiceHost: event.Annotations[entry+"/service_host"],
		DNS:         event.Annotations[entry+"/dns"],
		Patch:       event.patch(s.t, entry),
	}
	if text, ok := stored.Annotations[policy.AnnotationInjected]; ok {
		jsontest.Unmarshal(s.t, []byte(text), &want.Record)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("explain -o json says something else than the webhook did (-webhook +explain):\n%s", diff)
	}
}

// patch returns the patch with which a webhook answered.
func (e *auditEvent) patch(t *testing.T, webhook string) []any {
	t.Helper()
	for key, value := range e.Annotations {
		if !strings.HasPrefix(key, "patch.webhook.admission.k8s.io/") {
			continue
		}
		var answered struct {
			Webhook string
			Patch   []any
		}
		jsontest.Unmarshal(t, []byte(value), &answered)
		if answered.Webhook == webhook {
			return answered.Patch
		}
	}
	return nil
}

// checkReplicaSetPod creates a pod as the ReplicaSet controller does: without a name, and without a namespace of its own.
func (s *scope) checkReplicaSetPod() {
	pod := plainPod("")
	pod.ObjectMeta = metav1.ObjectMeta{
		GenerateName: "fetch-images-7d9c6b8f5-",
		Labels:       map[string]string{"pod-template-hash": "7d9c6b8f5"},
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "fetch-images-7d9c6b8f5", UID: "4b1c8f9e-0000-4000-8000-000000000001",
			Controller: new(true), BlockOwnerDeletion: new(true),
		}},
	}
	want := injection{
		Env:       []string{injected("main")},
		DNSPolicy: corev1.DNSClusterFirst, Options: []string{"ndots:1", "timeout:1", "attempts:2"}, Rule: "crawlers",
	}
	created := s.create("crawl-eu", pod)
	if diff := cmp.Diff(want, injectionOf(created)); diff != "" {
		s.t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(created.Name, pod.GenerateName) || len(created.OwnerReferences) != 1 {
		s.t.Errorf("created as %s with owners %v", created.Name, created.OwnerReferences)
	}
}

// checkEphemeralContainers adds one while the pod is opted out, and two later.
func (s *scope) checkEphemeralContainers() {
	pod := plainPod("debugged")
	pod.Labels = map[string]string{policy.LabelInject: "disabled"}
	created := s.addEphemeralContainer(s.create("default", pod), "debugger-0")
	delete(created.Labels, policy.LabelInject)
	created, err := shared.Client.CoreV1().Pods("default").Update(s.t.Context(), created, metav1.UpdateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}

	want := []string{"debugger-0:"} // what runs already cannot be changed
	after := created
	for _, name := range []string{"debugger-1", "debugger-2"} {
		after = s.addEphemeralContainer(after, name)
		want = append(want, injected(name))
		var got []string
		for i := range after.Spec.EphemeralContainers {
			c := &after.Spec.EphemeralContainers[i]
			got = append(got, envOf(c.Name, c.Env))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			s.t.Errorf("after %s (-want +got):\n%s", name, diff)
		}
	}

	before, after := created.DeepCopy(), after.DeepCopy()
	before.Spec.EphemeralContainers, after.Spec.EphemeralContainers = nil, nil
	if want, got := stableParts(s.t, before), stableParts(s.t, after); want != got {
		s.t.Errorf("the rest of the pod has changed (-before +after):\n%s", cmp.Diff(want, got))
	}
}

func (s *scope) checkMirrorPod() {
	mirror := plainPod("static-web-node-1")
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "0123456789abcdef"}
	mirror.Spec.NodeName = "node-1"
	created := s.create("default", mirror)
	if diff := cmp.Diff(injection{Env: []string{"main:"}, DNSPolicy: corev1.DNSClusterFirst}, injectionOf(created)); diff != "" {
		s.t.Errorf("(-want +got):\n%s", diff)
	}
}

// checkExcludedNamespaces registers a second webhook that has no exclusions: once that is called, a missing call of ours
// is the doing of our filter.
func (s *scope) checkExcludedNamespaces(webhook *process) {
	namespaces := []string{"kube-system", "kube-public", "kube-node-lease", ownNamespace}
	for _, namespace := range namespaces {
		s.adopt(namespace, nil)
	}
	var others recorder
	s.register(bareConfiguration(s.name+"-others", serve(s.t, &others)))
	for _, namespace := range namespaces {
		s.wait(namespace, func(*corev1.Pod) bool { return others.calledFor("CREATE", namespace, "trial") })
	}
	before := webhook.reviews(s.t)
	for _, namespace := range namespaces {
		pod := plainPod("excluded")
		pod.Labels = map[string]string{policy.LabelInject: "enabled"} // even if it asks
		created := s.create(namespace, pod)
		if diff := cmp.Diff(injection{Env: []string{"main:"}, DNSPolicy: corev1.DNSClusterFirst}, injectionOf(created)); diff != "" {
			s.t.Errorf("namespace %s (-want +got):\n%s", namespace, diff)
		}
		if !others.calledFor("CREATE", namespace, "excluded") {
			s.t.Errorf("namespace %s: the webhook without exclusions was not called either", namespace)
		}
	}
	if calls := webhook.reviews(s.t) - before; calls != 0 {
		s.t.Errorf("%v reviews, want none", calls)
	}
	// Nobody else has an interest in these pods: they must not come back in later tests.
	for _, namespace := range namespaces {
		s.release(namespace)
	}
}

// release takes a namespace out of the scope.
func (s *scope) release(namespace string) {
	s.t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:null}}}`, scopeLabel)
	if _, err := shared.Client.CoreV1().Namespaces().Patch(s.t.Context(), namespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// checkLateSidecar registers a webhook like that of a service mesh, which is called after ours and adds containers.
func (s *scope) checkLateSidecar() {
	sawOurs := make(chan bool, 1000)
	mesh := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var review struct {
			Request struct {
				UID    types.UID
				Object corev1.Pod
			}
		}
		if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		pod, answer := &review.Request.Object, admissionv1.AdmissionReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
			Response: &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true},
		}
		if !slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == "mesh-proxy" }) {
			sawOurs <- isPatched(pod)
			answer.Response.PatchType = new(admissionv1.PatchTypeJSONPatch)
			answer.Response.Patch = []byte(`[
				{"op":"add","path":"/spec/containers/0","value":{"name":"mesh-proxy","image":"example.com/mesh","env":[{"name":"A","value":"b"}]}},
				{"op":"add","path":"/spec/initContainers","value":[{"name":"mesh-init","image":"example.com/mesh","restartPolicy":"Always"}]}]`)
		}
		json.NewEncoder(w).Encode(answer)
	})
	config := bareConfiguration(s.name+"-b", serve(s.t, mesh))
	s.registerAndWait(config, "default", func(pod *corev1.Pod) bool { return len(pod.Spec.InitContainers) > 0 })
	for len(sawOurs) > 0 {
		<-sawOurs // of the trials
	}

	created := s.create("default", plainPod("meshed"))
	if !<-sawOurs {
		s.t.Fatal("the other webhook was called before us, so this test shows nothing")
	}
	want := injection{
		Env:       []string{injected("mesh-init"), injected("mesh-proxy", "A=b"), injected("main")},
		DNSPolicy: corev1.DNSClusterFirst, Options: []string{"ndots:4", "timeout:1", "attempts:2"}, Rule: "default",
	}
	if diff := cmp.Diff(want, injectionOf(created)); diff != "" {
		s.t.Errorf("(-want +got):\n%s", diff)
	}
	var record struct{ Added struct{ Containers []string } }
	jsontest.Unmarshal(s.t, []byte(created.Annotations[policy.AnnotationInjected]), &record)
	if diff := cmp.Diff([]string{"mesh-init", "mesh-proxy", "main"}, record.Added.Containers); diff != "" {
		s.t.Errorf("containers in the record (-want +got):\n%s", diff)
	}
}
