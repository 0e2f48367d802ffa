package doctor

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/test/objectserver"
)

// TestAdviceIsReadWhereReplicasHaveItFrom finds the ConfigMaps that are mounted where --advice points at, and no others.
func TestAdviceIsReadWhereReplicasHaveItFrom(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ pod, want string }{
		"none is named": {
			`{containers: [{name: c, args: [--policy=/p], volumeMounts: [{name: a, mountPath: /p}]}], volumes: [{name: a, configMap: {name: m}}]}`, "",
		},
		"as the chart has it": {
			`{containers: [{name: c, args: [--advice=/etc/advice/parts, --advisor-run=/etc/advice/run.json], volumeMounts: [{name: a, mountPath: /etc/advice}, {name: p, mountPath: /etc/policy}]}],
			  volumes: [{name: a, projected: {sources: [{configMap: {name: m, items: [{key: k, path: parts/m.gz}]}}, {configMap: {name: m-2, items: [{key: k, path: parts/m-2.gz}]}},
			    {configMap: {name: report, items: [{key: run.json, path: run.json}]}}]}}, {name: p, configMap: {name: policy}}]}`,
			"m k, m-2 k",
		},
		"a file of a ConfigMap, in two words": {
			`{containers: [{name: c, command: [/webhook, --advice, /advice/a.json], volumeMounts: [{name: a, mountPath: /advice/}]}], volumes: [{name: a, configMap: {name: m}}]}`, "m a.json",
		},
		"the folder itself": {
			`{containers: [{name: c, args: [--advice=/advice/], volumeMounts: [{name: a, mountPath: /advice}]}], volumes: [{name: a, configMap: {name: m}}]}`, "m ",
		},
		"beside what begins alike": {
			`{containers: [{name: c, args: [--advice=/advice], volumeMounts: [{name: a, mountPath: /advice-2}]}], volumes: [{name: a, configMap: {name: m}}]}`, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var pod corev1.Pod
			if err := yaml.UnmarshalStrict([]byte(test.pod), &pod.Spec); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range adviceSources(&pod) {
				got = append(got, s.configMap+" "+s.key)
			}
			if joined := strings.Join(got, ", "); joined != test.want {
				t.Errorf("%q, want %q", joined, test.want)
			}
		})
	}
}

// TestAdviceInForceIsNeverTakenForNone tells of advice that cannot be read, in place of judging pods as if there were none.
func TestAdviceInForceIsNeverTakenForNone(t *testing.T) {
	t.Parallel()
	const good = `{"kind":"DNSAdvice","apiVersion":"shorthop.dev/v1alpha1","spec":{"workloads":[]}}`
	asked := &health.PolicyDocument{Advice: &health.AdviceDocument{Hash: "abc"}}
	for name, test := range map[string]struct {
		asked        *health.PolicyDocument
		data, source string
		found        bool
		want         string
	}{
		"there is some":                        {asked, good, "m", true, ""},
		"some, and no replica could be asked":  {nil, good, "m", true, ""},
		"the replicas say that there is none":  {&health.PolicyDocument{}, "nonsense", "m", false, ""},
		"nothing yet":                          {nil, "", "m", false, ""},
		"what there is is broken":              {asked, "nonsense", "m", false, "cannot read the advice in force, name it with --advice: ConfigMap own/m:"},
		"it comes from somewhere else":         {asked, good, "", false, "the replicas have advice (abc), and it is in no ConfigMap that they mount: name it with --advice"},
		"the ConfigMap is gone since they had": {asked, good, "other", false, "the replicas have advice (abc), and it is in no ConfigMap that they mount: name it with --advice"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := objectserver.Parse(t, fmt.Appendf(nil, "- {apiVersion: v1, kind: ConfigMap, metadata: {namespace: own, name: m}, data: {k: %q}}\n", test.data))
			client, err := kubernetes.NewForConfig(objectserver.Start(t, objects))
			if err != nil {
				t.Fatal(err)
			}
			c := &collector{client: client, Options: Options{Progress: func(string) {}}, facts: &Facts{}}
			r := replica{}
			if test.source != "" {
				r.advice = []adviceSource{{"own", test.source, "k"}}
			}
			c.facts.replicas.value = []replica{{}, r}
			advice, err := c.adviceInForce(t.Context(), test.asked)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)) || (advice != nil) != test.found {
				t.Errorf("advice %t, %v", advice != nil, err)
			}
		})
	}
}
