package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/podgen"
)

var (
	podCount = flag.Int("pods", 3000, "how many random pods to create")
	podSeed  = flag.Uint64("seed", 0, "what the random pods are drawn from; 0 draws a seed, and a failure says which")
)

// promisePolicies are as different as policies can be in what they do to a pod.
var promisePolicies = map[string]string{
	"options": `{
		serviceHost: {host: api.example.com},
		dns: {mode: Options, ndots: 3, options: [{name: timeout, value: "1"}, {name: attempts, value: "2"}, {name: edns0}],
			nodeLocal: {servers: [169.254.20.10]}},
		cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}}`,
	"node-local": `{
		serviceHost: {host: api.example.com, enabled: false},
		dns: {mode: NodeLocal, ndots: 2, extraSearches: [corp.example.com, lab.example.com]},
		cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}}`,
	"node-local-full": `{
		dns: {mode: NodeLocal, ndots: 1, nodeLocal: {servers: [169.254.20.10, "fd00::a"], fallbackServers: [10.0.0.10]}},
		cluster: {domain: a-rather-long-cluster-domain.clusters.example.com}}`,
	"service-host-with-port": `{serviceHost: {host: 192.0.2.7, port: 6443}}`,
	"node-ip":                `{serviceHost: {hostFrom: NodeIP}, dns: {}}`,
	"ipv6-host": `{
		serviceHost: {host: "fd00::1", port: 443},
		namespaceOptOut: Final, podOverrides: {allowed: []},
		dns: {enabled: false, options: [{name: use-vc}]}}`,
	"rules": `{
		serviceHost: {host: api.example.com}, rollout: {percent: 60},
		cluster: {domain: cluster.local, dnsServers: [10.0.0.10]},
		dns: {},
		rules: [
			{name: owned, match: {owners: [{kind: Deployment}]}, dns: {mode: NodeLocal}, serviceHost: {port: 8443}},
			{name: team, match: {namespaceSelector: {matchLabels: {team: search}}}, dns: {mode: NodeLocal, ndots: 4}, serviceHost: {hostFrom: NodeIP}},
			{name: "off", match: {podSelector: {matchLabels: {app: web}}}, dns: {enabled: false}}]}`,
}

// namespacesPerPolicy is how many namespaces, with different labels, each policy has.
const namespacesPerPolicy = 6

// promisePolicyLabel selects the namespaces of a policy.
const promisePolicyLabel = "example.com/policy"

// promiseNamespace is a namespace with its policy and all that is known of it. Its pods are created one after the other.
type promiseNamespace struct {
	name     string
	labels   map[string]string
	compiled *policy.Compiled
	observer *observer
}

