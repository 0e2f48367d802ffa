package advicefile

import (
	"context"
	"errors"
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

// FollowRun returns what tells a recorder how runs end, until its context does. A file
// that is broken is told once, and what was read before stays.
func FollowRun(path string, recorder RunRecorder, log logr.Logger) func(context.Context) error {
	started, seen := time.Now(), ""
	look := func() {
		now := look(path)
		if now == seen {
			return
		}
		seen = now
		run, err := ReadRun(path)
		if err != nil {
			log.Error(errors.New(policyfile.Line(err)), "how the last run of the advisor ended cannot be read", "path", path)
			return
		}
		recorder.AdvisorRan(run, started)
	}
	recorder.AdvisorRan(nil, started)
	look()
	return func(ctx context.Context) error {
		ticker := time.NewTicker(runInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
				look()
			}
		}
	}
}
