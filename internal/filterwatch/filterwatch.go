// Package filterwatch compares the filter of the API server with the policy in
// force. The filter is made from a policy when the webhook is installed, and the two
// are changed by different hands; a pod that the filter keeps back is not injected,
// whatever the policy says.
package filterwatch

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

// readTimeout bounds one look at the API server.
const readTimeout = 10 * time.Second

// Options holds what a Watcher needs. All fields but Present are required.
type Options struct {
	// Client reads the metadata of the configuration, no more.
	Client metadata.Interface
	// Configuration names the MutatingWebhookConfiguration.
	Configuration string
	// Interval is the time between two looks.
	Interval time.Duration
	// Policy returns the policy in force, nil while there is none: nothing is
	// compared then.
	Policy func() *policy.Compiled
	// Mismatch is told after each look that could compare whether the filter was
	// made from another policy.
	Mismatch func(bool)
	// Present is told after each look that could tell whether the configuration
	// exists. Defaults to nil: nobody is told.
	Present func(bool)
	Log     logr.Logger
}

// Watcher compares the two at every Interval.
type Watcher struct {
	Options
	// mismatch and present are what the last look found.
	mismatch bool
	present  bool
	// problem is the error of the last look, empty where it had none: the same one
	// is not logged twice in a row.
	problem string
}

// New connects to nothing yet.
func New(o Options) *Watcher { return &Watcher{Options: o, present: true} }

// Start looks until ctx ends. It returns nil.
func (w *Watcher) Start(ctx context.Context) error {
	tick := time.NewTicker(w.Interval)
	defer tick.Stop()
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look compares once:
//
//	the configuration            mismatch
//	has the policy's hash        no
//	has another hash, or none    yes
//	is not there                 no: there is no filter
//	cannot be read               as before
func (w *Watcher) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	resource := admissionv1.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations")
	config, err := w.Client.Resource(resource).Get(ctx, w.Configuration, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		if text := printable.Clip(err.Error()); text != w.problem && ctx.Err() == nil {
			w.problem = text
			w.Log.Info("cannot compare the filter of the API server with the policy", "webhookConfiguration", w.Configuration, "error", text)
		}
		return
	}
	w.problem = ""
	if present := err == nil; present != w.present {
		w.present = present
		if !present {
			w.Log.Error(err, "there is no webhook configuration: no pod is reviewed", "webhookConfiguration", w.Configuration)
		}
	}
	if w.Present != nil {
		w.Present(w.present)
	}
	compiled := w.Policy()
	if compiled == nil {
		return
	}
	mismatch := false
	if err == nil {
		got, want := webhookconfig.FilterHashes(config.Annotations, compiled.Document())
		if mismatch = got != want; mismatch && !w.mismatch {
			w.Log.Error(fmt.Errorf("annotation %s is %s, want %q", webhookconfig.AnnotationFilterHash, printable.Quote(got, printable.MaxName), want),
				"the API server filters by another policy than the one in force; `kubectl shorthop doctor` tells what to do",
				"webhookConfiguration", w.Configuration)
		}
	}
	if w.mismatch && !mismatch {
		w.Log.Info("the API server filters by the policy in force", "webhookConfiguration", w.Configuration)
	}
	w.mismatch = mismatch
	w.Mismatch(mismatch)
}
