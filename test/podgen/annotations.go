package podgen

import (
	"encoding/json"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	injected = "shorthop.dev/injected"

	// maxAnnotationBytes is the API's limit for all keys and values together.
	maxAnnotationBytes = 256 << 10
)

// annotations draws what developers tune Shorthop with, right and wrong, and annotations of others. One pod in a
// hundred has nearly or exactly as many bytes of them as the API allows.
func (g *gen) annotations(pod *corev1.Pod) {
	set := func(key, value string) {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[key] = value
	}
	if g.oneIn(5) {
		set("shorthop.dev/ndots", pick(g, "1", "2", "3", "5", "0", "15", "16", "-1", "+2", "", " 2 ", "2.0", "0x2", "banana", "２", "99999999999999999999"))
	}
	if g.oneIn(5) {
		set("shorthop.dev/dns-mode", pick(g, "Options", "NodeLocal", "NodeLocal", "nodelocal", "", "None", " Options", "Off"))
	}
	if g.oneIn(5) {
		set("shorthop.dev/dns-options", pick(g, "timeout:1 attempts:3 use-vc", "edns0", "timeout:1", "ndots:2", "", " ", ":", "timeout:",
			":1", "timeout:1 timeout:2", "timeout:1,attempts:2", "timeout:1\nattempts:2\trotate", "nonsense:1 edns0:7", strings.Repeat("edns0 ", 200)))
	}
	if g.oneIn(8) {
		set(injected, g.record(pod))
	}
	if g.oneIn(4) {
		set("kubectl.kubernetes.io/last-applied-configuration", `{"apiVersion":"v1","kind":"Pod","spec":{"dnsPolicy":"None"}}`)
	}
	for range g.IntN(3) {
		set(g.key(), pick(g, "", "x", "true", "ünïcödé \U0001F680", "quote\"back\\slash", "nul\u0000\u2028<&>", "~0~1/"))
	}
	if g.oneIn(100) {
		set("example.com/padding", "")
		used := 0
		for key, value := range pod.Annotations {
			used += len(key) + len(value)
		}
		room := pick(g, 0, 0, 1, 20, len(injected), 100, 200, 300, 400, 600, 2000, g.IntN(2000))
		set("example.com/padding", strings.Repeat("p", maxAnnotationBytes-used-room))
	}
}

// record forges the record of what Shorthop did, from noise up to one that claims the user's own values as ours. Its
// shape is that of the real one, so keep it in step with that.
func (g *gen) record(pod *corev1.Pod) string {
	claim := map[string]any{
		"rule":        pick(g, "", "default", "crawlers", "no such rule"),
		"policy":      pick(g, "", "deadbeef", "0123456789abcdef"),
		"serviceHost": pick(g, "", "api.example.com", "10.0.0.1"),
		"dns":         pick(g, "", "Options", "NodeLocal", "Bogus"),
	}
	added := map[string]any{}
	containers := []string{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range list {
			if g.flip() {
				containers = append(containers, c.Name)
			}
		}
	}
	if g.oneIn(4) {
		containers = append(containers, "no-such-container", "")
	}
	added["containers"] = containers
	added["options"] = pick(g, []string{"ndots"}, []string{"ndots", "timeout", "attempts"}, []string{"no-such-option", ""}, nil)
	added["nameservers"] = pick(g, 0, 1, 2, 3, -1, 100)
	added["searches"] = pick(g, 0, 1, 3, 4, -1, 1<<31)
	added["dnsPolicy"] = pick(g, "", "ClusterFirst", "ClusterFirstWithHostNet", "None", "Default", "Bogus")
	if g.flip() {
		added["dnsConfig"] = g.flip()
		added["port"] = pick(g, "443", "6443", "")
		added["sum"] = pick(g, "", "cbf29ce484222325", strconv.FormatUint(g.Uint64(), 16))
	}
	claim["added"] = added

	switch g.IntN(8) {
	case 0:
		return pick(g, "", "garbage", "null", "true", "[]", "{}", "\"\"", "{", `{"added":null}`, `{"added":[]}`, `{"added":{"containers":"app-0"}}`, "\u0000", "{}{}")
	case 1: // of wrong types
		claim[pick(g, "rule", "policy", "serviceHost", "dns", "added")] = pick[any](g, 1, nil, []string{"x"}, map[string]any{}, true)
	case 2: // of wrong types, deeper
		added[pick(g, "containers", "options", "nameservers", "searches", "dnsPolicy", "sum")] = pick[any](g, "x", nil, 1.5, map[string]any{}, true)
	case 3: // of a future version
		claim["future"] = map[string]any{"field": 1}
	}
	text, err := json.Marshal(claim)
	if err != nil {
		panic(err) // strings and numbers can be marshalled
	}
	switch g.IntN(8) {
	case 0: // truncated
		return string(text[:g.IntN(len(text))])
	case 1: // huge
		return string(text) + strings.Repeat(" ", 20_000)
	}
	return string(text)
}
