package mutate_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/podgen"
)

var seedFlag = flag.Uint64("seed", 1, "seed of the first random pod of the property tests; 0: a random one")

const workers = 4

// trial is one random pod under one of the policies.
type trial struct {
	t       *testing.T
	seed    uint64
	rng     *rand.Rand
	policy  *policy.Compiled
	request policy.Request // without a pod
	typed   *corev1.Pod
	odd     bool // no API server would accept the pod
	json    []byte
}

// forEachTrial runs a property test on random pods, in parallel; under -short on
// a tenth of them, but as many as it takes to see everything. A failure names the
// seed with which its pod is the first one.
func forEachTrial(t *testing.T, trials uint64, test func(*trial)) {
	t.Helper()
	if testing.Short() {
		trials = min(trials, max(trials/10, 800))
	}
	first := *seedFlag
	if first == 0 {
		first = rand.Uint64()
	}
	t.Logf("seeds %d to %d", first, first+trials-1)
	policies := propertyPolicies(t)
	for worker := range uint64(workers) {
		t.Run(fmt.Sprintf("worker %d", worker), func(t *testing.T) {
			t.Parallel()
			for i := worker; i < trials; i += workers {
				test(newTrial(t, first+i, policies))
			}
		})
	}
}

func propertyPolicies(t testing.TB) []*policy.Compiled {
	t.Helper()
	files, err := filepath.Glob("testdata/policies/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	var policies []*policy.Compiled
	for _, file := range append(files, "../../examples/policy.yaml") {
		document, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, compile(t, document, "shorthop"))
	}
	return policies
}

func newTrial(t *testing.T, seed uint64, policies []*policy.Compiled) *trial {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	x := &trial{t: t, seed: seed, rng: rng, policy: policies[rng.IntN(len(policies))]}
	namespaces := []string{"shop", "shop", "shop", "crawl-eu", "crawl-eu", "kube-system", strings.Repeat("n", 63), strings.Repeat("n", 63)}
	x.request = policy.Request{
		Operation:       policy.OperationCreatePod,
		Namespace:       namespaces[rng.IntN(len(namespaces))],
		NamespaceLabels: podgen.NamespaceLabels(rng),
		NamespaceKnown:  rng.IntN(30) > 0,
	}
	if x.odd = rng.IntN(8) == 0; x.odd {
		x.typed = podgen.OddPod(rng)
		uniqueNames(x.typed)
	} else {
		x.typed = podgen.Pod(rng, x.request.Namespace)
	}
	if rng.IntN(4) == 0 {
		x.json = podgen.JSON(rng, x.typed)
	} else {
		x.json = x.marshal(x.typed)
	}
	return x
}

// uniqueNames renames containers that have the name of another one. The record
// knows containers by name, and the API server refuses such a pod in any case.
func uniqueNames(pod *corev1.Pod) {
	seen := map[string]bool{}
	rename := func(name *string) {
		for seen[*name] {
			*name += "-again"
		}
		seen[*name] = true
	}
	for i := range pod.Spec.InitContainers {
		rename(&pod.Spec.InitContainers[i].Name)
	}
	for i := range pod.Spec.Containers {
		rename(&pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.EphemeralContainers {
		rename(&pod.Spec.EphemeralContainers[i].Name)
	}
}

func (x *trial) failf(format string, args ...any) {
	x.t.Helper()
	x.t.Fatalf("-seed %d, policy %s: %s\npod: %.3000s", x.seed, x.policy.Name(), fmt.Sprintf(format, args...), x.json)
}

func (x *trial) marshal(v any) []byte {
	x.t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		x.failf("%v", err)
	}
	return text
}

func (x *trial) review(compiled *policy.Compiled, pod []byte) mutate.Result {
	x.t.Helper()
	request := x.request
	request.Pod = decode(x.t, pod)
	request.ObjectSize = len(pod)
	return mutate.Review(compiled, request)
}

// patched is the pod after a review that is held to what holds for every
// review: the operations apply, touch only what is ours, are the same again,
// and are not needed twice.
func (x *trial) patched(compiled *policy.Compiled, pod []byte) ([]byte, mutate.Result) {
	x.t.Helper()
	result := x.review(compiled, pod)
	patch := patchOf(x.t, result)
	for _, op := range result.Operations {
		if err := allowedOperation(op, x.request.Operation); err != nil {
			x.failf("%v\npatch: %s", err, patch)
		}
	}
	request := x.request
	request.Pod, request.ObjectSize = decode(x.t, pod), len(pod)
	if again := patchOf(x.t, mutate.Review(compiled, request)); !bytes.Equal(patch, again) {
		x.failf("two reviews differ:\n%s\n%s", patch, again)
	}
	if !reflect.DeepEqual(request.Pod, decode(x.t, pod)) {
		x.failf("the review changed its input")
	}
	patched := apply(x.t, pod, patch)
	if second := x.review(compiled, patched); len(second.Operations) > 0 {
		x.failf("a second review has operations: %s\nafter: %s", patchOf(x.t, second), patch)
	}
	return patched, result
}

var (
	envPath = regexp.MustCompile(`^/spec/(containers|initContainers)/[0-9]+/env(/[0-9]+)?$`)
	dnsPath = regexp.MustCompile(`^/spec/dnsConfig(/(nameservers|searches|options)(/([0-9]+|-))?)?$`)
	keyPath = regexp.MustCompile(`^/metadata/(labels(/shorthop\.dev~1pinned)?|annotations(/shorthop\.dev~1injected)?)$`)

	ephemeralEnvPath = regexp.MustCompile(`^/spec/ephemeralContainers/[0-9]+/env(/[0-9]+)?$`)
)

// allowedOperation says what is wrong with an operation by its path and name
// alone.
func allowedOperation(op jsonpatch.Operation, during policy.Operation) error {
	switch {
	case during == policy.OperationAddEphemeralContainer:
		if !ephemeralEnvPath.MatchString(op.Path) {
			return fmt.Errorf("an operation of an ephemeral container is at %s", op.Path)
		}
	case !envPath.MatchString(op.Path) && !dnsPath.MatchString(op.Path) && !keyPath.MatchString(op.Path) && op.Path != "/spec/dnsPolicy":
		return fmt.Errorf("an operation is at %s", op.Path)
	}
	if !slices.Contains([]string{"add", "remove", "replace"}, op.Operation) {
		return fmt.Errorf("operation %s at %s", op.Operation, op.Path)
	}
	return nil
}

// uniqueContainerNames takes out containers that have the name of another one,
// which no API server accepts.
func uniqueContainerNames(pod object) {
	spec, seen := asObject(pod["spec"]), map[any]bool{}
	for _, list := range []string{"initContainers", "containers", "ephemeralContainers"} {
		if _, ok := spec[list]; !ok {
			continue
		}
		spec[list] = slices.DeleteFunc(slices.Clone(listIn(spec, list)), func(c any) bool {
			name := asObject(c)["name"]
			known := seen[name]
			seen[name] = true
			return known
		})
	}
}
