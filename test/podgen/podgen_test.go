package podgen_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/podgen"
)

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func marshal(t *testing.T, v any) string {
	t.Helper()
	text := jsontest.Marshal(t, v)
	return string(text)
}

func TestASeedReproducesItsPods(t *testing.T) {
	t.Parallel()

	draw := func(seed uint64) []string {
		rng := source(seed)
		var drawn []string
		for range 40 {
			pod := podgen.Pod(rng, "shop")
			drawn = append(drawn, marshal(t, pod), string(podgen.JSON(rng, pod)), marshal(t, podgen.OddPod(rng)), marshal(t, podgen.NamespaceLabels(rng)))
		}
		return drawn
	}
	seen := map[string]uint64{}
	for seed := range uint64(4) {
		first := draw(seed)
		if diff := cmp.Diff(first, draw(seed)); diff != "" {
			t.Fatalf("seed %d drew other pods the second time (-first +second):\n%s", seed, diff)
		}
		all := strings.Join(first, "\n")
		if other, ok := seen[all]; ok {
			t.Errorf("seeds %d and %d draw the same pods", other, seed)
		}
		seen[all] = seed
	}
}

// A pod that JSON changes would make a property test compare the wrong things.
func TestPodsSurviveJSON(t *testing.T) {
	t.Parallel()

	rng := source(2)
	for range 200 {
		for name, pod := range map[string]*corev1.Pod{"Pod": podgen.Pod(rng, "shop"), "OddPod": podgen.OddPod(rng)} {
			text := marshal(t, pod)
			var decoded corev1.Pod
			if err := json.Unmarshal([]byte(text), &decoded); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			if again := marshal(t, &decoded); again != text {
				t.Fatalf("%s: JSON round trip (-want +got):\n%s", name, cmp.Diff(text, again))
			}
		}
	}
}

func TestJSONMeansThePod(t *testing.T) {
	t.Parallel()

	rng := source(3)
	for range 200 {
		pod := podgen.Pod(rng, "shop")
		text := podgen.JSON(rng, pod)
		decoded := jsontest.Decode[corev1.Pod](t, text)
		if pod.Spec.SecurityContext == nil && decoded.Spec.SecurityContext != nil {
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{} // what the API server makes of none
		}
		if !equality.Semantic.DeepEqual(pod, &decoded) {
			t.Fatalf("JSON means another pod (-pod +decoded):\n%s", cmp.Diff(marshal(t, pod), marshal(t, &decoded)))
		}
	}
}

func TestNamespaceLabelsAreLegal(t *testing.T) {
	t.Parallel()

	rng := source(4)
	count := map[string]int{}
	for range 5000 {
		labels := podgen.NamespaceLabels(rng)
		switch {
		case labels == nil:
			count["nil"]++
		case len(labels) == 0:
			count["empty"]++
		}
		for key, value := range labels {
			count[key]++
			count[key+"="+value]++
			if errs := validation.IsQualifiedName(key); len(errs) > 0 {
				t.Errorf("key %q: %v", key, errs)
			}
			if errs := validation.IsValidLabelValue(value); len(errs) > 0 {
				t.Errorf("value %q: %v", value, errs)
			}
		}
	}
	for _, key := range []string{
		"nil", "empty", "shorthop.dev/inject=enabled", "shorthop.dev/inject=disabled", "shorthop.dev/inject=disable", "shorthop.dev/inject=false",
		"shorthop.dev/inject=yes", "shorthop.dev/service-host=true", "shorthop.dev/dns=enable", "shorthop.dev/dns=NodeLocal",
		"apiserver-proxy.networking.gardener.cloud/inject=disable", "node-local-dns-injection=enabled", "localdns-injector=disabled", "team=search",
	} {
		if count[key] < 10 {
			t.Errorf("%s: drawn %d times in 5000, want at least 10", key, count[key])
		}
	}
}
