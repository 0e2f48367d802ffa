package advisor_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/loggen"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// TestWhatChangesUnderAdvice has advice from pods of one image and command, and gives it to pods that differ from them. Whatever
// resolver they then have, every name that was seen keeps its answer.
//
//	what changes                               Reference             Repository
//	nothing                                    ndots, fallthrough    the same
//	the base image, under the same tag         ndots, fallthrough    the same
//	the tag                                    fallthrough           ndots, fallthrough
//	the repository, or the command             fallthrough           the same
func TestWhatChangesUnderAdvice(t *testing.T) {
	t.Parallel()
	const tag = 1
	cluster := loggen.New(loggen.Options{Seed: *seed, Workloads: 30, Lookups: 200, Timestamps: true})
	for i := range cluster.Workloads { // pods of glibc, in which nothing of the pods' own is stronger
		w := &cluster.Workloads[i]
		w.Resolver, w.Image, w.Ndots = resolver.Glibc, fmt.Sprintf("registry.example/app-%d:%d", i, tag), 0
	}
	document, advice := adviceAfterDays(t, cluster, 8)

	changes := []struct {
		name                  string
		image                 func(string) string
		command               []string
		reference, repository policy.Reason
	}{
		{"nothing, or the base image", func(image string) string { return image }, nil, policy.ReasonAdvised, policy.ReasonAdvised},
		{"the tag", func(image string) string { return strings.TrimSuffix(image, ":1") + ":2-alpine" }, nil, policy.ReasonAdvisedFallthrough, policy.ReasonAdvised},
		{"the repository", func(image string) string { return strings.TrimSuffix(image, ":1") + "-alpine:1" }, nil, policy.ReasonAdvisedFallthrough, policy.ReasonAdvisedFallthrough},
		{"the command", func(image string) string { return image }, []string{"/migrate"}, policy.ReasonAdvisedFallthrough, policy.ReasonAdvisedFallthrough},
	}
	advised, lookups, lower := 0, 0, map[string]int{}
	for _, match := range []policy.AdviceMatch{policy.AdviceMatchReference, policy.AdviceMatchRepository} {
		// Whoever wrote this pattern takes every build for glibc, which is a promise that some break.
		compiled := compiledFrom(t, fmt.Sprintf("advice: {match: %s}, dns: {advice: Apply, minConfidence: medium}, resolvers: [{images: [registry.example/*], resolver: glibc}]", match))
		for i := range document.Spec.Workloads {
			known := &document.Spec.Workloads[i]
			at := slices.IndexFunc(cluster.Workloads, func(w loggen.Workload) bool { return w.Namespace == known.Namespace && w.Name == known.Name })
			w := &cluster.Workloads[at]
			if known.Ndots == nil || len(known.References) != 1 { // too little was seen of some
				continue
			}
			advised++
			for _, change := range changes {
				pod := cluster.Pods()[at]
				pod.Spec.Containers[0].Image, pod.Spec.Containers[0].Command = change.image(w.Image), change.command
				d := decided(t, compiled, advice, &pod)
				want := change.reference
				if match == policy.AdviceMatchRepository {
					want = change.repository
				}
				if d.Advice.Reason != want || d.Advice.Injects() != (want == policy.ReasonAdvised || d.Fallthrough.Injects()) {
					t.Errorf("%s, %s: %s: advice is %s (%s), want %s", match, change.name, w.Name, d.Advice.Reason, d.Advice.Action, want)
				}
				conf := ndotsIn(t, &d)
				if want == policy.ReasonAdvised && conf < 4 {
					lower[string(match)+", "+change.name]++
				}
				if want != policy.ReasonAdvised && conf < 4 {
					t.Errorf("%s, %s: %s gets ndots %d, of which its images and commands are not known to be content with it", match, change.name, w.Name, conf)
				}
				for _, r := range resolver.Resolvers() {
					lookups += keepsItsAnswers(t, cluster, w, r, conf, d.Fallthrough.ResOptions)
				}
			}
		}
	}
	t.Logf("%d of %d workloads with a value, %d lookups; with an ndots below the default: %v", advised/2, len(cluster.Workloads), lookups, lower)
	if len(lower) != 3 || advised < len(cluster.Workloads) {
		t.Errorf("of %d workloads, values for %d; changes under which some get less than the default: %v", len(cluster.Workloads), advised/2, lower)
	}
}

// keepsItsAnswers looks up all names of a workload with a resolver, as kubelet has it and as it is decided.
func keepsItsAnswers(t *testing.T, cluster *loggen.Cluster, w *loggen.Workload, r resolver.Resolver, ndots int, resOptions string) (lookups int) {
	t.Helper()
	plain, now := *w, *w
	plain.Ndots, now.Ndots = 0, ndots
	was := resolver.Client{Resolver: r, ResolvConf: cluster.ResolvConf(&plain)}
	is := resolver.Client{Resolver: r, ResolvConf: cluster.ResolvConf(&now), ResOptions: resOptions}
	for _, name := range w.Names {
		before, after := was.Lookup(name, cluster.Zone(w)), is.Lookup(name, cluster.Zone(w))
		lookups++
		if before.Status == resolver.Found && (after.Status != resolver.Found || after.Name() != before.Name()) {
			t.Errorf("%s with %s, ndots %d and RES_OPTIONS %q: %s is %s, not %s", w.Name, r, ndots, resOptions, name, after.Name(), before.Name())
		}
	}
	return lookups
}

// adviceAfterDays is what whole days of a cluster come to, all pods of which start on the first.
func adviceAfterDays(t *testing.T, cluster *loggen.Cluster, days int) (*policy.DNSAdvice, *policy.Advice) {
	t.Helper()
	own := make([]simulatedWorkload, len(cluster.Workloads))
	var document *policy.DNSAdvice
	for d := range days {
		var log bytes.Buffer
		if _, err := cluster.Write(&log); err != nil {
			t.Fatal(err)
		}
		text, first := stretched(t, log.Bytes(), day(d))
		for i := range own {
			if d == 0 {
				own[i].started = first[cluster.Workloads[i].Address].Add(-30 * time.Second)
			}
		}
		document, _ = advisor.Advise(document, adviseDay(t, cluster, own, text), advisor.AdviceOptions{
			Memory: 70 * 24 * time.Hour, MinConfidence: advisor.ConfidenceMedium, Floor: policy.DefaultAdviceFloor, At: day(d).Add(23 * time.Hour), Workloads: len(own),
		})
	}
	parsed, err := policy.ParseAdvice([]byte(written(t, document)))
	if err != nil {
		t.Fatal(err)
	}
	advice, err := policy.CompileAdvice(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, advice
}

// compiledFrom compiles a policy from its spec.
func compiledFrom(t *testing.T, spec string) *policy.Compiled {
	t.Helper()
	return reviewtest.Compile(t, fmt.Appendf(nil, "{apiVersion: %s, kind: %s, metadata: {name: default}, spec: {%s}}", policy.APIVersion, policy.Kind, spec), "")
}

// decided is what a new pod gets, while the gate of fall-through is open.
func decided(t *testing.T, compiled *policy.Compiled, advice *policy.Advice, pod *advisor.Pod) policy.Decision {
	t.Helper()
	pod.Spec.DNSConfig = nil // what an earlier review gave it
	text := jsontest.Marshal(t, pod)
	var p policy.Pod
	if err := jsonv2.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	return compiled.Decide(&policy.Request{
		Operation: policy.OperationCreatePod, Namespace: pod.Metadata.Namespace, NamespaceKnown: true, Pod: &p, Advice: advice,
	})
}
