package advicefile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/shorthop/shorthop/internal/policyfile"
	"github.com/shorthop/shorthop/pkg/policy"
)

// pollInterval is the time between two looks. More often would be no gain: advice is
// written once an hour, and kubelet needs up to a minute to bring it to the node.
const pollInterval = 2 * time.Second

// Recorder learns how reloads end.
type Recorder interface {
	// AdviceReloaded says what is in force since at; advice is nil where there is
	// none.
	AdviceReloaded(advice *policy.Advice, at time.Time)
	// AdviceReloadFailed says that what is there is broken, and that the last good
	// advice, or none, stays in force.
	AdviceReloadFailed()
}

// Options holds what a Watcher needs. All are required.
type Options struct {
	// Path of a file or a folder.
	Path     string
	Recorder Recorder
	Log      logr.Logger
}

// Watcher holds the advice in force.
//
//	at the path there is                  the watcher
//	what was there at the last look       does nothing
//	something new, as of this look        waits: it may be half written
//	something new, valid                  puts it in force
//	something new, broken or incomplete   keeps the last good advice, logs what is wrong
//	                                      once, and sets the gauge to 0
//	nothing                               has no advice: the policy alone decides
//
// It compares names, sizes and modification times, those of the files that symbolic
// links lead to: they change when kubelet updates a mounted ConfigMap, too.
type Watcher struct {
	Options
	current atomic.Pointer[policy.Advice]
	// settled is what was acted on last, candidate what the last look saw, both as
	// look returns it.
	settled, candidate string
}

// New loads what there is. Broken advice is logged and is no error: the file can be
// mended while the watcher runs.
func New(o Options) *Watcher {
	w := &Watcher{Options: o}
	w.settled = look(o.Path)
	w.candidate = w.settled
	w.load()
	return w
}

// Current returns the advice in force, nil while there is none. It takes no lock.
func (w *Watcher) Current() *policy.Advice { return w.current.Load() }

// Start follows the path until ctx ends. It returns nil.
func (w *Watcher) Start(ctx context.Context) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			w.poll()
		}
	}
}

func (w *Watcher) poll() {
	found := look(w.Path)
	previous := w.candidate
	w.candidate = found
	if found == w.settled || found != previous {
		return
	}
	w.settled = found
	w.load()
}

func (w *Watcher) load() {
	advice, err := Load(w.Path)
	if err != nil {
		w.Recorder.AdviceReloadFailed()
		hash := ""
		if current := w.Current(); current != nil {
			hash = current.Hash()
		}
		w.Log.Error(errors.New(policyfile.Line(err)), "the advice is broken, the last good one stays in force", "path", w.Path, "advice", hash)
		return
	}
	w.current.Store(advice)
	w.Recorder.AdviceReloaded(advice, time.Now())
	if advice == nil {
		w.Log.Info("there is no advice", "path", w.Path)
		return
	}
	w.Log.Info("advice loaded", "path", w.Path, "advice", advice.Hash(), "workloads", advice.Len())
}

// look describes what is at the path, without reading the files. As long as the
// description is the same, nothing has changed.
func look(path string) string {
	names, err := list(path)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return err.Error()
		}
		fmt.Fprintln(&b, name, info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}
