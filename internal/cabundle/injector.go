// Package cabundle keeps the CA of the serving certificate in the caBundle of
// the webhook configuration, and knows what API servers trust by it.
package cabundle

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	admissioninformers "k8s.io/client-go/informers/admissionregistration/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	// caKey of the Secret holds the CA's certificate.
	caKey = "ca.crt"
	// fieldManager owns the bundles, so that a server-side apply of the rest of
	// the configuration does not touch them.
	fieldManager = "shorthop-ca-bundle"
	// checkInterval is when a change that failed is tried again, and when
	// expired certificates are looked for.
	checkInterval = 5 * time.Second
	// writeTimeout bounds one change.
	writeTimeout = 10 * time.Second
)

// Options says what to watch. All fields are required.
type Options struct {
	// Namespace and Secret that hold the CA.
	Namespace, Secret string
	// Configuration is the name of the MutatingWebhookConfiguration.
	Configuration string
	Client        kubernetes.Interface
	Log           logr.Logger
}

// Injector adds the CA in a Secret to the caBundle of every entry of a webhook
// configuration, and adds it again when somebody takes it out. A CA stays in
// the bundle until it has expired, so what an earlier one has signed remains
// valid. Nothing else of the configuration changes.
//
// Any number of replicas do this side by side: none of them removes what is
// valid, and a change that is based on an old version of the configuration is
// refused by the API server and made again from the new one.
//
// It needs list and watch of the Secret, and list, watch and patch of the
// configuration, each by name.
type Injector struct {
	Options
	secrets, configs cache.SharedIndexInformer
	trust            trust
	// changed holds at most one note that something has.
	changed chan struct{}
	// seen are the CAs that the Secret has had since the start: what they have
	// signed may still be served. Only Start uses it.
	seen []*x509.Certificate
}

// New returns an Injector that does not do anything before Start.
func New(o Options) (*Injector, error) {
	named := func(name string) func(*metav1.ListOptions) {
		selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		return func(o *metav1.ListOptions) { o.FieldSelector = selector }
	}
	i := &Injector{
		Options: o,
		secrets: coreinformers.NewFilteredSecretInformer(o.Client, o.Namespace, 0, cache.Indexers{}, named(o.Secret)),
		configs: admissioninformers.NewFilteredMutatingWebhookConfigurationInformer(o.Client, 0, cache.Indexers{}, named(o.Configuration)),
		changed: make(chan struct{}, 1),
	}
	note := func() {
		select {
		case i.changed <- struct{}{}:
		default:
		}
	}
	observe := func(object any) {
		config, _ := object.(*admissionv1.MutatingWebhookConfiguration)
		i.trust.observe(config, time.Now())
		note()
	}
	for _, handler := range []struct {
		informer cache.SharedIndexInformer
		funcs    cache.ResourceEventHandlerFuncs
	}{
		{i.secrets, cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { note() },
			UpdateFunc: func(any, any) { note() },
		}},
		{i.configs, cache.ResourceEventHandlerFuncs{
			AddFunc:    observe,
			UpdateFunc: func(_, object any) { observe(object) },
			DeleteFunc: func(any) { observe(nil) },
		}},
	} {
		if _, err := handler.informer.AddEventHandler(handler.funcs); err != nil {
			return nil, fmt.Errorf("preparing the caBundle injector: %w", err)
		}
	}
	return i, nil
}

// Trusted reports whether an API server can verify the serving certificate
// now, with CAs that have been in every caBundle for at least that long, as
// far as this process has seen.
func (i *Injector) Trusted(leaf *x509.Certificate, forAtLeast time.Duration) bool {
	now := time.Now()
	return i.trust.verifies(leaf, now.Add(-forAtLeast), now)
}

// Start keeps the bundles up to date until ctx ends. It returns nil: what
// cannot be done is logged and tried again.
func (i *Injector) Start(ctx context.Context) error {
	var informers sync.WaitGroup
	informers.Go(func() { i.secrets.RunWithContext(ctx) })
	informers.Go(func() { i.configs.RunWithContext(ctx) })
	defer informers.Wait()

	check := time.NewTicker(checkInterval)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-i.changed:
		case <-check.C:
		}
		if err := i.reconcile(ctx); err != nil && ctx.Err() == nil {
			i.Log.Error(err, "cannot add the CA to the webhook configuration", "name", i.Configuration)
		}
	}
}

// reconcile makes one change, where one is needed.
func (i *Injector) reconcile(ctx context.Context) error {
	i.look()
	if len(i.seen) == 0 {
		return nil // what is there may be right for somebody else's certificate
	}
	object, exists, err := i.configs.GetStore().GetByKey(i.Configuration)
	if err != nil || !exists {
		return err
	}
	config := object.(*admissionv1.MutatingWebhookConfiguration)
	patch := patchFor(config, i.seen, time.Now())
	if patch == nil {
		return nil
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	_, err = i.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(
		ctx, config.Name, types.JSONPatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // the watch brings what it is now
	}
	if err == nil {
		i.Log.Info("changed the caBundle of the webhook configuration", "name", config.Name, "entries", len(patch)-1)
	}
	return err
}

// look adds the Secret's CA to those seen.
func (i *Injector) look() {
	object, exists, err := i.secrets.GetStore().GetByKey(i.Namespace + "/" + i.Secret)
	if err != nil || !exists {
		return
	}
	cas, _ := parse(object.(*corev1.Secret).Data[caKey])
	for _, ca := range cas {
		if ca.IsCA && !contains(i.seen, ca) {
			i.seen = append(i.seen, ca)
		}
	}
}

// patchFor returns the operations that bring the CAs into every entry, nil
// where there is nothing to do. They hold only for this version of the
// configuration, as they name entries by their index.
func patchFor(config *admissionv1.MutatingWebhookConfiguration, cas []*x509.Certificate, now time.Time) []jsonpatch.Operation {
	var patch []jsonpatch.Operation
	for n := range config.Webhooks {
		if merged, changed := merge(config.Webhooks[n].ClientConfig.CABundle, cas, now); changed {
			patch = append(patch, jsonpatch.NewOperation("add", fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", n), merged))
		}
	}
	if patch == nil {
		return nil
	}
	return append(patch, jsonpatch.NewOperation("replace", "/metadata/resourceVersion", config.ResourceVersion))
}
