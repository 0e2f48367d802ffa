package podlist_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/podlist"
)

// answer is what the API server says to one request for a page.
type answer struct {
	status int
	body   string
}

const (
	firstPage = `{"kind":"PodList","metadata":{"resourceVersion":"1","continue":"second","remainingItemCount":2},"items":[
{"metadata":{"name":"a","namespace":"shop","creationTimestamp":"2026-01-02T03:04:05Z","managedFields":[{"f:x":{}}]},"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"1"}]}],"nodeName":"n"},"status":{"phase":"Running"}},
{"metadata":{"name":"b","namespace":"shop","deletionTimestamp":"2026-01-02T03:04:05Z"},"status":{"phase":"Running"}}]}`
	secondPage = `{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[
{"metadata":{"name":"c","namespace":"batch"},"status":{"phase":"Succeeded"}},
{"metadata":{"name":"d","namespace":"kube-system","annotations":{"kubernetes.io/config.mirror":"x"}},"status":{"phase":"Failed"}}]}`
)

// expired is what the API server says to a token that it does not keep a list for any more.
func expired(further string) answer {
	body, _ := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, ListMeta: metav1.ListMeta{Continue: further},
		Status: metav1.StatusFailure, Reason: metav1.StatusReasonExpired, Code: http.StatusGone, Message: "expired",
	})
	return answer{http.StatusGone, string(body)}
}

// serve answers requests by their token, each answer once.
func serve(t *testing.T, answers map[string][]answer) rest.Interface {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.URL.Query().Get("continue")
		if r.URL.Path != "/api/v1/namespaces/shop/pods" || r.URL.Query().Get("limit") != "500" || len(answers[token]) == 0 {
			t.Errorf("unexpected request %s", r.URL)
			http.Error(w, "", http.StatusTeapot)
			return
		}
		next := answers[token][0]
		answers[token] = answers[token][1:]
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(next.status)
		fmt.Fprint(w, next.body)
	}))
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return client.CoreV1().RESTClient()
}

func TestRead(t *testing.T) {
	t.Parallel()
	first, second := answer{http.StatusOK, firstPage}, answer{http.StatusOK, secondPage}
	for name, test := range map[string]struct {
		answers      map[string][]answer
		want         string
		inconsistent bool
		err          string
	}{
		"two pages": {
			map[string][]answer{"": {first}, "second": {second}},
			"a b  2+2 c d  4+0 ", false, "",
		},
		"no pods": {
			map[string][]answer{"": {{http.StatusOK, `{"metadata":{},"items":[]}`}}},
			" 0+0 ", false, "",
		},
		"a list that has expired goes on as it is now": {
			map[string][]answer{"": {first}, "second": {expired("further")}, "further": {second}},
			"a b  2+2 c d  4+0 ", true, "",
		},
		"a list that expires twice in a row": {
			map[string][]answer{"": {first}, "second": {expired("further")}, "further": {expired("further")}},
			"a b  2+2 ", true, "list pods: expired",
		},
		"a list that has expired without a way to go on": {
			map[string][]answer{"": {first}, "second": {expired("")}},
			"a b  2+2 ", false, "list pods: expired",
		},
		"an answer that breaks off": {
			map[string][]answer{"": {{http.StatusOK, firstPage[:len(firstPage)-80]}}},
			"a ", false, "list pods: ",
		},
		"something else than a list": {
			map[string][]answer{"": {{http.StatusOK, `{"items":"none"}`}}},
			"", false, "list pods: ",
		},
		"not allowed": {
			map[string][]answer{"": {{http.StatusForbidden, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"may not"}`}}},
			"", false, "list pods: may not",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got strings.Builder
			reader := podlist.Reader[audit.Pod]{Client: serve(t, test.answers), Page: func(_ context.Context, read, left int) error {
				fmt.Fprintf(&got, " %d+%d ", read, left)
				return nil
			}}
			consistent, err := reader.Read(t.Context(), "shop", func(pod *audit.Pod) { got.WriteString(pod.Metadata.Name + " ") })
			if diff := cmp.Diff(test.want, got.String()); diff != "" {
				t.Errorf("pods, and how many are read and left (-want +got):\n%s", diff)
			}
			if consistent == test.inconsistent {
				t.Errorf("consistent is %t", consistent)
			}
			if (err == nil) != (test.err == "") || err != nil && !strings.HasPrefix(err.Error(), test.err) {
				t.Errorf("the error is %v, want one that begins with %q", err, test.err)
			}
		})
	}
}

func TestReadEndsWhereItIsAskedTo(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	reader := podlist.Reader[audit.Pod]{
		Client: serve(t, map[string][]answer{"": {{http.StatusOK, firstPage}}}),
		Page:   func(context.Context, int, int) error { return enough },
	}
	if _, err := reader.Read(t.Context(), "shop", func(*audit.Pod) {}); !errors.Is(err, enough) {
		t.Errorf("the error is %v", err)
	}
}

// What audit reads of a pod, and which pods it leaves out.
func TestPodOfAudit(t *testing.T) {
	t.Parallel()
	reader := podlist.Reader[audit.Pod]{Client: serve(t, map[string][]answer{"": {{http.StatusOK, firstPage}}, "second": {{http.StatusOK, secondPage}}})}
	pods := map[string]*audit.Pod{}
	if _, err := reader.Read(t.Context(), "shop", func(pod *audit.Pod) { pods[pod.Metadata.Name] = pod }); err != nil {
		t.Fatal(err)
	}
	a := pods["a"]
	if got := a.Pod.Metadata.Namespace + "/" + a.Pod.Metadata.Name + " " + a.Spec.Containers[0].Env[0].Name; got != "shop/a A" {
		t.Errorf("the pod is %s", got)
	}
	if want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC); !a.Metadata.CreationTimestamp.Equal(want) {
		t.Errorf("created %s, want %s", a.Metadata.CreationTimestamp, want)
	}
	// With what separates it from what comes before.
	if size := strings.Index(firstPage, `,
{"metadata":{"name":"b"`) - strings.Index(firstPage, `{"metadata":{"name":"a"`); a.Size < size || a.Size > size+2 {
		t.Errorf("the size is %d, want %d", a.Size, size)
	}
	got := map[string]audit.LeftOut{}
	for name, pod := range pods {
		got[name] = pod.LeftOut()
	}
	want := map[string]audit.LeftOut{"a": "", "b": audit.LeftOutDeleting, "c": audit.LeftOutFinished, "d": audit.LeftOutMirror}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("left out (-want +got):\n%s", diff)
	}
}
