package rotation_test

import (
	"bytes"
	"net/http"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

	await := s.startUnready(s.selfManaged(0))
	await("it says who it is", http.StatusServiceUnavailable, `field manager "argocd-controller" writes the caBundle of webhook configuration contested too`)
	watch.Stop()
	await("it is ready once they stop", http.StatusOK, "readyz check passed")
}
