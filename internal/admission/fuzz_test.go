package admission_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"

	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/podgen"
)

// FuzzReview sends any body. Under onError Allow:
//
//   - There is no panic and no 5xx: a body is answered or refused.
//   - What is answered is allowed, with the UID that was asked about.
//   - Every body is answered from which the API server's own first members,
//     kind, apiVersion and request.uid, can be read, unless its namespace is none
//     that an API server can have.
//   - Any patch applies to the object, and the patched object gets no other.
//
// The last is wanted of canonical reviews only: those that an API server can
// send, which encodes typed pods. In them metadata and spec are objects, lists
// have no null entries, names differ and are in their own case. The body is
// made canonical first, as the API server does with what its clients send.
func FuzzReview(f *testing.F) {
	for _, seed := range fuzzSeeds(f) {
		f.Add(seed)
	}
	servers := []*server{
		newServer(f, policyNodeLocal),
		newServer(f, `
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: fuzz}
spec:
  cluster: {domain: cluster.local}
  serviceHost: {hostFrom: NodeIP, port: 6443}
  dns: {options: [{name: use-vc}], nodeLocal: {servers: [169.254.20.10]}}
`),
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		uid, readable := readUID(body)
		canonical := canonicalReview(body)
		for _, s := range servers {
			recorder := s.post(body)
			switch recorder.Code {
			case http.StatusOK:
				response := decodeReview(t, recorder.Body.Bytes()).Response
				if !response.Allowed {
					t.Errorf("not allowed: %v", response.Result)
				}
				if readable && string(response.UID) != uid {
					t.Errorf("answer to %q is for %q", uid, response.UID)
				}
			case http.StatusBadRequest:
				if readable && !strings.HasPrefix(recorder.Body.String(), "request.namespace is not a DNS label") {
					t.Errorf("review %q is refused: %s", uid, recorder.Body)
				}
			default:
				t.Errorf("status %d: %s", recorder.Code, recorder.Body)
			}
			if canonical != nil {
				checkPatch(t, s, canonical)
			}
		}
	})
}

// checkPatch reviews a canonical review, and the object that comes out of it.
func checkPatch(t *testing.T, s *server, review *admissionv1.AdmissionReview) {
	t.Helper()
	patch := postTyped(t, s, review).Patch
	if len(patch) == 0 {
		return
	}
	again := review.DeepCopy()
	again.Request.Object.Raw = apply(t, review.Request.Object.Raw, patch)
	if second := postTyped(t, s, again).Patch; len(second) > 0 {
		t.Errorf("a second review has a patch: %s\nthe first: %s", second, patch)
	}
}

func postTyped(t testing.TB, s *server, review *admissionv1.AdmissionReview) *admissionv1.AdmissionResponse {
	t.Helper()
	body := jsontest.Marshal(t, review)
	recorder := s.post(body)
	if recorder.Code != http.StatusOK {
		t.Fatalf("status %d: %s\n%s", recorder.Code, recorder.Body, body)
	}
	return decodeReview(t, recorder.Body.Bytes()).Response
}

// canonicalReview is the review as an API server would send it, nil where the
// body is no review of a pod.
func canonicalReview(body []byte) *admissionv1.AdmissionReview {
	var review admissionv1.AdmissionReview
	if kjson.UnmarshalCaseSensitivePreserveInts(body, &review) != nil || review.Request == nil ||
		review.Kind != "AdmissionReview" || review.APIVersion != "admission.k8s.io/v1" || review.Request.UID == "" {
		return nil
	}
	if len(validation.IsDNS1123Label(review.Request.Namespace)) > 0 {
		return nil
	}
	for _, object := range []*[]byte{&review.Request.Object.Raw, &review.Request.OldObject.Raw} {
		if len(*object) == 0 || bytes.Equal(*object, []byte("null")) {
			continue
		}
		var pod corev1.Pod
		if kjson.UnmarshalCaseSensitivePreserveInts(*object, &pod) != nil {
			return nil
		}
		encoded, err := json.Marshal(&pod)
		if err != nil {
			return nil
		}
		*object = encoded
	}
	if len(review.Request.Object.Raw) == 0 && review.Request.Operation != admissionv1.Delete {
		return nil
	}
	return &review
}

// readUID reads the UID of a body that begins as the API server begins a
// review and does not say anything of that again later. A review behind which
// something follows is none.
func readUID(body []byte) (uid string, readable bool) {
	decoder := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	var begin [9]jsontext.Token
	for i := range begin {
		token, err := decoder.ReadToken()
		if err != nil {
			return "", false
		}
		begin[i] = token.Clone()
	}
	version := begin[4].String()
	for i, want := range []string{"{", "kind", "AdmissionReview", "apiVersion", version, "request", "{", "uid"} {
		if begin[i].String() != want {
			return "", false
		}
	}
	if version != "admission.k8s.io/v1" && version != "admission.k8s.io/v1beta1" || begin[8].Kind() != '"' || begin[8].String() == "" || len(begin[8].String()) > 253 {
		return "", false
	}
	for {
		ended := decoder.StackDepth() == 0
		token, err := decoder.ReadToken()
		if ended && !errors.Is(err, io.EOF) {
			return "", false
		}
		if err != nil {
			return begin[8].String(), true // the fault, or the end, comes after the UID
		}
		if kind, length := decoder.StackIndex(decoder.StackDepth()); kind != '{' || length%2 == 0 {
			continue // not a name
		}
		switch decoder.StackDepth() {
		case 1:
			if name := token.String(); name == "kind" || name == "apiVersion" || name == "request" {
				return "", false
			}
		case 2:
			if decoder.StackPointer() == "/request/uid" {
				return "", false
			}
		}
	}
}

