package faults_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/podgen"
	"github.com/shorthop/shorthop/test/rotation"
)

// TestAReplicaIsKilledUnderLoad kills one of two replicas while pods are created. All pods are created; those whose review
// was on its way to it, or followed before the Service knew, are not injected; no other is missed.
func TestAReplicaIsKilledUnderLoad(t *testing.T) {
	namespace(t, "killed", "killed")
	balancer, err := rotation.NewBalancer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { balancer.Close() })
	replicas := []*server{running(t, simple, ""), newServer(t, simple), newServer(t, simple)}
	for _, s := range replicas[1:] {
		s.certDir = replicas[0].certDir
		s.ca = replicas[0].ca
	}
	replicas[1].start("")
	for _, s := range replicas[:2] {
		if err := balancer.Add(s.Webhook); err != nil {
			t.Fatal(err)
		}
	}
	replicas[0].register("killed", func(webhook *registrationv1.MutatingWebhook) {
		webhook.ClientConfig.URL = new(fmt.Sprintf("https://127.0.0.1:%d%s", balancer.Port, webhookconfig.Path))
	})
	injected(t, "killed")

	load, err := rotation.StartLoad(t.Context(), shared.Config, balancer, 100, "killed")
	if err != nil {
		t.Fatal(err)
	}
	defer load.Stop() // of a test that gave up
	// more waits for that many more pods, and returns how many of them were missed.
	more := func(pods int) (missed int) {
		before := load.SoFar()
		clustertest.Eventually(t, "more pods are created", func() bool { return load.SoFar().Created >= before.Created+pods })
		return load.SoFar().Missed - before.Missed
	}
	if missed := more(100); missed > 0 {
		t.Errorf("%d pods are missed before anything has happened", missed)
	}
	replicas[1].Kill()
	afterKill := 0
	clustertest.Eventually(t, "pods are injected again", func() bool {
		missed := more(50)
		afterKill += missed
		return missed == 0
	})
	balancer.Remove(replicas[1].Webhook)
	replicas[2].start("")
	if err := balancer.Add(replicas[2].Webhook); err != nil {
		t.Fatal(err)
	}
	if missed := more(100); missed > 0 {
		t.Errorf("%d pods are missed after the replica was replaced", missed)
	}
	result := load.Stop()
	for _, err := range result.Errors {
		t.Errorf("a pod is not created: %v", err)
	}
	t.Logf("%s, %d of the missed after the kill and before the Service knew", result, afterKill)
}

// rolloutPolicies are what two replicas have at the same time, while a new policy reaches one before the other.
var rolloutPolicies = map[string]string{
	"another ndots":         `{dns: {ndots: 4}}`,
	"another host and mode": `{serviceHost: {host: new.example.com, port: 6443}, dns: {mode: NodeLocal, ndots: 2, nodeLocal: {daemonSet: ""}}, cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}}`,
	"the node's address":    `{serviceHost: {hostFrom: NodeIP}, dns: {ndots: 3, options: [{name: use-vc}]}}`,
	"no DNS any more":       `{serviceHost: {host: api.example.com}, dns: {enabled: false}}`,
	"nothing any more":      `{mode: "Off", dns: {}}`,
	"only a trial":          `{mode: DryRun, dns: {ndots: 1}, serviceHost: {host: trial.example.com}}`,
	"half of the workloads": `{dns: {ndots: 1}, rollout: {percent: 50}}`,
}

const oldPolicy = `{serviceHost: {host: api.example.com}, dns: {ndots: 2, options: [{name: timeout, value: "1"}], extraSearches: [corp.example.com]}}`

// TestReplicasHaveDifferentPolicies takes random pods through one replica and then, as reinvocation does, through the
// other, both ways round. Whatever comes out: the API server takes the pod if it takes it without us, a further review
// changes nothing, and Undo gives the user's pod back.
func TestReplicasHaveDifferentPolicies(t *testing.T) {
	t.Parallel()
	namespace(t, "different", "none")
	before := running(t, policyOf(oldPolicy), "")
	beforeClient := before.client()
	for name, spec := range rolloutPolicies {
		t.Run(name, func(t *testing.T) {
			after := running(t, policyOf(spec), "")
			afterClient := after.client()
			const seed, pods = 7, 40
			changed, unrecorded := 0, 0
			for i := range uint64(pods) {
				pod := podgen.JSON(rand.New(rand.NewPCG(seed, i)), podgen.Pod(rand.New(rand.NewPCG(seed, i)), "different"))
				for way, replicas := range map[string][2]*server{"old, then new": {before, after}, "new, then old": {after, before}} {
					clients := map[*server]*http.Client{before: beforeClient, after: afterClient}
					once := replicas[0].reviewed(clients[replicas[0]], pod)
					twice := replicas[1].reviewed(clients[replicas[1]], once)
					if !bytes.Equal(twice, once) {
						changed++
					}
					if again := replicas[1].reviewed(clients[replicas[1]], twice); !bytes.Equal(again, twice) {
						t.Errorf("pod %d, %s: a third review changes it again:\n%s\n%s", i, way, twice, again)
					}
					if _, err := dryRun(t, "different", twice); err != nil {
						if _, without := dryRun(t, "different", pod); without == nil {
							t.Errorf("pod %d, %s: the API server takes it only without us: %v", i, way, err)
						}
					}
					switch err := checkUndo(t, pod, twice); {
					case errors.Is(err, errNoRecord):
						unrecorded++
					case err != nil:
						t.Errorf("pod %d, %s: %v", i, way, err)
					}
				}
			}
			t.Logf("%d pods both ways, %d changed by the second replica, %d without a record", pods, changed, unrecorded)
			// Each pod comes twice, and what the second replica would not give it has come out again.
			if changed == 0 || unrecorded > 3*pods/2 {
				t.Error("this has shown next to nothing")
			}
		})
	}
}

