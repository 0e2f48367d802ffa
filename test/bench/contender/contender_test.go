package contender_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/shorthop/shorthop/test/bench/contender"
)

// That null and conventional do what they should is shown where they are compared: internal/admission.

func TestConstant(t *testing.T) {
	t.Parallel()
	const review = `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"one","object":{"metadata":{"uid":"two"}}}}`
	for name, patch := range map[string]string{"a patch": `[{"op":"add","path":"/metadata/labels","value":{}}]`, "no patch": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recorder := httptest.NewRecorder()
			contender.Constant([]byte(patch)).ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(review)))
			var got admissionv1.AdmissionReview
			if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
				t.Fatalf("%v: %s", err, recorder.Body)
			}
			want := &admissionv1.AdmissionResponse{UID: "one", Allowed: true}
			if patch != "" {
				want.Patch, want.PatchType = []byte(patch), new(admissionv1.PatchTypeJSONPatch)
			}
			if diff := cmp.Diff(want, got.Response); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	recorder := httptest.NewRecorder()
	contender.Constant(nil).ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}")))
	if recorder.Code != http.StatusBadRequest {
		t.Errorf("a body without a UID is answered with %d", recorder.Code)
	}
}
