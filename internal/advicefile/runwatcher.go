package advicefile

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/shorthop/shorthop/internal/policyfile"
)

// RunRecorder learns how runs of the advisor end.
type RunRecorder interface {
	// AdvisorRan says how the last run ended; nil is for none that is known since at.
	AdvisorRan(run *Run, at time.Time)
}

// runInterval is the time between two looks at how the last run ended.
const runInterval = 10 * time.Second

// RunWatcher knows how the last run of the advisor ended. A file that is broken is told
// once, and what was read before stays.
type RunWatcher struct {
	path     string
	recorder RunRecorder
	log      logr.Logger
	started  time.Time
	seen     string
	current  atomic.Pointer[Run]
}

// NewRunWatcher reads what there is.
func NewRunWatcher(path string, recorder RunRecorder, log logr.Logger) *RunWatcher {
	w := &RunWatcher{path: path, recorder: recorder, log: log, started: time.Now()}
	recorder.AdvisorRan(nil, w.started)
	w.look()
	return w
}

// Current is how the last run ended, nil while there was none. It takes no lock.
func (w *RunWatcher) Current() *Run { return w.current.Load() }

// Start follows the file until ctx ends. It returns nil.
func (w *RunWatcher) Start(ctx context.Context) error {
	ticker := time.NewTicker(runInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			w.look()
		}
	}
}

func (w *RunWatcher) look() {
	now := look(w.path)
	if now == w.seen {
		return
	}
	w.seen = now
	run, err := ReadRun(w.path)
	if err != nil {
		w.log.Error(errors.New(policyfile.Line(err)), "how the last run of the advisor ended cannot be read", "path", w.path)
		return
	}
	w.current.Store(run)
	w.recorder.AdvisorRan(run, w.started)
}
