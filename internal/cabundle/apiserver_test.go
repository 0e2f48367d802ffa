package cabundle

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// fixture is a control plane with a CA's Secret and a webhook configuration,
// both named shorthop.
type fixture struct {
	*testing.T
	control *cluster.Cluster
}

const name = "shorthop"

func newFixture(t *testing.T) *fixture {
	t.Helper()
	control := clustertest.Start(t, cluster.Options{})
	return &fixture{t, control}
}

// TestSeveralInjectors goes through the life of a caBundle with three replicas
// at work. The API server counts the changes of a configuration: there must be
// one for each reason.
func TestSeveralInjectors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first, second, foreign := newAuthority(t, time.Now().Add(time.Hour)), newAuthority(t, time.Now().Add(time.Hour)), newAuthorityFor(t, time.Now().Add(time.Hour), "somebody")
	f.createSecret()
	original := f.createConfiguration([]byte("garbage"), foreign.pem())
	injectors := []*Injector{f.start(), f.start(), f.start()}

	leaf := pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: first.leaf(t).Raw})
	f.setCA(slices.Concat(leaf, first.pem())) // a leaf is no CA
	f.has(2, first.pem(), slices.Concat(foreign.pem(), first.pem()))
	f.setCA(second.pem())
	f.has(3, slices.Concat(first.pem(), second.pem()), slices.Concat(foreign.pem(), first.pem(), second.pem()))
	for _, injector := range injectors {
		clustertest.Eventually(f, "every replica trusts both CAs", func() bool {
			return injector.Trusted(first.leaf(t), 0) && injector.Trusted(second.leaf(t), 0)
		})
		if injector.Trusted(foreign.leaf(t), 0) {
			t.Error("a CA of one entry is trusted")
		}
		if injector.Trusted(first.leaf(t), clustertest.Hang) {
			t.Error("trusted for longer than the test runs")
		}
	}

	// As an upgrade that resets it: what may still be served stays verifiable.
	f.patch(`[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}, {"op": "replace", "path": "/webhooks/1/clientConfig/caBundle", "value": ""}]`)
	both := slices.Concat(first.pem(), second.pem())
	f.has(5, both, both)

	// Somebody changes something else at the same time.
	f.patch(`[{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 7}, {"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]`)
	f.has(7, both, both)
	got := f.configuration()
	original.Webhooks[0].TimeoutSeconds = new(int32(7))
	for i := range original.Webhooks {
		original.Webhooks[i].ClientConfig.CABundle = got.Webhooks[i].ClientConfig.CABundle
	}
	if diff := cmp.Diff(original.Webhooks, got.Webhooks); diff != "" {
		t.Errorf("more than the bundles has changed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{original.Labels, original.Annotations}, []any{got.Labels, got.Annotations}); diff != "" {
		t.Errorf("metadata has changed (-want +got):\n%s", diff)
	}

	// What was meant for a version that has changed, or is gone, is soon tried again.
	idle, err := New(injectors[0].Options)
	if err != nil {
		t.Fatal(err)
	}
	stale := f.configuration()
	write := func(why string) {
		t.Helper()
		patch, _ := patchFor(stale, []*x509.Certificate{newAuthority(t, time.Now().Add(time.Hour)).Certificate}, time.Now())
		if again, err := idle.write(t.Context(), stale, patch, nil, time.Now()); again != conflictPause || err != nil {
			t.Errorf("%s: tried again in %s, error %v; want %s", why, again, err, conflictPause)
		}
	}
	f.patch(`[{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 8}]`)
	write("a conflict")

	// A configuration that was away is trusted anew.
	configs := f.control.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if err := configs.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	write("gone")
	clustertest.Eventually(f, "nothing is trusted", func() bool {
		return !slices.ContainsFunc(injectors, func(i *Injector) bool { return i.Trusted(second.leaf(t), 0) })
	})
	f.createConfiguration(nil, nil)
	f.has(2, both, both)
}

