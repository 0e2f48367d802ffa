package generated_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/test/podgen"
)

// editLabel chooses what the other webhook does to a pod.
const editLabel = "example.com/edit"

// otherWebhookEdits are what webhooks that come after ours are known to do, each a change of spec that does not depend on
// us. After each of them a pod must be as if the other webhook had come first, unless lost is true.
var otherWebhookEdits = []struct {
	name string
	do   func(spec object)
	// lost is for a dnsConfig of the other webhook's that takes the place of ours. dnsPolicy None, if it was ours, is not
	// told from the other's then, and stays.
	lost bool
}{
	{"prepends variables", func(spec object) {
		eachContainer(spec, func(c object) {
			c["env"] = slices.Concat([]any{object{"name": "FIRST", "value": "$(KUBERNETES_SERVICE_HOST)"}}, list(c, "env"))
		})
	}, false},
	{"reorders variables", func(spec object) {
		eachContainer(spec, func(c object) {
			if env := list(c, "env"); len(env) > 0 {
				slices.Reverse(env)
			}
		})
	}, false},
	{"replaces dnsConfig without nameservers", func(spec object) {
		spec["dnsConfig"] = object{"options": []any{object{"name": "ndots", "value": "7"}}}
	}, false},
	{"replaces dnsConfig", func(spec object) {
		spec["dnsConfig"] = object{"nameservers": []any{"192.0.2.53"}, "options": []any{object{"name": "ndots", "value": "7"}}}
	}, true},
	{"moves the pod to a virtual node", func(spec object) {
		selector := dict(spec, "nodeSelector")
		if selector == nil {
			selector = object{}
			spec["nodeSelector"] = selector
		}
		selector["type"] = "virtual-kubelet"
	}, false},
	{"adds a sidecar", func(spec object) {
		spec["containers"] = append(list(spec, "containers"), object{"name": "added-by-the-other", "image": "example.com/proxy"})
	}, false},
}

func eachContainer(spec object, do func(container object)) {
	for _, kind := range []string{"initContainers", "containers"} {
		for _, container := range objects(spec, kind) {
			do(container)
		}
	}
}

// otherWebhook answers reviews with the edit that the pod's label chooses.
func otherWebhook(calls *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		calls.Add(1)
		body, err := io.ReadAll(req.Body)
		var review admissionv1.AdmissionReview
		if err == nil {
			err = json.Unmarshal(body, &review)
		}
		if err != nil || review.Request == nil {
			http.Error(w, fmt.Sprint("not a review: ", err), http.StatusBadRequest)
			return
		}
		response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		pod, err := decode(review.Request.Object.Raw)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if n, err := strconv.Atoi(text(dict(dict(pod, "metadata"), "labels"), editLabel)); err == nil {
			spec := dict(pod, "spec")
			otherWebhookEdits[n].do(spec)
			patch, err := json.Marshal([]object{{"op": "replace", "path": "/spec", "value": spec}})
			if err != nil {
				panic(err) // it was decoded
			}
			response.Patch, response.PatchType = patch, new(admissionv1.PatchTypeJSONPatch)
		}
		review.Request, review.Response = nil, response
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	})
}

// registerOther registers the other webhook for all the namespaces, so that it is called after ours.
func (s *site) registerOther(t *testing.T) {
	t.Helper()
	calls := new(atomic.Int64)
	server, caBundle := serveTLS(t, otherWebhook(calls))
	namespaces := []string{s.bare}
	for _, p := range s.places {
		namespaces = append(namespaces, p.namespace)
	}
	config := &registrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "zz-other"}, // webhooks are called in the order of their names
		Webhooks: []registrationv1.MutatingWebhook{{
			Name:         "other.example.com",
			ClientConfig: registrationv1.WebhookClientConfig{URL: new(server.URL), CABundle: caBundle},
			Rules: []registrationv1.RuleWithOperations{{
				Operations: []registrationv1.OperationType{registrationv1.Create},
				Rule:       registrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpIn, Values: namespaces},
			}},
			FailurePolicy:           new(registrationv1.Fail),
			SideEffects:             new(registrationv1.SideEffectClassNone),
			TimeoutSeconds:          new(int32(30)),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
	s.add(t, config, s.bare, calls)
}

// TestPodsBesideAnotherWebhookAtAPIServer creates every pod twice, as a trial: where another webhook edits it, and where
// it edits it between two reviews of ours. What the API server would store must differ by nothing but what we recorded.
func TestPodsBesideAnotherWebhookAtAPIServer(t *testing.T) {
	logReplay(t)
	s := newSite(t, "beside")
	s.register(t)
	s.registerOther(t)
	client := newClient(t)
	tally, lost := newTally(t), new(atomic.Int64)
	eachPod(t, *podCount, tally, func(i int) {
		if s.createBeside(t.Context(), client, i, tally) {
			lost.Add(1)
		}
	})
	t.Logf("%d pods lost node-local DNS to a dnsConfig of the other webhook's", lost.Load())
}

// createBeside tries one pod without us and with us. It says whether dnsPolicy None is left of what we did to DNS.
func (s *site) createBeside(ctx context.Context, client rest.Interface, number int, tally *tally) (lost bool) {
	p := s.places[number%len(s.places)]
	edit := number / len(s.places) % len(otherWebhookEdits)
	rng := source(number)
	pod := podgen.Full(rng, p.namespace)
	if pod.Spec.DNSPolicy == corev1.DNSNone && otherWebhookEdits[edit].name == "replaces dnsConfig without nameservers" {
		edit++ // the API server refuses None without one
	}
	// What is not recorded for want of room counts as the user's in the second review.
	delete(pod.Annotations, "example.com/padding")
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels[editLabel] = strconv.Itoa(edit)
	manifest, err := json.Marshal(pod)
	if err != nil {
		panic(err) // a pod can be marshalled
	}
	add := func(what outcome, err error) {
		if err != nil {
			err = fmt.Errorf("the other webhook %s: %w", otherWebhookEdits[edit].name, err)
		}
		tally.add(p.setting, what, number, err)
	}
	add(created, nil)
	post := func(namespace string) ([]byte, error) {
		return send(ctx, client.Post().Namespace(namespace).Resource("pods").Body(inNamespace(manifest, namespace)))
	}
	plain, plainErr := post(s.bare)
	after, afterErr := post(p.namespace)
	if !bothAccepted(plainErr, afterErr, add) {
		return false
	}
	a, errA := comparablePod(plain)
	b, errB := comparablePod(after)
	if err := errors.Join(errA, errB); err != nil {
		add(notAsked, err)
		return false
	}
	none := func(pod object) bool { return text(dict(pod, "spec"), "dnsPolicy") == string(corev1.DNSNone) }
	record := text(dict(dict(b, "metadata"), "annotations"), recordKey)
	if !otherWebhookEdits[edit].lost || none(a) || !none(b) || strings.Contains(record, `"dns":"NodeLocal"`) {
		p.check(ctx, plain, request{namespace: p.namespace, object: after}, add)
		return false
	}
	if text(dict(dict(b, "metadata"), "labels"), pinnedKey) != "" {
		add(valueChanged, fmt.Errorf("the label %s is left of DNS that is the other webhook's", pinnedKey))
	}
	dict(b, "spec")["dnsPolicy"] = dict(a, "spec")["dnsPolicy"]
	if _, err := p.compare(p.namespace, a, b); err != nil {
		add(valueChanged, err)
	}
	return true
}
