package doctor

import (
	"fmt"
	"testing"

	"k8s.io/client-go/kubernetes"

	"github.com/shorthop/shorthop/test/objectserver"
)

// TestAPolicyThatIsBrokenIsFound finds the policy among the ConfigMaps of an installation, whatever is wrong with it.
func TestAPolicyThatIsBrokenIsFound(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ key, text, want string }{
		"under the chart's key":            {policyKey, "kind: InjectionPolicy", policyKey},
		"under another key":                {"p", "kind: InjectionPolicy", "p"},
		"not YAML":                         {"p", "[kind: InjectionPolicy", "p"},
		"a misspelt kind":                  {policyKey, "kind: InjectonPolicy", policyKey},
		"no text":                          {policyKey, "", policyKey},
		"something else under another key": {"dashboard.json", "{}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := objectserver.Parse(t, fmt.Appendf(nil, `
- {apiVersion: v1, kind: ConfigMap, metadata: {namespace: own, name: a, labels: {app.kubernetes.io/name: shorthop}}, data: {other: text}}
- {apiVersion: v1, kind: ConfigMap, metadata: {namespace: own, name: m, labels: {app.kubernetes.io/name: shorthop}}, data: {%s: %q}}
`, test.key, test.text))
			client, err := kubernetes.NewForConfig(objectserver.Start(t, objects))
			if err != nil {
				t.Fatal(err)
			}
			c := &collector{client: client, Options: Options{Progress: func(string) {}}, facts: &Facts{ownNamespace: "own"}}
			c.configMap(t.Context())
			got := ""
			if m := c.facts.configMap.value; m != nil {
				got = m.key
			}
			if c.facts.configMap.err != nil || got != test.want {
				t.Errorf("key %q (%v), want %q", got, c.facts.configMap.err, test.want)
			}
		})
	}
}
