package faults_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/jsontest"
)

// requests is a way to the API server that remembers the paths of what is asked for.
type requests struct {
	mu         sync.Mutex
	paths      []string
	kubeconfig string
}

// observed starts a proxy in front of the API server, which has its credentials.
func observed(t *testing.T) *requests {
	t.Helper()
	transport, err := rest.TransportFor(shared.Config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(shared.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport, proxy.FlushInterval = transport, -1
	proxy.ErrorLog = log.New(io.Discard, "", 0) // reads that the server gave up
	seen := &requests{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		seen.mu.Lock()
		seen.paths = append(seen.paths, req.URL.EscapedPath())
		seen.mu.Unlock()
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(server.CloseClientConnections)
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server.URL}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c"}
	config.CurrentContext = "c"
	if err := clientcmd.WriteToFile(*config, seen.kubeconfig); err != nil {
		t.Fatal(err)
	}
	return seen
}

// since returns the paths that were asked for after the first n.
func (r *requests) since(n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.paths[n:]...)
}

// oneNamespace is the only kind of path that a review may lead to.
var oneNamespace = regexp.MustCompile(`^/api/v1/namespaces/[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// reads returns how many of the paths are reads of single namespaces. Others than those that the server asks for by itself
// are errors.
func reads(t *testing.T, paths []string) (n int) {
	t.Helper()
	for _, path := range paths {
		switch {
		case oneNamespace.MatchString(path):
			n++
		case path == "/api/v1/namespaces", strings.HasSuffix(path, "/services"), strings.HasPrefix(path, "/apis/admissionregistration.k8s.io/"),
			strings.HasPrefix(path, "/apis/coordination.k8s.io/"), path == "/api/v1/pods":
		default:
			t.Errorf("the API server was asked for %s", path)
		}
	}
	return n
}

// TestANamespaceThatIsNoneLeadsNowhere has reviews whose namespace would make another request of the read of a namespace.
func TestANamespaceThatIsNoneLeadsNowhere(t *testing.T) {
	t.Parallel()
	seen := observed(t)
	s := running(t, document, seen.kubeconfig, "--detect-interval=0")
	client := s.client()
	s.mustReview(client, 1, "default", 2)
	before := len(seen.since(0))
	for _, namespace := range []string{
		"../../../openapi/v2", "../pods", "tenant/secrets/x", "..", ".", "../", "%2e%2e", "%2e%2e%2fpods", "..%2Fpods", "a%00b", "a\x00b", "a\nb",
		"a b", "a?watch=true", "a#b", "a;b", `a\b`, `..\..\openapi`, "//", "/", "a/", "a/../../pods", "UPPER", "a.b", "-a", "a-", "_", "*", "",
		strings.Repeat("n", 64), strings.Repeat("n", 4096), "ｎ", "é", "n\u200b", "\u202eabc", "\xff", "default/", "default/pods", "default ", " default",
	} {
		encoded := jsontest.Marshal(t, namespace)
		for _, body := range []string{
			strings.Replace(reviewOf("1", "NAMESPACE"), `"NAMESPACE"`, string(encoded), 1),
			// The last of two names counts.
			strings.Replace(reviewOf("1", "NAMESPACE"), `"NAMESPACE"`, `"default","namespace":`+string(encoded), 1),
			strings.Replace(reviewOf("1", "NAMESPACE"), `"NAMESPACE","object":{`, string(encoded)+`,"object":7,"was":{`, 1),
		} {
			_, err := s.post(t.Context(), client, body)
			refusal := new(statusError)
			if !errors.As(err, &refusal) || refusal.status != http.StatusBadRequest || refusal.body != "request.namespace is not a DNS label\n" {
				if namespace == "" && strings.Contains(body, "was") {
					continue // it may have been cut off
				}
				t.Errorf("namespace %.50q: got %v, want status 400", namespace, err)
			}
		}
	}
	if paths := seen.since(before); reads(t, paths) != 0 {
		t.Errorf("the API server was asked for %q", paths)
	}
	if logs := s.Logs(); strings.Contains(logs, "openapi") || strings.Contains(logs, "nnnn") {
		t.Error("the log has a namespace that is none")
	}
	s.mustReview(client, 1, "default", 2)
}

// TestManyNamespacesThatDoNotExist has 2,000 reviews of as many names that are valid. A namespace that is created
// meanwhile is known.
func TestManyNamespacesThatDoNotExist(t *testing.T) {
	t.Parallel()
	const reviews, most = 2000, 250
	seen := observed(t)
	s := running(t, document, seen.kubeconfig, "--detect-interval=0")
	client := s.client()
	s.mustReview(client, 1, "default", 2)
	before, started := len(seen.since(0)), time.Now()
	answers := s.send(reviews, 20, func(i int) io.Reader { return strings.NewReader(reviewOf("1", fmt.Sprintf("missing-%d", i))) })
	took, asked := time.Since(started), reads(t, seen.since(before))
	t.Logf("%v answers in %s, %d reads of namespaces", answers, took.Round(time.Millisecond), asked)
	if answers[http.StatusOK] != reviews {
		t.Errorf("answers by status: %v", answers)
	}
	// A hundred at once, and twenty a second.
	if limit := min(most, 110+20*int(took/time.Second+1)); asked > limit {
		t.Errorf("%d reads in %s, want %d at most", asked, took, limit)
	}
	namespace(t, "strangers-created", "strangers", "team", "search")
	clustertest.Eventually(t, "a namespace that was created a moment ago is known", func() bool {
		ndots, _, err := s.ndots(client, "strangers-created")
		return err == nil && ndots == 1
	})
}
