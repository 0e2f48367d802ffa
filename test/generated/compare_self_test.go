package generated_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// comparedPod has something in every place that the comparison takes apart.
const comparedPod = `{
	"metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {"team": "search"}},
	"spec": {
		"dnsPolicy": "ClusterFirst",
		"dnsConfig": {"nameservers": ["10.9.9.9"], "searches": ["user.example.com"], "options": [{"name": "rotate", "future": 1}], "future": 2},
		"initContainers": [{"name": "init", "image": "init"}],
		"containers": [
			{"name": "app", "image": "app", "env": [{"name": "A", "value": "1"}, {"name": "B", "future": 9007199254740993}]},
			{"name": "own", "image": "own", "env": [{"name": "KUBERNETES_SERVICE_HOST", "value": "10.0.0.1"}]}],
		"volumes": [{"name": "v", "emptyDir": {}}]}}`

// TestComparisonNotices tampers with a pod that Shorthop has patched.
func TestComparisonNotices(t *testing.T) {
	t.Parallel()
	var nodeLocal *setting
	for i := range settings {
		if settings[i].name == "node-local-and-host" {
			nodeLocal = &settings[i]
		}
	}
	asked := serve(t, nodeLocal.handler(t, namespaceLabels{"shop": nil}))
	after, err := asked.apply(t.Context(), request{namespace: "shop", object: []byte(comparedPod)})
	if err != nil {
		t.Fatal(err)
	}
	parse := func(t *testing.T, text []byte) object {
		t.Helper()
		pod, err := decode(text)
		if err != nil {
			t.Fatal(err)
		}
		return pod
	}
	result, err := nodeLocal.compare("shop", parse(t, []byte(comparedPod)), parse(t, after))
	if err != nil || !result.changed || !result.recorded {
		t.Fatalf("a pod that nobody tampered with: %+v, %v\n%s", result, err, after)
	}
	if err := checkUndo([]byte(comparedPod), after); err != nil {
		t.Fatal(err)
	}

	container := func(pod object, i int) object { return objects(dict(pod, "spec"), "containers")[i] }
	config := func(pod object) object { return dict(dict(pod, "spec"), "dnsConfig") }
	annotations := func(pod object) object { return dict(dict(pod, "metadata"), "annotations") }
	record := func(pod object, old, replacement string) {
		text := annotations(pod)[recordKey].(string)
		annotations(pod)[recordKey] = strings.Replace(text, old, replacement, 1)
	}
	tampered := map[string]func(pod object){
		"a label changes":                           func(p object) { dict(dict(p, "metadata"), "labels")["app"] = "other" },
		"a label is added":                          func(p object) { dict(dict(p, "metadata"), "labels")["x"] = "y" },
		"an annotation is gone":                     func(p object) { delete(annotations(p), "team") },
		"our label is missing":                      func(p object) { delete(dict(dict(p, "metadata"), "labels"), pinnedKey) },
		"the record is no JSON":                     func(p object) { annotations(p)[recordKey] = "{" },
		"a variable is gone":                        func(p object) { container(p, 0)["env"] = list(container(p, 0), "env")[:2] },
		"a variable's value changes":                func(p object) { objects(container(p, 0), "env")[1]["value"] = "2" },
		"an unknown field of a variable is gone":    func(p object) { delete(objects(container(p, 0), "env")[2], "future") },
		"an unknown number is rounded":              func(p object) { objects(container(p, 0), "env")[2]["future"] = json.Number("9007199254740992") },
		"another host is injected":                  func(p object) { objects(container(p, 0), "env")[0]["value"] = "evil.example.com" },
		"another host is injected and recorded":     func(p object) { objects(container(p, 0), "env")[0]["value"] = "x"; record(p, "api.example.com", "x") },
		"a recorded container has no host":          func(p object) { delete(objects(dict(p, "spec"), "initContainers")[0], "env") },
		"a container is not recorded":               func(p object) { record(p, `"init",`, "") },
		"a container's own host is recorded":        func(p object) { record(p, `"init"`, `"init","own"`) },
		"a container's own host changes":            func(p object) { objects(container(p, 1), "env")[0]["value"] = "api.example.com" },
		"a container is gone":                       func(p object) { dict(p, "spec")["containers"] = list(dict(p, "spec"), "containers")[:1] },
		"a nameserver is gone":                      func(p object) { config(p)["nameservers"] = list(config(p), "nameservers")[:2] },
		"a nameserver is not recorded":              func(p object) { record(p, `"nameservers":2`, `"nameservers":1`) },
		"a nameserver is not the policy's":          func(p object) { list(config(p), "nameservers")[0] = "192.0.2.1" },
		"a search is not the policy's":              func(p object) { list(config(p), "searches")[0] = "other.svc.cluster.local" },
		"a search of the user's changes":            func(p object) { list(config(p), "searches")[3] = "other.example.com" },
		"an option is not recorded":                 func(p object) { config(p)["options"] = append(list(config(p), "options"), object{"name": "use-vc"}) },
		"an unknown field of an option is gone":     func(p object) { delete(objects(config(p), "options")[0], "future") },
		"an unknown field of the dnsConfig is gone": func(p object) { delete(config(p), "future") },
		"the dnsConfig is gone":                     func(p object) { delete(dict(p, "spec"), "dnsConfig") },
		"the dnsPolicy is another":                  func(p object) { dict(p, "spec")["dnsPolicy"] = "Default" },
		"the record says another dnsPolicy":         func(p object) { record(p, `"ClusterFirst"`, `"Default"`) },
		"a volume is gone":                          func(p object) { delete(dict(p, "spec"), "volumes") },
		"a volume's source is gone":                 func(p object) { delete(objects(dict(p, "spec"), "volumes")[0], "emptyDir") },
		"a field is added":                          func(p object) { dict(p, "spec")["hostNetwork"] = false },
	}
	for name, tamper := range tampered {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := parse(t, after)
			tamper(pod)
			if cmp.Equal(pod, parse(t, after)) {
				t.Fatalf("nothing is changed: %s", after)
			}
			if _, err := nodeLocal.compare("shop", parse(t, []byte(comparedPod)), pod); err == nil {
				t.Errorf("not noticed: %v", pod)
			}
		})
	}

	// Of DNS on a pod that has another, no record is an excuse.
	for name, spec := range map[string]string{
		"Windows":                  `"os": {"name": "windows"}`,
		"Windows by its selector":  `"nodeSelector": {"kubernetes.io/os": "windows"}`,
		"the user's own DNS":       `"dnsPolicy": "None"`,
		"the node's DNS":           `"dnsPolicy": "Default"`,
		"the node's, by its space": `"hostNetwork": true, "dnsPolicy": "ClusterFirst"`,
	} {
		t.Run("DNS is changed of "+name, func(t *testing.T) {
			t.Parallel()
			plain := `{"metadata": {}, "spec": {` + spec + `}}`
			changed := `{"metadata": {}, "spec": {` + spec + `, "dnsConfig": {"nameservers": ["169.254.20.10"]}}}`
			if _, err := nodeLocal.compare("shop", parse(t, []byte(plain)), parse(t, []byte(changed))); err == nil {
				t.Error("not noticed")
			}
		})
	}
}
