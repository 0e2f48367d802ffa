// Package policyfile keeps the policy in force in step with a file.
package policyfile

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/shorthop/shorthop/pkg/policy"
)

// pollInterval is the time between two looks at the file. kubelet needs up to a
// minute to bring a changed ConfigMap to the node, so faster would be no gain.
const pollInterval = time.Second

// Recorder learns how reloads end.
type Recorder interface {
	// PolicyReloaded says that the policy with this hash is in force since at.
	PolicyReloaded(hash string, at time.Time)
	// PolicyReloadFailed says that the file is broken and the last good policy
	// stays in force.
	PolicyReloadFailed()
	// PolicyInvalid says that the file is broken and there is no good policy:
	// there has been none since the start.
	PolicyInvalid()
}

// Options holds what a Watcher needs. Path, Recorder and Log are required.
type Options struct {
	// Path of the policy file.
	Path string
	// OwnNamespace is excluded besides what the policy excludes. Defaults to
	// none.
	OwnNamespace string
	// Accept may refuse a policy that is valid but cannot be carried out here.
	// Defaults to accepting every policy.
	Accept func(*policy.Compiled) error
	// Prepare is told of a policy before it replaces another, and may take some
	// seconds to get ready for it. What it returns is called once the policy is
	// in force. Defaults to nothing.
	Prepare  func(context.Context, *policy.Compiled) (inForce func())
	Recorder Recorder
	Log      logr.Logger
}

// Watcher holds the policy in force. What it does when it looks at the file,
// once a second:
//
//	the content is                          the watcher
//	the one it looked at last               does nothing
//	new, and was another a second ago       waits: it may be half written
//	new, the same as a second ago, valid    puts it in force
//	new, the same as a second ago, broken   keeps the last good policy, logs the content's
//	                                        errors once, and sets the gauge to 0
//	broken from the start                   has no policy, says why, and takes the first
//	                                        content that is good (state policy_invalid)
//
// A file that cannot be read, or is not a regular file, counts as broken. The watcher
// looks at the content and at nothing else, so it makes no difference whether the
// file is renamed into place, is a symbolic link that kubelet swaps, or is written in
// place.
type Watcher struct {
	Options
	current atomic.Pointer[policy.Compiled]
	// problem is why there is no policy.
	problem atomic.Pointer[error]

	// settled is the content that was acted on last, candidate the one seen by
	// the last poll. Only New and Start use them, one after the other.
	settled, candidate content
}

// New loads the file. A broken file is reported and is no error: it can be mended
// while the watcher runs.
func New(o Options) *Watcher {
	w := &Watcher{Options: o}
	w.settled = readRegular(o.Path)
	w.candidate = w.settled
	compiled, err := w.compile(w.settled)
	if err != nil {
		w.refuse(err)
		return w
	}
	w.use(compiled)
	return w
}

// Current returns the policy in force, nil while there is none. It takes no lock.
func (w *Watcher) Current() *policy.Compiled { return w.current.Load() }

// Problem returns why no policy is in force, nil while one is. The text has a line
// for everything that is wrong.
func (w *Watcher) Problem() error {
	if problem := w.problem.Load(); problem != nil && w.Current() == nil {
		return *problem
	}
	return nil
}

// Start follows the file until ctx ends. It returns nil.
func (w *Watcher) Start(ctx context.Context) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			w.poll(ctx)
		}
	}
}

func (w *Watcher) poll(ctx context.Context) {
	found := readRegular(w.Path)
	previous := w.candidate
	w.candidate = found
	if found.equal(w.settled) || !found.equal(previous) {
		return
	}
	w.settled = found
	compiled, err := w.compile(found)
	if err != nil {
		w.refuse(err)
		return
	}
	inForce := func() {}
	if w.Prepare != nil {
		inForce = w.Prepare(ctx, compiled)
	}
	w.use(compiled)
	inForce()
}

// compile compiles the policy in a content, or returns why it cannot be used.
func (w *Watcher) compile(c content) (*policy.Compiled, error) {
	compiled, err := c.compile(w.Path, w.OwnNamespace)
	if err != nil {
		return nil, err
	}
	if w.Accept != nil {
		if err := w.Accept(compiled); err != nil {
			return nil, fmt.Errorf("policy file %s:\n%w", w.Path, err)
		}
	}
	return compiled, nil
}

// refuse reports a broken file.
func (w *Watcher) refuse(err error) {
	logged := errors.New(Line(err))
	if current := w.Current(); current != nil {
		w.Recorder.PolicyReloadFailed()
		w.Log.Error(logged, "the policy file is broken, the last good policy stays in force", "path", w.Path, "policy", current.Hash())
		return
	}
	w.problem.Store(&err)
	w.Recorder.PolicyInvalid()
	w.Log.Error(logged, "the policy file is broken, and no policy is in force: not ready until it is mended", "path", w.Path)
}

// use puts a policy in force.
func (w *Watcher) use(compiled *policy.Compiled) {
	w.current.Store(compiled)
	w.Recorder.PolicyReloaded(compiled.Hash(), time.Now())
	spec := &compiled.Document().Spec
	w.Log.Info("policy loaded", "path", w.Path, "name", compiled.Name(), "policy", compiled.Hash(),
		"mode", spec.Mode, "rules", len(spec.Rules))
}
