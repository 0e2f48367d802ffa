package certmanager_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/shorthop/shorthop/test/rotation"
)

const release = "shorthop" // and its namespace

// render returns the objects of the chart, with cert-manager.
func render(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	helm := os.Getenv("HELM")
	if helm == "" {
		t.Fatal("HELM does not name the program (make test-certmanager does that)")
	}
	root, err := rotation.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), helm, "template", release, filepath.Join(root, "charts", "shorthop"),
		"--namespace", release, "--set", "certificates.mode=cert-manager",
		// What is late because the machine is busy is not missed.
		"--set", "timeoutSeconds=20")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, &stderr)
	}
	var objects []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(output), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects
		} else if err != nil {
			t.Fatal(err)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// install creates what the chart has for certificates, as it is, but for the
// port of the Service, which is the balancer's. It returns the policy.
func install(t *testing.T, c client.Client, port int) (policy []byte) {
	t.Helper()
	created := map[string]int{}
	for _, object := range render(t) {
		switch object.GetKind() {
		case "ConfigMap":
			data, _, _ := unstructured.NestedString(object.Object, "data", "policy.yaml")
			policy = []byte(data)
			continue
		case "Issuer", "Certificate", "Secret":
		case "MutatingWebhookConfiguration":
			if err := setPort(object, port); err != nil {
				t.Fatal(err)
			}
		default:
			continue
		}
		created[object.GetKind()]++
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatalf("creating %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
	if created["Issuer"] != 2 || created["Certificate"] != 2 || created["MutatingWebhookConfiguration"] != 1 || policy == nil {
		t.Fatalf("the chart has %v", created)
	}
	return policy
}

func setPort(config *unstructured.Unstructured, port int) error {
	entries, found, err := unstructured.NestedSlice(config.Object, "webhooks")
	if err != nil || !found {
		return fmt.Errorf("no entries: %w", err)
	}
	for _, entry := range entries {
		if err := unstructured.SetNestedField(entry.(map[string]any), int64(port), "clientConfig", "service", "port"); err != nil {
			return err
		}
	}
	return unstructured.SetNestedSlice(config.Object, entries, "webhooks")
}