// TestReinvocationByAReplicaWithAnotherPolicy registers both replicas with the API server: it calls the one, then the other,
// and then the first again, as the second has changed the pod.
func TestReinvocationByAReplicaWithAnotherPolicy(t *testing.T) {
	t.Parallel()
	namespace(t, "reinvoked", "reinvoked")
	namespace(t, "not-reviewed", "none")
	first := running(t, policyOf(oldPolicy), "")
	second := running(t, policyOf(rolloutPolicies["another host and mode"]), "")
	same := func(webhook *registrationv1.MutatingWebhook) {
		webhook.NamespaceSelector.MatchLabels = map[string]string{namespaceLabel: "reinvoked"}
	}
	first.register("reinvoked-1", same)
	second.register("reinvoked-2", same)
	const reviews = "shorthop_review_duration_seconds_count"
	clustertest.Eventually(t, "the API server calls both", func() bool {
		injected(t, "reinvoked")
		return first.metric(reviews) > 0 && second.metric(reviews) > 0
	})

	before, unrecorded := first.metric(reviews), 0
	const seed, pods = 11, 60
	for i := range uint64(pods) {
		rng := rand.New(rand.NewPCG(seed, i))
		pod := podgen.JSON(rng, podgen.Pod(rng, "reinvoked"))
		without, err := dryRun(t, "not-reviewed", bytes.ReplaceAll(pod, []byte(`"reinvoked"`), []byte(`"not-reviewed"`)))
		if err != nil {
			continue // nobody could create it
		}
		with, err := dryRun(t, "reinvoked", pod)
		if err != nil {
			t.Errorf("pod %d: the API server takes it only without us: %v", i, err)
			continue
		}
		switch err := checkUndo(t, without, with); {
		case errors.Is(err, errNoRecord):
			unrecorded++
		case err != nil:
			t.Errorf("pod %d: %v", i, err)
		}
	}
	again := first.metric(reviews) - before - pods
	t.Logf("%d pods, %.0f reviewed a second time by the first replica, %d without a record", pods, again, unrecorded)
	if again <= 0 || unrecorded > pods/2 {
		t.Error("this has shown next to nothing")
	}
}

func policyOf(spec string) string {
	return "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: rollout}\nspec: " + spec + "\n"
}

// errNoRecord says that nothing was done to a pod or all of it came out again, or that its annotations had no room for the
// record: then what was done looks like the user's.
var errNoRecord = errors.New("the pod has no record")

// checkUndo returns nil if Undo gives the user's pod back.
func checkUndo(t *testing.T, before, after []byte) error {
	t.Helper()
	user, final := decodePod(t, before), decodePod(t, after)
	if final.Metadata.Annotations[policy.AnnotationInjected] == "" {
		return errNoRecord
	}
	// These keys are ours, whatever a user puts there.
	delete(user.Metadata.Annotations, policy.AnnotationInjected)
	delete(user.Metadata.Labels, policy.LabelPinned)
	undone := mutate.Undo(final)
	undone.Metadata.Name, undone.Metadata.Namespace = user.Metadata.Name, user.Metadata.Namespace // may be the API server's
	if diff := cmp.Diff(user, undone, cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("Undo does not give the pod back (-user +undone):\n%s", diff)
	}
	return nil
}

// reviewed is a pod as it is after a review.
func (s *server) reviewed(client *http.Client, pod []byte) []byte {
	s.Helper()
	review := `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1",` +
		`"resource":{"group":"","version":"v1","resource":"pods"},"operation":"CREATE","namespace":"different","object":` + string(pod) + `}}`
	answer, err := s.post(s.Context(), client, review)
	if err != nil {
		s.Fatal(err)
	}
	if len(answer.Patch) == 0 {
		return pod
	}
	patch, err := jsonpatch.DecodePatch(answer.Patch)
	if err != nil {
		s.Fatal(err)
	}
	patched, err := patch.Apply(pod)
	if err != nil {
		s.Fatalf("the patch %s does not apply: %v", answer.Patch, err)
	}
	return patched
}

func decodePod(t *testing.T, text []byte) *policy.Pod {
	t.Helper()
	pod := new(policy.Pod)
	jsontest.Unmarshal(t, text, pod)
	return pod
}

// dryRun asks the API server what it would make of a pod.
func dryRun(t *testing.T, namespace string, pod []byte) ([]byte, error) {
	t.Helper()
	result := shared.Client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").
		Param("dryRun", metav1.DryRunAll).SetHeader("Content-Type", "application/json").Body(pod).
		WarningHandler(rest.NoWarnings{}). // the pods have fields that no version knows
		Do(t.Context())
	return result.Raw()
}
