package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
)

// canary is what must not get out.
const canary = "s3cr3t"

// fill sets every string that can be reached to a canary, the keys of maps included, with one element in every list.
func fill(v reflect.Value, depth int) {
	if !v.CanSet() || depth > 12 {
		return
	}
	switch v.Interface().(type) {
	case metav1.Time, *metav1.Time, resource.Quantity, *resource.Quantity:
		return // not strings
	case intstr.IntOrString:
		v.Set(reflect.ValueOf(intstr.FromString(canary)))
		return
	case metav1.FieldsV1:
		v.Set(reflect.ValueOf(*metav1.NewFieldsV1(`{"f:` + canary + `":{}}`)))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(canary)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	default: // holds no string
	}
}

// fullPod has a canary everywhere but in its name.
func fullPod() *corev1.Pod {
	pod := &corev1.Pod{}
	fill(reflect.ValueOf(pod).Elem(), 0)
	pod.Name, pod.GenerateName = "web", ""
	return pod
}

// broken calls each with variants of the document in which one value, or one key's value, is of another kind; paths that
// differ only in a number are tried once.
func broken(document any, each func(variant any)) {
	var walk func(node any, replace func(any) (undo func()))
	wrong := []any{canary, map[string]any{canary: canary}, []any{canary}, 7, true}
	walk = func(node any, replace func(any) func()) {
		for _, value := range wrong {
			if reflect.TypeOf(value) != reflect.TypeOf(node) {
				undo := replace(value)
				each(document)
				undo()
			}
		}
		switch node := node.(type) {
		case map[string]any:
			for key, child := range node {
				walk(child, func(value any) func() {
					node[key] = value
					return func() { node[key] = child }
				})
			}
		case []any:
			for i, child := range node {
				walk(child, func(value any) func() {
					node[i] = value
					return func() { node[i] = child }
				})
			}
		}
	}
	root := document.(map[string]any)
	request := root["request"].(map[string]any)
	object := request["object"]
	walk(object, func(value any) func() {
		request["object"] = value
		return func() { request["object"] = object }
	})
}

// TestNothingOfAPodGetsOut sends the program, at its most verbose, reviews whose pods have a canary in every string of
// the API, as they are and broken in every place; no log line, metric or debug page repeats it. What may be logged of a
// pod is its namespace and its name.
func TestNothingOfAPodGetsOut(t *testing.T) {
	const document = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: first}
spec:
  serviceHost: {host: api.example.com}
  dns: {ndots: 2}
  podOverrides: {allowed: [ndots, mode, options]}
  rules:
  - name: some
    match: {podSelector: {matchLabels: {app: some}}, owners: [{kind: Job, name: "fetch-*"}]}
    dns: {ndots: 1}