// A write from an old version of the configuration is refused: the entries
// may have other places by now.
func TestPatchIsOnlyForTheVersionThatWasRead(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, time.Now().Add(time.Hour))
	config := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{ResourceVersion: "17"},
		Webhooks:   []admissionv1.MutatingWebhook{{ClientConfig: admissionv1.WebhookClientConfig{CABundle: ca.pem()}}, {ClientConfig: admissionv1.WebhookClientConfig{CABundle: []byte("x")}}},
	}
	operations, dropped := patchFor(config, []*x509.Certificate{ca.Certificate}, time.Now())
	patch := jsontest.Marshal(t, operations)
	bundle := jsontest.Marshal(t, ca.pem())
	want := `[{"op":"add","path":"/webhooks/1/clientConfig/caBundle","value":` + string(bundle) +
		`},{"op":"replace","path":"/metadata/resourceVersion","value":"17"}]`
	if diff := cmp.Diff(want, string(patch)); diff != "" || dropped[DroppedUnreadable] != 1 {
		t.Errorf("dropped %v, (-want +got):\n%s", dropped, diff)
	}
	config.Webhooks = config.Webhooks[:1]
	if operations, _ := patchFor(config, []*x509.Certificate{ca.Certificate}, time.Now()); operations != nil {
		t.Errorf("where all is right: %v", operations)
	}
}

func (f *fixture) createSecret() {
	f.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := f.control.Client.CoreV1().Secrets("default").Create(f.Context(), secret, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) setCA(ca []byte) {
	f.Helper()
	patch := jsontest.Marshal(f, map[string]any{"data": map[string][]byte{caKey: ca}})
	if _, err := f.control.Client.CoreV1().Secrets("default").Patch(f.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		f.Fatal(err)
	}
}

// createConfiguration creates one that we ship, which has two entries, with these bundles.
func (f *fixture) createConfiguration(bundles ...[]byte) *admissionv1.MutatingWebhookConfiguration {
	f.Helper()
	parsed := reviewtest.Parse(f, "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nspec: {dns: {}, namespaceOptOut: Final}")
	config := webhookconfig.New(parsed, webhookconfig.Options{Name: name, OwnNamespace: "default", Service: name})
	for i, bundle := range bundles {
		config.Webhooks[i].ClientConfig.CABundle = bundle
	}
	created, err := f.control.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(f.Context(), config, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return created
}

func (f *fixture) configuration() *admissionv1.MutatingWebhookConfiguration {
	f.Helper()
	config, err := f.control.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(f.Context(), name, metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return config
}

func (f *fixture) patch(operations string) {
	f.Helper()
	_, err := f.control.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(
		f.Context(), name, types.JSONPatchType, []byte(operations), metav1.PatchOptions{})
	if err != nil {
		f.Fatal(err)
	}
}

// start starts a replica.
func (f *fixture) start() *Injector {
	f.Helper()
	return f.startWith(&recorder{})
}

func (f *fixture) startWith(r Recorder) *Injector {
	f.Helper()
	injector, err := New(Options{Namespace: "default", Secret: name, Configuration: name, Client: f.control.Client, Recorder: r, Log: logr.Discard()})
	if err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(f.Context()))
	ended := make(chan error, 1)
	go func() { ended <- injector.Start(ctx) }()
	f.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			f.Errorf("Start: %v", err)
		}
	})
	return injector
}

// has waits for the bundles, and checks how often the configuration has been
// changed until then.
func (f *fixture) has(generation int64, want ...[]byte) {
	f.Helper()
	var config *admissionv1.MutatingWebhookConfiguration
	clustertest.Eventually(f, "the bundles are as wanted", func() bool {
		config = f.configuration()
		return slices.EqualFunc(config.Webhooks, want, func(webhook admissionv1.MutatingWebhook, bundle []byte) bool {
			return bytes.Equal(webhook.ClientConfig.CABundle, bundle)
		})
	})
	if config.Generation != generation {
		f.Errorf("generation %d, want %d", config.Generation, generation)
	}
}
