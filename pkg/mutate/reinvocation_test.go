package mutate_test

import (
	"errors"
	"maps"
	"reflect"
	"sync"
	"testing"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// edit is what another webhook does to a pod.
type edit struct {
	name string
	do   func(pod object)
	// after is true for an edit that leaves what we added where we put it, so
	// that the order of the two webhooks does not matter.
	after bool
}

func edits() []edit {
	spec := func(pod object) object { return asObject(pod["spec"]) }
	appendTo := func(o object, key string, value any) { o[key] = append(listIn(o, key), value) }
	dnsConfig := func(pod object) object {
		config := asObject(spec(pod)["dnsConfig"])
		if config == nil {
			config = object{}
			spec(pod)["dnsConfig"] = config
		}
		return config
	}
	first := func(pod object) object {
		if containers := listIn(spec(pod), "containers"); len(containers) > 0 {
			return asObject(containers[0])
		}
		return object{}
	}
	return []edit{
		{"append a sidecar", func(pod object) {
			appendTo(spec(pod), "containers", object{"name": "injected-sidecar", "image": "proxy"})
		}, true},
		{"prepend a sidecar with variables", func(pod object) {
			sidecar := object{"name": "injected-sidecar", "image": "proxy", "env": []any{object{"name": "LEVEL", "value": "debug"}}}
			spec(pod)["initContainers"] = append([]any{sidecar}, listIn(spec(pod), "initContainers")...)
		}, true},
		{"append a sidecar that sets the host", func(pod object) {
			appendTo(spec(pod), "containers", object{"name": "injected-sidecar", "image": "proxy",
				"env": []any{object{"name": "KUBERNETES_SERVICE_HOST", "value": "192.0.2.1"}}})
		}, true},
		{"append an option", func(pod object) {
			appendTo(dnsConfig(pod), "options", object{"name": "inet6"})
		}, true},
		{"append an option of a name of ours", func(pod object) {
			appendTo(dnsConfig(pod), "options", object{"name": "ndots", "value": "7"})
		}, true},
		{"append a search", func(pod object) {
			appendTo(dnsConfig(pod), "searches", "other.example.com")
		}, true},
		{"add an annotation and a label", func(pod object) {
			metadata := asObject(pod["metadata"])
			for _, field := range []string{"annotations", "labels"} {
				values := asObject(metadata[field])
				if values == nil {
					values = object{}
					metadata[field] = values
				}
				values["other.example.com/injected"] = "yes"
			}
		}, true},
		{"prepend a variable", func(pod object) {
			container := first(pod)
			container["env"] = append([]any{object{"name": "FIRST", "value": "1"}}, listIn(container, "env")...)
		}, false},
		{"set a variable of ours", func(pod object) {
			for _, v := range listIn(first(pod), "env") {
				if v := asObject(v); v["name"] == "KUBERNETES_SERVICE_HOST" {
					v["value"] = "192.0.2.1"
					delete(v, "valueFrom")
				}
			}
		}, false},
		{"set ndots", func(pod object) {
			for _, o := range listIn(dnsConfig(pod), "options") {
				if o := asObject(o); o["name"] == "ndots" {
					o["value"] = "7"
				}
			}
		}, false},
		{"prepend a search", func(pod object) {
			config := dnsConfig(pod)
			config["searches"] = append([]any{"other.example.com"}, listIn(config, "searches")...)
		}, false},
		{"take the DNS configuration out", func(pod object) { delete(spec(pod), "dnsConfig") }, false},
		{"take the first container's variables out", func(pod object) { delete(first(pod), "env") }, false},
		{"opt out", func(pod object) {
			metadata := asObject(pod["metadata"])
			labels := maps.Clone(asObject(metadata["labels"]))
			if labels == nil {
				labels = object{}
			}
			labels[policy.LabelInject] = "disabled"
			metadata["labels"] = labels
		}, false},
	}
}

func (x *trial) edited(e edit, pod []byte) []byte {
	x.t.Helper()
	o, err := toObject(pod)
	if err != nil {
		x.failf("%v", err)
	}
	e.do(o)
	return x.marshal(o)
}

// TestReviewAroundAnotherWebhook: another webhook changes the pod between two
// of our reviews (reinvocationPolicy IfNeeded).
func TestReviewAroundAnotherWebhook(t *testing.T) {
	t.Parallel()
	all := edits()
	var (
		mu       sync.Mutex
		compared = map[string]int{}
	)
	t.Run("trials", func(t *testing.T) {
		forEachTrial(t, 1500, func(x *trial) {
			if x.odd {
				return
			}
			e := all[x.rng.IntN(len(all))]
			x.json = x.typedRoundTrip(x.json)
			first, firstResult := x.patched(x.policy, x.json)
			between := x.typedRoundTrip(x.edited(e, first))
			last, lastResult := x.patched(x.policy, between)
			if !e.after || firstResult.RecordReason != "" || lastResult.RecordReason != "" {
				return
			}

			// The user's pod, with what the other webhook did, and no trace of us.
			want := x.typedRoundTrip(x.edited(e, x.json))
			if diff := diffPods(withoutOurKeys(decode(t, want)), withoutOurKeys(mutate.Undo(decode(t, last)))); diff != "" {
				x.failf("%s: Undo (-want +got):\n%s", e.name, diff)
			}
			// The same as if the other webhook had come first.
			direct, directResult := x.patched(x.policy, want)
			if directResult.RecordReason != "" || !sameFeatures(&firstResult.Decision, &directResult.Decision) {
				return
			}
			if !equalJSON(x.typedRoundTrip(direct), x.typedRoundTrip(last)) {
				x.failf("%s: the order of the webhooks matters:\nother first: %s\nwe first:    %s", e.name, direct, last)
			}
			mu.Lock()
			defer mu.Unlock()
			compared[e.name]++
		})
	})
	for _, e := range all {
		if e.after && compared[e.name] == 0 {
			t.Errorf("%s: never compared", e.name)
		}
	}
	t.Log(compared)
}

func sameFeatures(a, b *policy.Decision) bool {
	return a.ServiceHost.Injects() == b.ServiceHost.Injects() && a.DNS.Injects() == b.DNS.Injects() && a.Fallthrough.Carrier == b.Fallthrough.Carrier
}

func equalJSON(a, b []byte) bool {
	x, err := toObject(a)
	y, otherErr := toObject(b)
	return errors.Join(err, otherErr) == nil && reflect.DeepEqual(x, y)
}
