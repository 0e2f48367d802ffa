package cli_test

import (
	"bytes"
	"testing"

	"github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/test/hostile"
)

// FuzzExplain explains whatever is on standard input: it is explained, or refused with a message, and never ends in a
// panic or as if it could not have been read.
func FuzzExplain(f *testing.F) {
	for _, manifest := range []string{
		"apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: web, image: web}]}\n",
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {template: {metadata: {labels: {app: web}}, spec: {dnsPolicy: Default, containers: [{name: web}]}}}\n---\nkind: ConfigMap\napiVersion: v1\n",
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: c}\nspec: {jobTemplate: {spec: {template: {spec: {initContainers: [{name: a}], containers: [{name: b}]}}}}}\n",
		`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": {"shorthop.dev/ndots": "x", "shorthop.dev/injected": "{}"}}, "spec": {"dnsConfig": {"options": [{}]}}}`,
		"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}, 7]\n",
		"[{\"apiVersion\": \"v1\", \"kind\": \"PodList\", \"items\": [{\"metadata\": {\"generateName\": \"a-\"}, \"spec\": {\"containers\": [{}]}}, null]}]",
		"apiVersion: argoproj.io/v1\nkind: Rollout\nmetadata: {name: a, name: b}\nspec: {template: {spec: {containers: [{name: web}]}}}\n",
		"apiVersion: apps.kruise.io/v1\nkind: StatefulSet\nmetadata: {generateName: a-}\nspec: {reserveOrdinals: [0, x, 1], ordinals: {start: 1e9}, template: {spec: {containers: [{name: web}]}}}\n",
		"apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\nspec: {template: {metadata: {name: 7}, spec: {containers: [7]}}}\n",
		"apiVersion: v1\nkind: PodTemplate\nmetadata: {name: a}\ntemplate: {metadata: null, spec: {containers: [{name: web}]}}\n",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: {{ .x }}}\n", "\xff\xfe{\x00", "sops: {mac: x}\n",
		"a: &a [*a]\n", "---\n---\n", "\x00", "kind: [",
	} {
		f.Add([]byte(manifest))
	}
	f.Fuzz(func(t *testing.T, manifest []byte) {
		var stdout, stderr bytes.Buffer
		code := cli.Main([]string{"explain", "-f", "-"}, cli.Streams{In: bytes.NewReader(manifest), Out: &stdout, Err: &stderr})
		switch {
		case code == 0 && stdout.Len() == 0:
			t.Error("explained by saying nothing")
		case code == 1 && stderr.Len() == 0:
			t.Error("refused without a message")
		case code > 1:
			t.Errorf("exit code %d: %s", code, &stderr)
		}
		for _, output := range []*bytes.Buffer{&stdout, &stderr} {
			if raw := hostile.Raw(output.Bytes(), ""); raw != "" {
				t.Errorf("an output has %s", raw)
			}
		}
	})
}
