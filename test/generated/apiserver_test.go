package generated_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/podgen"
)

const (
	// settingLabel selects the namespaces of a policy.
	settingLabel        = "example.com/policy"
	namespacesPerPolicy = 4
	// parallel is how many pods are under way.
	parallel = 6
)

// site is a namespace that no webhook selects, and namespaces where the policies hold.
type site struct {
	name   string
	bare   string
	places []*place
	labels namespaceLabels
}

// place is a policy with a namespace where it holds.
type place struct {
	*setting
	namespace string
	reviewer  reviewer
	calls     *atomic.Int64
	handler   http.Handler
}

// newSite creates namespaces for each policy, one without labels of ours and the others with any. No webhook is registered
// yet.
func newSite(t *testing.T, name string) *site {
	t.Helper()
	s := &site{name: name, bare: name + "-bare", labels: namespaceLabels{}}
	s.labels[s.bare] = nil
	rng := source(-1)
	for i := range settings {
		setting := &settings[i]
		ours, calls := setting.handler(t, s.labels), new(atomic.Int64)
		asked := serve(t, ours)
		counted := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			calls.Add(1)
			ours.ServeHTTP(w, req)
		})
		for n := range namespacesPerPolicy {
			var drawn map[string]string
			if n > 0 {
				drawn = podgen.NamespaceLabels(rng)
			}
			namespace := fmt.Sprintf("%s-%s-%d", name, setting.name, n)
			s.labels[namespace] = map[string]string{settingLabel: s.selected(setting)}
			maps.Copy(s.labels[namespace], drawn)
			s.places = append(s.places, &place{setting, namespace, asked, calls, counted})
		}
	}
	for namespace, labels := range s.labels {
		if err := shared.CreateNamespace(t.Context(), namespace, labels); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// selected is the value of settingLabel in the namespaces of a policy.
func (s *site) selected(of *setting) string { return s.name + "-" + of.name }

// calls is how often the API server has asked in all.
func (s *site) calls() (n int64) {
	counted := map[*setting]int64{}
	for _, p := range s.places {
		counted[p.setting] = p.calls.Load()
	}
	for _, calls := range counted {
		n += calls
	}
	return n
}

// register registers a webhook for each policy and returns once the API server calls them all.
func (s *site) register(t *testing.T) {
	t.Helper()
	for _, p := range s.places {
		if p.calls.Load() > 0 {
			continue // the policy's first namespace has seen to it
		}
		server, caBundle := serveTLS(t, p.handler)
		config := webhookconfig.New(p.document(), webhookconfig.Options{Name: s.selected(p.setting), OwnNamespace: "shorthop", URL: server.URL, CABundle: caBundle})
		for i := range config.Webhooks {
			webhook := &config.Webhooks[i]
			webhook.NamespaceSelector.MatchLabels = map[string]string{settingLabel: s.selected(p.setting)}
			// A call that fails must not pass for a pod that needs nothing.
			webhook.FailurePolicy = new(admissionv1.Fail)
			webhook.TimeoutSeconds = new(int32(30))
		}
		s.add(t, config, p.namespace, p.calls)
	}
}

// serveTLS serves a webhook with a certificate of its own.
func serveTLS(t *testing.T, handler http.Handler) (server *httptest.Server, caBundle []byte) {
	t.Helper()
	pair, caBundle := clustertest.ServingCert(t, "127.0.0.1")
	server = httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, caBundle
}

// add registers webhooks until the test ends, and returns once the API server calls them for a pod in the namespace.
func (s *site) add(t *testing.T, config *admissionv1.MutatingWebhookConfiguration, namespace string, calls *atomic.Int64) {
	t.Helper()
	if err := cluster.RegisterWebhook(t.Context(), shared.Client, config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's context has ended by now.
		if err := shared.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(
			context.WithoutCancel(t.Context()), config.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	err := cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "trial"},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
		}
		_, err := shared.Client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return calls.Load() > 0, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// newClient returns a client for JSON as it is.
func newClient(t *testing.T) rest.Interface {
	t.Helper()
	config := rest.CopyConfig(shared.Config)
	config.WarningHandler = rest.NoWarnings{} // pods have fields that no version knows, and deprecated ones
	client := clustertest.Client(t, config)
	return client.CoreV1().RESTClient()
}

// send sends a request and returns the answer, an error with what the API server says of it.
func send(ctx context.Context, r *rest.Request) ([]byte, error) {
	body, err := r.Param("dryRun", metav1.DryRunAll).Do(ctx).Raw()
	if err == nil {
		return body, nil
	}
	var status metav1.Status
	if json.Unmarshal(body, &status) != nil || status.Message == "" {
		return nil, err
	}
	return nil, &apierrors.StatusError{ErrStatus: status}
}

// TestPodsAtAPIServer creates every pod twice, as a trial: in a namespace that no webhook selects, and in one where a
// policy holds. What the API server would store must differ by nothing but what we recorded; a pod that the filter of the
// webhook configuration keeps from us must be one that we would not have changed.
func TestPodsAtAPIServer(t *testing.T) {
	logReplay(t)
	s := newSite(t, "create")
	s.register(t)
	client := newClient(t)
	tally, all := newTally(t), newCoverage()
	asked := s.calls()
	eachPod(t, *podCount, tally, func(i int) { create(t.Context(), client, s.bare, s.places[i%len(s.places)], i, tally, all) })
	if asked = s.calls() - asked; asked > int64(*podCount) {
		t.Errorf("the API server asks %d times about %d pods, want at most once about each", asked, *podCount)
	}

	t.Logf("the API server asks about %d of %d pods", asked, *podCount)
	t.Logf("kube-apiserver v1.%d: %v", serverVersion, all)
	t.Logf("fields that it drops, without us too: %v", all.dropped())
	// The newest server knows every field, so none may be missing once there are enough pods.
	const enough = 3000
	if serverVersion >= newestOfAPI && *podCount >= enough && len(all.dropped()) > 0 {
		t.Errorf("the server drops fields that it is meant to have: is there a feature gate that gates lacks?")
	}
}

// create tries one pod without us and with us.
func create(ctx context.Context, client rest.Interface, bare string, p *place, number int, tally *tally, fields *coverage) {
	rng := source(number)
	pod := podgen.Full(rng, p.namespace)
	manifest, err := json.Marshal(pod)
	if err != nil {
		panic(err) // a pod can be marshalled
	}
	if rng.IntN(4) == 0 {
		manifest = podgen.JSON(rng, pod)
	}
	add := func(what outcome, err error) { tally.add(p.setting, what, number, err) }
	add(created, nil)

	post := func(namespace string) ([]byte, error) {
		return send(ctx, client.Post().Namespace(namespace).Resource("pods").Body(inNamespace(manifest, namespace)))
	}
	plain, plainErr := post(bare)
	after, afterErr := post(p.namespace)
	if !bothAccepted(plainErr, afterErr, add) {
		return
	}
	if err := fields.count(pod, plain, ""); err != nil {
		add(notAsked, err)
		return
	}
	p.check(ctx, plain, request{namespace: p.namespace, object: after}, add)
}

// bothAccepted reports whether a pod is accepted without us and with us, and counts it where it is not.
func bothAccepted(plain, after error, add func(outcome, error)) bool {
	switch {
	case plain == nil && after == nil:
		return true
	case plain != nil && after != nil && serverVersion < oldestOfGenerator && apierrors.IsInvalid(plain):
		add(refusedAlike, nil)
	case plain != nil && after != nil:
		add(notAsked, fmt.Errorf("not accepted without us either: %w", plain))
	case plain != nil && serverVersion < oldestOfGenerator && strings.Contains(plain.Error(), "metadata.annotations: Too long"):
		// These servers add an annotation for AppArmor, for which the pod has no room, unless a record that it came with
		// is replaced by a shorter one.
		add(refusedAlike, nil)
	case plain != nil:
		add(allowedByUs, plain)
	default:
		add(refusedByUs, after)
	}
	return false
}

// check compares what the API server made of a pod without us and with us, and asks for a second review. It returns
// nothing found where something is wrong.
func (p *place) check(ctx context.Context, plain []byte, after request, add func(outcome, error)) found {
	a, errA := comparablePod(plain)
	b, errB := comparablePod(after.object)
	if err := errors.Join(errA, errB); err != nil {
		add(notAsked, err)
		return found{}
	}
	var result found
	var err error
	if len(after.oldObject) > 0 {
		result, err = p.compareEphemeral(a, b)
	} else {
		result, err = p.compare(p.namespace, a, b)
	}
	if err != nil {
		add(valueChanged, err)
		return found{}
	}
	again, err := p.reviewer.patch(ctx, after)
	switch {
	case err != nil:
		add(notAsked, err)
		return found{}
	case len(again) > 0:
		add(notAgain, fmt.Errorf("a second review gives %s", again))
		return found{}
	}
	if !result.changed {
		return result
	}
	add(patched, nil)
	switch {
	case len(after.oldObject) > 0: // has no record by design
	case !result.recorded:
		add(unrecorded, nil)
	default:
		if err := checkUndo(plain, after.object); err != nil {
			add(notUndone, err)
		}
	}
	return result
}

// inNamespace returns a manifest with another namespace.
func inNamespace(manifest []byte, namespace string) []byte {
	pod, err := decode(manifest)
	if err != nil {
		panic(err) // podgen has written it
	}
	dict(pod, "metadata")["namespace"] = namespace
	moved, err := json.Marshal(pod)
	if err != nil {
		panic(err)
	}
	return moved
}

// TestEphemeralContainersAtAPIServer adds containers to running pods, as trials, without us and with us.
func TestEphemeralContainersAtAPIServer(t *testing.T) {
	logReplay(t)
	const podsPerNamespace = 3
	s := newSite(t, "debug")
	client := newClient(t)

	// They are there before the webhooks are, so that they are the same everywhere.
	type pair struct {
		drawn       *corev1.Pod
		bare, there []byte
	}
	pods := map[*place][]pair{}
	for n, p := range s.places {
		for i := range podsPerNamespace {
			drawn := podgen.Full(source(n*podsPerNamespace+i), p.namespace)
			drawn.Name, drawn.GenerateName = fmt.Sprintf("pod-%d-%d", n, i), ""
			manifest := jsontest.Marshal(t, drawn)
			post := func(namespace string) ([]byte, error) {
				return client.Post().Namespace(namespace).Resource("pods").Body(inNamespace(manifest, namespace)).Do(t.Context()).Raw()
			}
			without, err := post(s.bare)
			if apierrors.IsInvalid(err) && serverVersion < oldestOfGenerator {
				continue
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, manifest)
			}
			there, err := post(p.namespace)
			if err != nil {
				t.Fatal(err)
			}
			pods[p] = append(pods[p], pair{drawn, without, there})
		}
	}
	s.register(t)

	const most = 1000
	tally, fields := newTally(t), newCoverage()
	eachPod(t, min(*podCount, most), tally, func(i int) {
		p := s.places[i%len(s.places)]
		if len(pods[p]) == 0 {
			return
		}
		base := pods[p][i/len(s.places)%len(pods[p])]
		add := func(what outcome, err error) { tally.add(p.setting, what, i, err) }
		add(created, nil)

		rng := source(i)
		var containers []corev1.EphemeralContainer
		for n := range 1 + rng.IntN(3) {
			containers = append(containers, podgen.EphemeralContainer(rng, base.drawn, fmt.Sprintf("debug-%d", n)))
		}
		put := func(namespace string, stored []byte) ([]byte, error) {
			return send(t.Context(), client.Put().Namespace(namespace).Resource("pods").Name(base.drawn.Name).SubResource("ephemeralcontainers").
				Body(withEphemeral(stored, containers)))
		}
		plain, plainErr := put(s.bare, base.bare)
		after, afterErr := put(p.namespace, base.there)
		if !bothAccepted(plainErr, afterErr, add) {
			return
		}
		if err := fields.count(&corev1.Pod{Spec: corev1.PodSpec{EphemeralContainers: containers}}, plain, "spec.ephemeralContainers"); err != nil {
			add(notAsked, err)
			return
		}
		p.check(t.Context(), plain, request{p.namespace, after, base.there}, add)
	})
	t.Logf("kube-apiserver v1.%d: %v", serverVersion, fields)
	t.Logf("fields that it drops, without us too: %v", fields.dropped())
}

// withEphemeral adds containers to a stored pod.
func withEphemeral(stored []byte, containers []corev1.EphemeralContainer) []byte {
	pod, err := decode(stored)
	if err != nil {
		panic(err) // an API server has written it
	}
	dict(pod, "spec")["ephemeralContainers"] = containers
	encoded, err := json.Marshal(pod)
	if err != nil {
		panic(err)
	}
	return encoded
}
