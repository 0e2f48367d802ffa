// Package cabundle keeps the CA of the serving certificate in the caBundle of
// the webhook configuration, and knows what API servers trust by it.
package cabundle

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
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
	// conflictPause is before a change is tried again that somebody else's came
	// before. The watch has brought that by then.
	conflictPause = 500 * time.Millisecond
	// maxSeen bounds the CAs of the Secret that are remembered: somebody who
	// empties it again and again gets a new one each time.
	maxSeen = 8
	// writeTimeout bounds one change.
	writeTimeout = 10 * time.Second
)

// Recorder learns what the injector meets.
type Recorder interface {
	// CASecretPresent says whether the Secret with the CA is there.
	CASecretPresent(bool)
	// CABundleUndone counts a caBundle that was right and that somebody else has
	// changed.
	CABundleUndone()
	// CABundleDropped counts what was left out of a caBundle that was written.
	CABundleDropped(why Dropped, n int)
}

// Options says what to watch. All fields are required.
type Options struct {
	// Namespace and Secret that hold the CA.
	Namespace, Secret string
	// Configuration is the name of the MutatingWebhookConfiguration.
	Configuration string
	Client        kubernetes.Interface
	Recorder      Recorder
	Log           logr.Logger
}

// Injector adds the CA in a Secret to the caBundle of every entry of a webhook
// configuration, and adds it again when somebody takes it out. A CA stays in
// the bundle until it has expired, so what an earlier one has signed remains
// valid. Nothing else of the configuration changes.
//
// Any number of replicas do this side by side: none of them removes what is
// valid while there is room (see merge), and a change that is based on an old
// version of the configuration is refused by the API server and made again from
// the new one. With somebody else who takes it out each time, it does so at
// growing intervals (see contest).
//
// It needs list and watch of the Secret, and list, watch and patch of the
// configuration, each by name.
type Injector struct {
	Options
	secrets, configs cache.SharedIndexInformer
	trust            trust
	// changed holds at most one note that something has.
	changed chan struct{}

	// What follows is only for Start.

	// seen are the last CAs that the Secret has had since the start, the newest
	// last: what they have signed may still be served.
	seen []*x509.Certificate
	// published are those of them that have been in every caBundle, by their DER
	// encoding.
	published map[string]bool
	contest   contest
	// written is the version of the configuration that this replica wrote last.
	written string
	// retry is when a change that failed may be tried again.
	retry time.Time
	// secretGone: the Secret was not there when it was looked for last.
	secretGone bool

	// serving is the leaf that is served, nil for none yet.
	serving atomic.Pointer[x509.Certificate]
	// trouble is why nothing new can be trusted, "" for nothing.
	trouble atomic.Value
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

		published: map[string]bool{},
	}
	i.trouble.Store("")
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
			DeleteFunc: func(any) { note() },
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

// Serving says which leaf is served. Its CA is the last that would be left out
// of a bundle.
func (i *Injector) Serving(leaf *x509.Certificate) { i.serving.Store(leaf) }

// Trouble says why API servers do not come to trust anything new, "" where
// nothing is known to be wrong. Names from the cluster are quoted.
func (i *Injector) Trouble() string { return i.trouble.Load().(string) }

// Start keeps the bundles up to date until ctx ends. It returns nil: what
// cannot be done is logged and tried again.
func (i *Injector) Start(ctx context.Context) error {
	var informers sync.WaitGroup
	informers.Go(func() { i.secrets.RunWithContext(ctx) })
	informers.Go(func() { i.configs.RunWithContext(ctx) })
	defer informers.Wait()

	check := time.NewTimer(checkInterval)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-i.changed:
		case <-check.C:
		}
		again, err := i.reconcile(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			i.Log.Error(err, "cannot add the CA to the webhook configuration", "name", i.Configuration)
		}
		check.Reset(again)
	}
}

// reconcile makes one change, where one is needed and it is time for it. It
// returns in how long there is to look again.
func (i *Injector) reconcile(ctx context.Context, now time.Time) (again time.Duration, err error) {
	i.look()
	if !i.configs.HasSynced() || !i.secrets.HasSynced() {
		return checkInterval, nil
	}
	object, exists, err := i.configs.GetStore().GetByKey(i.Configuration)
	if err != nil {
		return checkInterval, err
	}
	if !exists {
		i.tell(nil)
		return checkInterval, nil
	}
	config := object.(*admissionv1.MutatingWebhookConfiguration)
	if order, err := resourceversion.CompareResourceVersion(config.ResourceVersion, i.written); err == nil && order < 0 {
		return checkInterval, nil // the watch has yet to bring what was written
	}
	if len(i.seen) == 0 {
		i.tell(config)
		return checkInterval, nil // what is there may be right for somebody else's certificate
	}
	patch, dropped := patchFor(config, i.wanted(), now)
	if i.contest.observe(patch == nil, now) {
		i.Recorder.CABundleUndone()
		i.Log.Info("somebody else has changed the caBundle of the webhook configuration; it is put right again", "name", config.Name,
			"manager", rival(config.ManagedFields), "times", i.contest.undone, "in", i.contest.next.Sub(now).Round(time.Millisecond).String())
	}
	i.tell(config)
	if patch == nil {
		i.publish()
		return checkInterval, nil
	}
	at := i.retry
	if i.contest.next.After(at) && !i.hasNews() {
		at = i.contest.next
	}
	if wait := at.Sub(now); wait > 0 {
		return min(wait, checkInterval), nil
	}
	return i.write(ctx, config, patch, dropped, now)
}

