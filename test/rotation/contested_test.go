package rotation_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// TestANewReplicaSaysWhoTakesItsCAOut starts a server while somebody else puts their own caBundle back whenever it is
// changed. It is not ready and says why; once they stop it becomes ready by itself.
func TestANewReplicaSaysWhoTakesItsCAOut(t *testing.T) {
	s := newSite(t, "contested")
	theirs := clustertest.CA(t)
	s.register(theirs.Bundle())
	configs := shared.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	watch, err := configs.Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + s.name})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() {
		for range watch.ResultChan() {
			config, err := configs.Get(t.Context(), s.name, metav1.GetOptions{})
			if err != nil || bytes.Equal(config.Webhooks[0].ClientConfig.CABundle, theirs.Bundle()) {
				continue
			}
			for i := range config.Webhooks {
				config.Webhooks[i].ClientConfig.CABundle = theirs.Bundle()
			}
			_, _ = configs.Update(t.Context(), config, metav1.UpdateOptions{FieldManager: "argocd-controller"}) // a conflict brings another event
		}
	})
	defer watch.Stop()

	// Somewhere else than StartProcess looks, which would not return before it is ready.
	health := clustertest.FreeAddresses(t, 1)[0]
	options := s.selfManaged(0)
	options.Binary, options.Policy, options.ReadyTimeout = program, s.policy, 10*time.Minute
	options.Args = append(options.Args, "--own-namespace", s.name, "--health-probe-bind-address", health)
	ctx, stop := context.WithCancel(t.Context())
	running.Go(func() { _, _ = cluster.StartProcess(ctx, options) }) // killed when ctx ends
	defer stop()

	readyz := func() (status int, body string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+health+"/readyz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, err.Error()
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return 0, err.Error()
		}
		return response.StatusCode, string(text)
	}
	await := func(what string, status int, text string) {
		t.Helper()
		clustertest.Eventually(t, what, func() bool {
			got, body := readyz()
			return got == status && strings.Contains(body, text)
		})
	}
	await("it says who it is", http.StatusServiceUnavailable, `field manager "argocd-controller" writes the caBundle of webhook configuration contested too`)
	watch.Stop()
	await("it is ready once they stop", http.StatusOK, "readyz check passed")
}
