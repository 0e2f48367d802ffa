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
	// checkInterval is the time between two looks for expired certificates, and
	// between two attempts at a change that fails.
	checkInterval = 5 * time.Second
	// conflictPause is the time before a change is tried again because somebody
	// else's came first. The watch has brought theirs by then.
	conflictPause = 500 * time.Millisecond
	// maxSeen bounds how many CAs of the Secret are remembered: each time somebody
	// empties the Secret, a new CA is made.
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
// the new one. Where somebody else takes the CA out each time, it is added again at
// growing intervals (see contest).
//
// It needs list and watch of the Secret, and list, watch and patch of the
// configuration, each by name.
type Injector struct {
	Options
	secrets, configs cache.SharedIndexInformer
	trust            trust
	// changed holds at most one signal that the Secret or the configuration has
	// changed.
	changed chan struct{}

	// What follows is only for Start.

	// seen are the last CAs that the Secret has had since the start, the newest
	// last: certificates that they have signed may still be served.
	seen []*x509.Certificate
	// published has the CAs of seen that have been in every caBundle, by their DER
	// encoding.
	published map[string]bool
	contest   contest
	// written is the version of the configuration that this replica wrote last.
	written string
	// retry is when a change that failed may be tried again.
	retry time.Time
	// secretGone is true where the Secret was not there at the last look.
	secretGone bool

	// serving is the certificate that this replica serves, nil while it has none.
	serving atomic.Pointer[x509.Certificate]
	// trouble is what Trouble returns, a string.
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

// Serving says which leaf this replica serves. Where a bundle has no room for every
// CA, that leaf's CA stays in it.
func (i *Injector) Serving(leaf *x509.Certificate) { i.serving.Store(leaf) }

// Trouble says why API servers will not trust a new CA, "" where nothing is known to
// be wrong. Names from the cluster are quoted.
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

// reconcile changes the caBundles once, where that is needed and its time has come.
// again is how long to wait before the next look.
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
		i.updateTrouble(nil)
		return checkInterval, nil
	}
	config := object.(*admissionv1.MutatingWebhookConfiguration)
	if order, err := resourceversion.CompareResourceVersion(config.ResourceVersion, i.written); err == nil && order < 0 {
		return checkInterval, nil // the watch has yet to bring what was written
	}
	if len(i.seen) == 0 {
		i.updateTrouble(config)
		return checkInterval, nil // without a CA of ours: the bundle may be right for another replica's certificate
	}
	patch, dropped := patchFor(config, i.wanted(), now)
	if i.contest.observe(patch == nil, now) {
		i.Recorder.CABundleUndone()
		i.Log.Info("somebody else has changed the caBundle of the webhook configuration; it is put right again", "name", config.Name,
			"manager", rival(config.ManagedFields), "times", i.contest.undone, "in", i.contest.next.Sub(now).Round(time.Millisecond).String())
	}
	i.updateTrouble(config)
	if patch == nil {
		i.publish()
		return checkInterval, nil
	}
	if wait := i.due().Sub(now); wait > 0 {
		return min(wait, checkInterval), nil
	}
	return i.write(ctx, config, patch, dropped, now)
}

// write sends the patch. dropped is what the patch leaves out of the bundles.
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

// look reads the Secret, adds its CAs to those seen, and forgets the oldest where
// there are more than maxSeen, but never the one whose leaf is served.
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
	i.remember(cas)
}

// remember adds CAs to those seen. Of too many it forgets the oldest, but never the
// one that has signed the certificate that this replica serves.
func (i *Injector) remember(cas []*x509.Certificate) {
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

// wanted returns the CAs that every bundle must have. The CA of the leaf that is
// served comes last, which is the one that merge always has room for.
func (i *Injector) wanted() []*x509.Certificate {
	serving := i.serving.Load()
	at := slices.IndexFunc(i.seen, func(ca *x509.Certificate) bool { return signed(serving, ca) })
	if at < 0 {
		return i.seen
	}
	return append(slices.Delete(slices.Clone(i.seen), at, at+1), i.seen[at])
}

// publish notes that every CA of seen has been in every bundle.
func (i *Injector) publish() {
	for _, ca := range i.seen {
		i.published[string(ca.Raw)] = true
	}
}

// hasNews reports whether there is a CA that was never published. Nobody has taken
// it out of the bundles, so it need not wait for the intervals of contest.
func (i *Injector) hasNews() bool {
	return slices.ContainsFunc(i.seen, func(ca *x509.Certificate) bool { return !i.published[string(ca.Raw)] })
}

// due is when the bundle may be written again.
func (i *Injector) due() time.Time {
	if i.contest.next.After(i.retry) && !i.hasNews() {
		return i.contest.next
	}
	return i.retry
}

// updateTrouble sets what Trouble returns. config is nil where there is no webhook
// configuration.
func (i *Injector) updateTrouble(config *admissionv1.MutatingWebhookConfiguration) {
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

// patchFor returns the operations that bring the CAs into every entry, nil where
// there is nothing to do, and how many certificates they leave out of the bundles,
// by reason. The operations name entries by their index, so they are only good for
// this version of the configuration: the last one makes the API server refuse any
// other.
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
