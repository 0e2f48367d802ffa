package podgen

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
)

// JSON returns the pod as people and newer clients write it, which no typed client can: absent lists and maps are
// sometimes there as null or empty, and there are sometimes fields that this version of the API does not know. To an
// API server it means the same as the pod; it drops unknown fields with a warning.
//
// A JSON Patch that adds to "env": null can not be applied, and a typed round trip loses what is unknown.
func JSON(rng *rand.Rand, pod *corev1.Pod) []byte {
	typed, err := json.Marshal(pod)
	if err != nil {
		panic(err) // a pod can be marshalled
	}
	decoder := json.NewDecoder(bytes.NewReader(typed))
	decoder.UseNumber()
	var doc map[string]any
	if err := decoder.Decode(&doc); err != nil {
		panic(err)
	}

	g := newGen(rng, pod.Namespace)
	list := func(in map[string]any, keys ...string) { g.blanks(in, []any{}, keys) }
	dict := func(in map[string]any, keys ...string) { g.blanks(in, map[string]any{}, keys) }

	if metadata, ok := doc["metadata"].(map[string]any); ok {
		dict(metadata, "labels", "annotations")
		list(metadata, "ownerReferences")
		g.unknown(metadata)
	}
	spec, ok := doc["spec"].(map[string]any)
	if !ok {
		spec = map[string]any{}
		doc["spec"] = spec
	}
	list(spec, "initContainers", "ephemeralContainers", "tolerations", "volumes")
	dict(spec, "nodeSelector", "securityContext")
	g.blanks(spec, nil, []string{"dnsConfig", "dnsPolicy", "affinity", "os"})
	g.unknown(spec)
	if config, ok := spec["dnsConfig"].(map[string]any); ok {
		list(config, "nameservers", "searches", "options")
		g.unknown(config)
	}
	for _, key := range []string{"initContainers", "containers"} {
		containers, _ := spec[key].([]any)
		for _, c := range containers {
			if c, ok := c.(map[string]any); ok {
				list(c, "env", "envFrom", "ports", "args")
				g.unknown(c)
			}
		}
	}

	text, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return text
}

// blanks writes some absent keys of an object as null or empty.
func (g *gen) blanks(in map[string]any, empty any, keys []string) {
	for _, key := range keys {
		if _, present := in[key]; !present && g.oneIn(3) {
			in[key] = pick(g, nil, empty)
		}
	}
}

// unknown adds a field of a future API, rarely.
func (g *gen) unknown(in map[string]any) {
	if g.oneIn(15) {
		in["futureField"] = pick[any](g, 1, "x", nil, []any{map[string]any{"env": nil}}, map[string]any{"a/b~c": []any{1.5}})
	}
}
