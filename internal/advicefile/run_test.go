package advicefile_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/test/testfile"
)

type runRecorder struct{ runs []string }

func (r *runRecorder) AdvisorRan(run *advicefile.Run, _ time.Time) {
	switch {
	case run == nil:
		r.runs = append(r.runs, "none")
	case run.Error != "":
		r.runs = append(r.runs, run.Error)
	default:
		r.runs = append(r.runs, "well")
	}
}

// TestRunWatcherFollowsTheFile has what may happen to the file, one step after the other, and what is told.
func TestRunWatcherFollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run.json")
	encoded := func(r advicefile.Run) string {
		text, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	steps := []struct {
		what, text string
		told       []string
	}{
		{"a ConfigMap without data", "", []string{"none"}},
		{"a run that went well", encoded(advicefile.Run{Ended: time.Unix(1, 0)}), []string{"well"}},
		{"nothing new", encoded(advicefile.Run{Ended: time.Unix(1, 0)}), nil},
		{"what is cut", `{"v":1,"ended"`, nil},
		{"of a release to come", `{"v":2}`, nil},
		{"more than it can be", `{"v":1,"error":"` + strings.Repeat("a", 70<<10) + `"}`, nil},
		{"a run that failed", encoded(advicefile.Run{Error: "no logs"}), []string{"no logs"}},
	}
	synctest.Test(t, func(t *testing.T) {
		var r runRecorder
		w := advicefile.NewRunWatcher(path, &r, logr.Discard())
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Start(ctx) }()
		if diff := cmp.Diff([]string{"none"}, r.runs); diff != "" {
			t.Errorf("at the start (-want +got):\n%s", diff)
		}
		before := ""
		for _, step := range steps {
			r.runs = nil
			if step.text != before || step.text == "" {
				testfile.Write(t, path, step.text)
			}
			before = step.text
			time.Sleep(time.Minute)
			synctest.Wait()
			if diff := cmp.Diff(step.told, r.runs); diff != "" {
				t.Errorf("%s (-want +got):\n%s", step.what, diff)
			}
		}
		if run := w.Current(); run == nil || run.Error != "no logs" {
			t.Errorf("in the end: %+v", run)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