// TestNoPodBreaks creates random pods, as a trial, at the real API server. For each of them:
//
//   - if it is rejected, it would be without us too;
//   - the API server makes of our patch what we think it does;
//   - nothing that the user set is changed or gone;
//   - a second review of the result changes nothing more;
//   - Undo of the result is the pod;
//   - if we were not called, there was nothing to do.
func TestNoPodBreaks(t *testing.T) {
	t.Parallel()
	seed := *podSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay with: go test ./test/integration -run %s -pods=%d -seed=%d", t.Name(), *podCount, seed)

	s := newScope(t)
	bare := s.namespace("promises-bare", nil)
	namespaces := s.promiseNamespaces(seed)
	config := rest.CopyConfig(shared.Config)
	config.WarningHandler = rest.NoWarnings{} // the pods have fields that no version knows
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}

	tally := &tally{}
	var group errgroup.Group
	group.SetLimit(4)
	for n, namespace := range namespaces {
		group.Go(func() error {
			for i := n; i < *podCount; i += len(namespaces) {
				if t.Context().Err() != nil {
					return nil
				}
				p := &promise{client: client, namespace: namespace, bare: bare, tally: tally}
				if err := p.check(t.Context(), rand.New(rand.NewPCG(seed, uint64(i)))); err != nil {
					t.Errorf("pod %d in namespace %s (%v), seed %d: %v", i, namespace.name, namespace.labels, seed, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Log(tally)
}

// promiseNamespaces makes the namespaces of all policies, registers a webhook for each policy, and returns the namespaces
// once the API server calls it.
func (s *scope) promiseNamespaces(seed uint64) []*promiseNamespace {
	s.t.Helper()
	var namespaces []*promiseNamespace
	rng := rand.New(rand.NewPCG(seed, 1<<32)) // no pod has this index
	for _, name := range slices.Sorted(maps.Keys(promisePolicies)) {
		document := parse(s.t, fmt.Sprintf(policyWithSpec, promisePolicies[name]))
		compiled, err := policy.Compile(document, "")
		if err != nil {
			s.t.Fatal(err)
		}
		byName := map[string]map[string]string{}
		o := newObserver(handler(compiled, func(o *admission.Options) {
			o.Namespaces = namespaceLabels(func(_ context.Context, namespace string) (map[string]string, bool) {
				labels, ok := byName[namespace]
				return labels, ok
			})
		}))
		own := map[string]string{promisePolicyLabel: name}
		for n := range namespacesPerPolicy {
			drawn := podgen.NamespaceLabels(rng)
			if n == 0 {
				drawn = nil // at least one that every pod passes
			}
			labels := s.labels(own)
			maps.Copy(labels, drawn)
			namespace := s.namespace(fmt.Sprintf("promises-%s-%d", name, n), labels)
			byName[namespace] = labels
			namespaces = append(namespaces, &promiseNamespace{namespace, labels, compiled, o})
		}
		s.registerAsIs(s.confine(configuration(s.name+"-"+name, document, serve(s.t, o)), own))
		first := namespaces[len(namespaces)-namespacesPerPolicy].name
		s.wait(first, func(*corev1.Pod) bool { return len(o.take(first)) > 0 })
	}
	return namespaces
}

// promise is one random pod.
type promise struct {
	client    kubernetes.Interface
	namespace *promiseNamespace
	bare      string
	tally     *tally
}

func (p *promise) check(ctx context.Context, rng *rand.Rand) error {
	pod := podgen.JSON(rng, podgen.Pod(rng, p.namespace.name))
	p.namespace.observer.take(p.namespace.name) // forget what came before
	stored, err := p.create(ctx, p.namespace.name, pod)
	if err != nil {
		if _, without := p.create(ctx, p.bare, withNamespace(pod, p.bare)); without != nil {
			return fmt.Errorf("podgen draws a pod that the API server rejects, with or without us: %w\n%s", without, pod)
		}
		return fmt.Errorf("the pod is rejected, and it would not be without us: %w\n%s", err, pod)
	}
	reviews := p.namespace.observer.take(p.namespace.name)
	p.tally.add("pods")
	switch len(reviews) {
	case 0:
		p.tally.add("kept out by the filter")
		return p.checkNotNeeded(stored)
	case 1:
		if err := p.checkReview(&reviews[0], stored); err != nil {
			return fmt.Errorf("%w\npatch: %s\nreviewed: %.3000s\nstored: %.3000s", err, reviews[0].patch, reviews[0].object, stored)
		}
		return nil
	}
	return fmt.Errorf("called %d times for one pod", len(reviews))
}

// create creates a pod as a trial and returns it as it would be stored.
func (p *promise) create(ctx context.Context, namespace string, pod []byte) ([]byte, error) {
	return p.client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").
		Param("dryRun", "All").Body(pod).Do(ctx).Raw()
}

func withNamespace(pod []byte, namespace string) []byte {
	var object map[string]any
	if err := json.Unmarshal(pod, &object); err != nil {
		panic(err) // podgen has written it
	}
	object["metadata"].(map[string]any)["namespace"] = namespace
	moved, err := json.Marshal(object)
	if err != nil {
		panic(err)
	}
	return moved
}

// checkNotNeeded checks a pod that we were not asked about.
func (p *promise) checkNotNeeded(stored []byte) error {
	pod, err := decodeAs[policy.Pod](stored)
	if err != nil {
		return err
	}
	result := mutate.Review(p.namespace.compiled, policy.Request{
		Operation: policy.OperationCreatePod, Namespace: p.namespace.name,
		NamespaceLabels: p.namespace.labels, NamespaceKnown: true, Pod: pod,
	})
	if len(result.Operations) > 0 {
		return fmt.Errorf("the filter kept out a pod that we would have changed: %v", result.Operations)
	}
	return nil
}

func (p *promise) checkReview(r *observation, stored []byte) error {
	p.tally.count(r)
	if r.patch != nil && len(r.patch) <= len("[]") {
		return errors.New("an empty patch instead of none")
	}
	patched, err := r.patched()
	if err != nil {
		return err
	}
	if err := checkApplied(patched, stored); err != nil {
		return err
	}
	if err := checkUserValues(r.object, patched); err != nil {
		return err
	}
	again, err := p.namespace.observer.again(r, stored)
	if err != nil {
		return err
	}
	if len(again.patch) > 0 {
		return fmt.Errorf("a second review changes the pod again: %s", again.patch)
	}
	return checkUndo(r.object, stored)
}

// patched applies the patch with the API server's library.
func (r *observation) patched() ([]byte, error) {
	if len(r.patch) == 0 {
		return r.object, nil
	}
	patch, err := jsonpatch.DecodePatch(r.patch)
	if err != nil {
		return nil, err
	}
	return patch.Apply(r.object)
}

// observation is a review with its answer.
type observation struct {
	request map[string]any // the whole AdmissionReview
	object  []byte
	patch   []byte
	audit   map[string]string
}

// observer passes reviews to a handler and remembers them by namespace.
type observer struct {
	handler http.Handler

	mu   sync.Mutex
	seen map[string][]observation
}

func newObserver(handler http.Handler) *observer {
	return &observer{handler: handler, seen: map[string][]observation{}}
}

func (o *observer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	namespace, seen, answer, err := o.review(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	o.mu.Lock()
	o.seen[namespace] = append(o.seen[namespace], seen)
	o.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Write(answer)
}

// review asks the handler.
func (o *observer) review(body []byte) (namespace string, seen observation, answer []byte, err error) {
	var asked struct {
		Request struct {
			Namespace string
			Object    json.RawMessage
		}
	}
	if err := errors.Join(json.Unmarshal(body, &asked), json.Unmarshal(body, &seen.request)); err != nil {
		return "", seen, nil, err
	}
	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	o.handler.ServeHTTP(w, req)
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || review.Response == nil {
		return "", seen, nil, fmt.Errorf("the handler answered %d %s: %w", w.Code, w.Body, err)
	}
	seen.object, seen.patch, seen.audit = asked.Request.Object, review.Response.Patch, review.Response.AuditAnnotations
	return asked.Request.Namespace, seen, w.Body.Bytes(), nil
}

// again asks for another review of the same request, for the pod as it is now.
func (o *observer) again(r *observation, pod []byte) (observation, error) {
	request := maps.Clone(r.request["request"].(map[string]any))
	request["object"] = json.RawMessage(pod)
	review := maps.Clone(r.request)
	review["request"] = request
	body, err := json.Marshal(review)
	if err != nil {
		return observation{}, err
	}
	_, seen, _, err := o.review(body)
	return seen, err
}

// take returns what was seen of a namespace since it was asked last.
func (o *observer) take(namespace string) []observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := o.seen[namespace]
	delete(o.seen, namespace)
	return seen
}

// tally counts what became of the pods, so that a test that tests nothing is noticed.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *tally) add(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	c.counts[what]++
}

func (c *tally) count(r *observation) {
	if len(r.patch) > 0 {
		c.add("patched")
	}
	for key, value := range r.audit {
		if key != "rule" {
			c.add(key + ": " + value)
		}
	}
}

func (c *tally) String() string {
	var text strings.Builder
	for _, what := range slices.Sorted(maps.Keys(c.counts)) {
		fmt.Fprintf(&text, "\n%6d %s", c.counts[what], what)
	}
	return text.String()
}

// The API's limit for the keys and values of all annotations of an object.
const annotationLimit = 256 << 10

// TestAPodWithTheMostAnnotationsIsStillCreated has pods with little and less room for our own annotation.
func TestAPodWithTheMostAnnotationsIsStillCreated(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("annotations", nil)
	document := parse(t, fmt.Sprintf(policyWithSpec, promisePolicies["options"]))
	compiled, err := policy.Compile(document, "")
	if err != nil {
		t.Fatal(err)
	}
	o := newObserver(handler(compiled, nil))
	s.registerAndWait(configuration(s.name, document, serve(t, o)), namespace, isPatched)

	const key = "example.com/padding"
	left, kept := 0, 0
	for room := 0; room <= 600; room += 20 {
		o.take(namespace)
		pod := plainPod(fmt.Sprintf("room-%d", room))
		pod.Annotations = map[string]string{key: strings.Repeat("p", annotationLimit-len(key)-room)}
		created := s.create(namespace, pod)
		if !isPatched(created) || created.Spec.DNSConfig == nil {
			t.Errorf("room for %d bytes: not patched", room)
		}
		record, recorded := created.Annotations[policy.AnnotationInjected]
		reason := ""
		if reviews := o.take(namespace); len(reviews) == 1 {
			reason = reviews[0].audit["record"]
		}
		if recorded {
			kept++
			if size := len(policy.AnnotationInjected) + len(record); size > room {
				t.Errorf("room for %d bytes, the record has %d", room, size)
			}
		} else {
			left++
		}
		if want := map[bool]string{true: "", false: "skip annotation_budget"}[recorded]; reason != want {
			t.Errorf("room for %d bytes: the record's reason is %q, want %q", room, reason, want)
		}
	}
	if left == 0 || kept == 0 {
		t.Errorf("the record was left out %d times and kept %d times, want some of both", left, kept)
	}
}
