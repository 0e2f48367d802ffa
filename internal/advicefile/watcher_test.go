package advicefile_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/testfile"
)

// recorder remembers how the last reload ended.
type recorder struct {
	ok        bool
	workloads int
}

func (r *recorder) AdviceReloaded(a *policy.Advice, _ time.Time) {
	r.ok, r.workloads = true, 0
	if a != nil {
		r.workloads = a.Len()
	}
}
func (r *recorder) AdviceReloadFailed() { r.ok = false }

func document(number, of int, id string, names ...string) []byte {
	var workloads []string
	for _, name := range names {
		workloads = append(workloads, fmt.Sprintf(`{"namespace":"shop","kind":"Deployment","name":%q,"needed":{"3":"2026-11-29"}}`, name))
	}
	part := ""
	if of > 0 {
		part = fmt.Sprintf(`"part":{"number":%d,"of":%d,"document":%q},`, number, of, id)
	}
	return fmt.Appendf(nil, `{"apiVersion":"shorthop.dev/v1alpha1","kind":"DNSAdvice","metadata":{"name":"a"},"spec":{%s"workloads":[%s]}}`,
		part, strings.Join(workloads, ","))
}

func zipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

// TestWatcherFollowsTheFiles has what may happen to a folder, one step after the
// other: what is in force after each, and whether the last reload was good.
func TestWatcherFollowsTheFiles(t *testing.T) {
	directory := t.TempDir()
	write := func(name string, data []byte) func() {
		return func() {
			testfile.Write(t, filepath.Join(directory, name), data)
		}
	}
	remove := func(names ...string) func() {
		return func() {
			for _, name := range names {
				if err := os.Remove(filepath.Join(directory, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	steps := []struct {
		what      string
		do        func()
		workloads int
		ok        bool
	}{
		{"nothing is there", func() {}, 0, true},
		{"a ConfigMap without data", write("advice.json.gz", nil), 0, true},
		{"a first document", write("advice.json.gz", zipped(document(0, 0, "", "web"))), 1, true},
		{"it is cut", write("advice.json.gz", zipped(document(0, 0, "", "web", "api"))[:60]), 1, false},
		{"it is mended, without gzip", write("advice.json.gz", document(0, 0, "", "web", "api")), 2, true},
		{"what kubelet keeps beside is not read", write("..data", []byte("no advice")), 2, true},
		{"the first of two parts", write("advice.json.gz", zipped(document(1, 2, "a", "web", "api"))), 2, false},
		{"the second", write("advice-2.json.gz", zipped(document(2, 2, "a", "job"))), 3, true},
		{"one is of the next document", write("advice.json.gz", zipped(document(1, 2, "b", "web"))), 3, false},
		{"both are", write("advice-2.json.gz", zipped(document(2, 2, "b", "job"))), 2, true},
		{"a workload is in both", write("advice-2.json.gz", zipped(document(2, 2, "b", "web"))), 2, false},
		{"they are gone", remove("advice.json.gz", "advice-2.json.gz"), 0, true},
		{"a pipe is in their place", func() {
			if err := syscall.Mkfifo(filepath.Join(directory, "pipe"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, 0, false},
	}
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		w := advicefile.New(advicefile.Options{Path: directory, Recorder: &r, Log: logr.Discard()})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- w.Start(ctx) }()
		for i, step := range steps {
			step.do()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			got := 0
			if a := w.Current(); a != nil {
				got = a.Len()
			}
			if got != step.workloads || r.ok != step.ok || r.ok && r.workloads != got {
				t.Errorf("step %d, %s: %d workloads, ok %t, recorded %d; want %d, %t", i, step.what, got, r.ok, r.workloads, step.workloads, step.ok)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestABrokenFileIsToldOnOneLineAndOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "advice.yaml")
	testfile.Write(t, path, "apiVersion: shorthop.dev/v1alpha1\nkind: DNSAdvice\nspec: {workloads: 7}\nx: \"\\e[31m\"\n")
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		log := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
		w := advicefile.New(advicefile.Options{Path: path, Recorder: &recorder{}, Log: log})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { _ = w.Start(ctx); close(done) }()
		time.Sleep(time.Minute)
		stop()
		<-done
		if len(lines) != 1 || strings.Contains(lines[0], "\n") || !strings.Contains(lines[0], "spec.workloads") {
			t.Errorf("got %q", lines)
		}
	})
}

func TestWhatUnpacksToTooMuchIsRefused(t *testing.T) {
	t.Parallel()
	large := zipped(bytes.Repeat([]byte(" "), policy.MaxAdviceSize+1))
	if _, err := advicefile.Parse([]advicefile.File{{Name: "a", Data: large}}); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
	half := zipped(bytes.Repeat([]byte(" "), policy.MaxAdviceSize/2+1))
	if _, err := advicefile.Parse([]advicefile.File{{Name: "a", Data: half}, {Name: "b", Data: half}}); err == nil || !strings.Contains(err.Error(), "b: too large") {
		t.Errorf("of two: got %v", err)
	}
}