// fuzzSeeds are the captured review, variants of it, and reviews of random
// pods.
func fuzzSeeds(t testing.TB) [][]byte {
	captured := capturedReview(t)
	seeds := [][]byte{
		captured,
		captured[:len(captured)/2],
		edited(t, "admission.k8s.io/v1", "admission.k8s.io/v1beta1"),
		edited(t, `"operation":"CREATE"`, `"operation":"UPDATE"`),
		edited(t, `"operation":"CREATE"`, `"operation":"DELETE"`, `"object":{`, `"object":null,"oldObject":{`, `"oldObject":null,`, ``),
		edited(t, `"resource":"pods"`, `"resource":"pods"},"subResource":"ephemeralcontainers","x":{`, `"operation":"CREATE"`, `"operation":"UPDATE"`,
			`"dnsPolicy":"ClusterFirst"`, `"ephemeralContainers":[{"name":"debug"}]`, `"oldObject":null`, `"oldObject":{"metadata":{},"spec":{}}`),
		edited(t, `"env":[{"name":"A","value":"b"}]`, `"env":null`, `"labels":{`, `"labels":null,"was":{`, `"dnsPolicy":"ClusterFirst"`, `"dnsConfig":{"options":[{}],"searches":null}`),
		edited(t, `"app":"web"`, `"app":"web","shorthop.dev/inject":"disabled","shorthop.dev/dns":"true","shorthop.dev/pinned":"x"`),
		edited(t, `"prometheus.io/port":"8080"`, `"shorthop.dev/ndots":"1","shorthop.dev/dns-mode":"NodeLocal","shorthop.dev/dns-options":"timeout:1 use-vc","shorthop.dev/injected":"{}"`),
		[]byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"1","resource":{"resource":"pods"},"operation":"CREATE","namespace":"a","object":{"metadata":{},"spec":{"containers":[{"name":"a"}]}}}}`),
		[]byte(`{}`),
		[]byte(`null`),
	}
	review := decodeReview(t, captured)
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 0))
		review.Request.Object.Raw = podgen.JSON(rng, podgen.Pod(rng, review.Request.Namespace))
		body := jsontest.Marshal(t, review)
		seeds = append(seeds, body)
	}
	first := newServer(t, policyNodeLocal).post(captured)
	review = decodeReview(t, captured)
	review.Request.Object.Raw = apply(t, review.Request.Object.Raw, decodeReview(t, first.Body.Bytes()).Response.Patch)
	body := jsontest.Marshal(t, review)
	return append(seeds, body)
}

// TestRandomPods wants the same of pods that a fuzzer of bytes hardly ever
// finds: valid ones, written as people write them.
func TestRandomPods(t *testing.T) {
	t.Parallel()
	s := newServer(t, policyNodeLocal)
	patches := 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		review := decodeReview(t, capturedReview(t))
		review.Request.Object.Raw = podgen.JSON(rng, podgen.Pod(rng, review.Request.Namespace))
		if response := postTyped(t, s, review); !response.Allowed {
			t.Errorf("seed %d: not allowed: %v", seed, response.Result)
		} else if len(response.Patch) > 0 {
			patches++
		}
		checkPatch(t, s, review)
	}
	if patches < 50 {
		t.Errorf("only %d of the pods are patched", patches)
	}
}

// TestFuzzOracles keeps the fuzzer from proving nothing.
func TestFuzzOracles(t *testing.T) {
	t.Parallel()
	captured := capturedReview(t)
	patch := postTyped(t, newServer(t, policyNodeLocal), canonicalReview(captured)).Patch
	if want := goldenPatch(t); !bytes.Equal(patch, want) {
		t.Errorf("patch of the canonical review is %s, want %s", patch, want)
	}
	for name, test := range map[string]struct {
		body []byte
		want bool
	}{
		"captured":                 {captured, true},
		"cut after the UID":        {append(capturedUpTo(t, capturedUID), capturedUID+`"`...), true},
		"cut within the UID":       {append(capturedUpTo(t, capturedUID), capturedUID[0]), false},
		"a second UID":             {edited(t, `"dryRun":false`, `"uid":"b"`), false},
		"a second kind":            {edited(t, `{"kind":"AdmissionReview"`, `{"kind":"AdmissionReview","kind":"x"`), false},
		"a second kind at the end": {append(captured[:len(captured)-1:len(captured)-1], `,"kind":"x"}`...), false},
		"a UID of an owner":        {edited(t, `"spec":{`, `"uid":"b","spec":{`), true},
	} {
		if uid, got := readUID(test.body); got != test.want || got && uid != capturedUID {
			t.Errorf("%s: got %q, %t; want %t", name, uid, got, test.want)
		}
	}
}