`
	w := newWebhook(t, document)
	w.start("--cluster-access=false", "--shutdown-delay=0s", "--log-level=debug")
	w.ready()
	client := w.client()
	client.Transport.(*http.Transport).DisableKeepAlives = false
	defer client.CloseIdleConnections()
	sent := 0
	var warnings bytes.Buffer
	post := func(body []byte) {
		t.Helper()
		sent++
		response, err := client.Post("https://"+w.reviews+"/mutate-v1-pod?timeout=2s", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d: %s", response.StatusCode, answer)
		}
		warnings.Write(answer)
	}
	review := func(pod any) map[string]any {
		encoded, err := json.Marshal(map[string]any{
			"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
			"request": map[string]any{
				"uid": "1", "resource": map[string]any{"group": "", "version": "v1", "resource": "pods"}, "operation": "CREATE",
				"namespace": "default", "userInfo": map[string]any{"username": canary, "groups": []string{canary}}, "object": pod,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		decoded := jsontest.Decode[map[string]any](t, encoded)
		return decoded
	}
	encode := func(v any) []byte {
		return jsontest.Marshal(t, v)
	}

	whole := encode(review(fullPod()))
	if n := bytes.Count(whole, []byte(canary)); n < 500 {
		t.Fatalf("only %d canaries in the review", n)
	}
	post(whole)
	// Annotations and labels of ours that are wrong.
	usable := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{
			policy.LabelInject: canary, policy.LabelDNS: canary, policy.LabelServiceHost: canary,
		}, Annotations: map[string]string{
			policy.AnnotationNdots: canary, policy.AnnotationDNSMode: canary, policy.AnnotationDNSOptions: canary + ":1 timeout:" + canary,
			policy.AnnotationInjected: `{"rule":"` + canary + `"`,
		}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: canary, Image: canary, Env: []corev1.EnvVar{{Name: canary, Value: canary}}, Command: []string{canary},
		}}},
	}
	post(encode(review(usable)))
	if !strings.Contains(warnings.String(), `\"`+canary+`\" is not a number`) {
		t.Error("the caller is not warned of a wrong annotation: this test has lost its subject")
	}
	// Broken in every place that is read, and cut off in many.
	broken(review(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Labels: map[string]string{canary: canary}, Annotations: map[string]string{canary: canary},
			OwnerReferences: []metav1.OwnerReference{{Kind: canary, Name: canary, Controller: new(true)}},
		},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{canary: canary}, Tolerations: []corev1.Toleration{{Key: canary}}, DNSPolicy: canary,
			ServiceAccountName: canary, SchedulerName: canary, RuntimeClassName: new(canary), OS: &corev1.PodOS{Name: canary},
			DNSConfig:      &corev1.PodDNSConfig{Nameservers: []string{canary}, Searches: []string{canary}, Options: []corev1.PodDNSConfigOption{{Name: canary, Value: new(canary)}}},
			InitContainers: usable.Spec.Containers, Containers: usable.Spec.Containers,
			Volumes: []corev1.Volume{{Name: canary}},
		},
	}), func(variant any) { post(encode(variant)) })
	for n := 0; n < len(whole); n += 1 + len(whole)/150 {
		post(whole[:n])
		post(append(whole[:n:n], canary...))
	}
	// Whole reviews that are none.
	for _, body := range []string{canary, `{"kind":"` + canary + `s"}`, `["` + canary + `"]`, `{"` + canary + `":`} {
		post([]byte(body))
	}

	lines := 0
	for line := range strings.Lines(w.stderr.String()) {
		if strings.Contains(line, `"logger":"admission"`) {
			lines++
		}
		// A kind is repeated, so that a wrong client can be told from a wrong configuration.
		if strings.Contains(strings.ReplaceAll(line, canary+"s", ""), canary) {
			t.Errorf("logged %s", line)
		}
	}
	if lines < sent {
		t.Errorf("%d lines for %d reviews: they are not logged at this level", lines, sent)
	}
	for what, address := range map[string]string{"/metrics": w.metrics, "/debug/policy": w.health, "/readyz": w.health} {
		if status, body := w.get(address, what); status != http.StatusOK || strings.Contains(body, canary) {
			t.Errorf("%s: status %d, shows %t", what, status, strings.Contains(body, canary))
		}
	}
	t.Log(fmt.Sprint(sent, " reviews"))
	terminate(t)
	w.ended(0)
}

// TestNoProfiles looks for the pages of net/http/pprof, which show memory, on every port.
func TestNoProfiles(t *testing.T) {
	w := newWebhook(t, examplePolicy)
	w.start("--cluster-access=false", "--shutdown-delay=0s")
	w.ready()
	for _, path := range []string{"/debug/pprof", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/vars", "/debug/", "/"} {
		for _, address := range []string{w.metrics, w.health} {
			if status, body := w.get(address, path); status != http.StatusNotFound {
				t.Errorf("%s%s: status %d\n%s", address, path, status, body)
			}
		}
		response, err := w.client().Get("https://" + w.reviews + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s%s: status %d", w.reviews, path, response.StatusCode)
		}
	}
	terminate(t)
	w.ended(0)
}
