package rotation_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/rotation"
)

func TestBalancerLeavesOutServersThatAreNotReady(t *testing.T) {
	for name, test := range map[string]struct {
		lag  time.Duration
		gets bool
	}{
		"at once":                           {0, false},
		"not before kube-proxy knows of it": {time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			var unready, probes atomic.Int32
			health := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusOK + int(unready.Load())*300)
				probes.Add(unready.Load())
			}))
			defer health.Close()
			reviews := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "answer") }))
			defer reviews.Close()

			balancer, err := rotation.NewBalancer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer balancer.Close()
			balancer.SetLag(test.lag)
			if err := balancer.Add(&cluster.Webhook{URL: reviews.URL, HealthURL: health.URL}); err != nil {
				t.Fatal(err)
			}
			if !answers(t.Context(), balancer.Port) {
				t.Fatal("no answer of a server that is ready")
			}
			unready.Store(1)
			// The third probe comes after what the first has said has been acted on.
			clustertest.Eventually(t, "the server says that it is not ready", func() bool { return probes.Load() >= 3 })
			if got := answers(t.Context(), balancer.Port); got != test.gets {
				t.Errorf("an answer: %t, want %t", got, test.gets)
			}
			if refused := balancer.Refused() > 0; refused == test.gets {
				t.Errorf("connections were refused: %t", refused)
			}
		})
	}
}

// answers asks over a new connection.
func answers(ctx context.Context, port int) bool {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: new(net.Dialer).DialContext}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d", port), http.NoBody)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}