// write makes a change.
func (i *Injector) write(ctx context.Context, config *admissionv1.MutatingWebhookConfiguration, patch []jsonpatch.Operation, dropped map[Dropped]int, now time.Time) (again time.Duration, err error) {
	body, err := json.Marshal(patch)
	if err != nil {
		return checkInterval, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	changed, err := i.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(
		ctx, config.Name, types.JSONPatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	switch {
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err):
		i.retry = now.Add(conflictPause) // the watch brings what it is now
		return conflictPause, nil
	case err != nil:
		i.retry = now.Add(checkInterval)
		return checkInterval, err
	}
	i.written = changed.ResourceVersion
	i.contest.observe(true, now)
	i.publish()
	fields := []any{"name", config.Name, "entries", len(patch) - 1}
	for _, why := range AllDropped() {
		if n := dropped[why]; n > 0 {
			i.Recorder.CABundleDropped(why, n)
			fields = append(fields, string(why), n)
		}
	}
	i.Log.Info("changed the caBundle of the webhook configuration", fields...)
	return checkInterval, nil
}

// look adds the Secret's CA to those seen.
func (i *Injector) look() {
	object, exists, err := i.secrets.GetStore().GetByKey(i.Namespace + "/" + i.Secret)
	if err != nil || !i.secrets.HasSynced() {
		return
	}
	if gone := !exists; gone != i.secretGone {
		i.secretGone = gone
		if gone {
			i.Log.Error(errors.New("the Secret with the CA is not there"), "no new certificate can be signed: `helm upgrade` with certificates.mode=self-managed creates it again", "namespace", i.Namespace, "name", i.Secret)
		}
	}
	i.Recorder.CASecretPresent(exists)
	if !exists {
		return
	}
	cas, _ := parse(object.(*corev1.Secret).Data[caKey])
	for _, ca := range cas {
		if ca.IsCA && !contains(i.seen, ca) {
			i.seen = append(i.seen, ca)
		}
	}
	serving := i.serving.Load()
	for excess := len(i.seen) - maxSeen; excess > 0; excess-- {
		oldest := 0
		if signed(serving, i.seen[0]) {
			oldest = 1
		}
		delete(i.published, string(i.seen[oldest].Raw))
		i.seen = slices.Delete(i.seen, oldest, oldest+1)
	}
}

// signed reports whether the CA has signed the leaf, which may be nil.
func signed(leaf, ca *x509.Certificate) bool {
	return leaf != nil && leaf.CheckSignatureFrom(ca) == nil
}

// wanted returns what every bundle has to have, what is served by last.
func (i *Injector) wanted() []*x509.Certificate {
	serving := i.serving.Load()
	at := slices.IndexFunc(i.seen, func(ca *x509.Certificate) bool { return signed(serving, ca) })
	if at < 0 {
		return i.seen
	}
	return append(slices.Delete(slices.Clone(i.seen), at, at+1), i.seen[at])
}

// publish remembers that what is wanted was in every bundle.
func (i *Injector) publish() {
	for _, ca := range i.seen {
		i.published[string(ca.Raw)] = true
	}
}

// hasNews reports whether there is a CA that was never published: it is not
// for somebody else's doing that it is not there.
func (i *Injector) hasNews() bool {
	return slices.ContainsFunc(i.seen, func(ca *x509.Certificate) bool { return !i.published[string(ca.Raw)] })
}

// tell says what is wrong; config is nil where there is none.
func (i *Injector) tell(config *admissionv1.MutatingWebhookConfiguration) {
	trouble := ""
	switch {
	case i.secretGone:
		trouble = fmt.Sprintf("Secret %s/%s is not there", i.Namespace, i.Secret)
	case config == nil:
		trouble = fmt.Sprintf("there is no webhook configuration %s", i.Configuration)
	case i.contest.going():
		who := "somebody else"
		if name := rival(config.ManagedFields); name != "" {
			who = fmt.Sprintf("field manager %+q", name)
		}
		trouble = fmt.Sprintf("%s writes the caBundle of webhook configuration %s too, and has undone it %d times", who, i.Configuration, i.contest.undone)
	}
	i.trouble.Store(trouble)
}

// patchFor returns the operations that bring the CAs into every entry, nil
// where there is nothing to do, and what they leave out. They hold only for
// this version of the configuration, as they name entries by their index.
func patchFor(config *admissionv1.MutatingWebhookConfiguration, cas []*x509.Certificate, now time.Time) (patch []jsonpatch.Operation, dropped map[Dropped]int) {
	dropped = map[Dropped]int{}
	for n := range config.Webhooks {
		merged, without, changed := merge(config.Webhooks[n].ClientConfig.CABundle, cas, now)
		if !changed {
			continue
		}
		patch = append(patch, jsonpatch.NewOperation("add", fmt.Sprintf("/webhooks/%d/clientConfig/caBundle", n), merged))
		for why, n := range without {
			dropped[why] += n
		}
	}
	if patch == nil {
		return nil, nil
	}
	return append(patch, jsonpatch.NewOperation("replace", "/metadata/resourceVersion", config.ResourceVersion)), dropped
}
