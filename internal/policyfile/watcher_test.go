package policyfile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/policyfile"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/testfile"
)

// document returns a valid policy with the name.
func document(name string) string {
	return fmt.Sprintf(`apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: %s}
spec:
  dns: {ndots: 2}
`, name)
}

const broken = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
spec:
  mode: Sometimes
  dns: {ndots: 99}
`

// fixture is a watched file with everything that the watcher says about it.
type fixture struct {
	t    *testing.T
	path string
	*policyfile.Watcher

	mu   sync.Mutex
	good bool
	// invalid says that there was no policy at first.
	invalid bool
	hash    string
	loaded  time.Time
	errors  []string
	infos   []string
}

func (f *fixture) PolicyReloaded(hash string, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.good, f.hash, f.loaded = true, hash, at
}

func (f *fixture) PolicyReloadFailed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.good = false
}

func (f *fixture) PolicyInvalid() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.good, f.invalid = false, true
}

func (f *fixture) logger() logr.Logger {
	return funcr.New(func(_, args string) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if strings.Contains(args, `"error"=`) {
			f.errors = append(f.errors, args)
		} else {
			f.infos = append(f.infos, args)
		}
	}, funcr.Options{})
}

func (f *fixture) write(content string) {
	f.t.Helper()
	testfile.Write(f.t, f.path, content)
}

func (f *fixture) remove() {
	f.t.Helper()
	if err := os.Remove(f.path); err != nil {
		f.t.Fatal(err)
	}
}

// polls lets the watcher look at the file n times.
func (f *fixture) polls(n int) {
	time.Sleep(time.Duration(n) * time.Second)
	synctest.Wait()
}

// logged returns the error lines and the other lines so far, and when a policy
// was loaded last.
func (f *fixture) logged() (errors, infos []string, loaded time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.errors), slices.Clone(f.infos), f.loaded
}

// expect checks which policy is in force, whether the last reload was good,
// and how many error lines have been logged so far.
func (f *fixture) expect(name string, good bool, errorLines int) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	type state struct {
		Name       string
		Good       bool
		ErrorLines int
	}
	got := state{f.Current().Name(), f.good, len(f.errors)}
	if diff := cmp.Diff(state{name, good, errorLines}, got); diff != "" {
		f.t.Errorf("(-want +got)\n%s\nerrors logged: %q", diff, f.errors)
	}
	if good && f.hash != f.Current().Hash() {
		f.t.Errorf("the metrics have hash %s, in force is %s", f.hash, f.Current().Hash())
	}
}

// unwanted is the name of a policy that is not accepted.
const unwanted = "unwanted"

func accept(c *policy.Compiled) error {
	if c.Name() == unwanted {
		return errors.New("nobody wants it")
	}
	return nil
}

// begin starts to watch a file until the test ends, in a bubble.
func begin(t *testing.T, path string, o policyfile.Options) *fixture {
	t.Helper()
	f := &fixture{t: t, path: path}
	o.Path, o.Recorder, o.Log = path, f, f.logger()
	f.Watcher = policyfile.New(o)
	go func() {
		if err := f.Start(t.Context()); err != nil {
			t.Errorf("Start: %v", err)
		}
	}()
	return f
}

// watch runs test in a bubble in which the policy "first" is in force. path is
// the file to watch, and already there.
func watch(t *testing.T, path string, test func(f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := begin(t, path, policyfile.Options{Accept: accept})
		if err := f.Problem(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second / 2) // between two polls from now on
		f.expect("first", true, 0)
		test(f)
	})
}

func newFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	testfile.Write(t, path, document("first"))
	return path
}

func TestWatcherFollowsTheFile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(f *fixture){
		"a change is in force at the second poll that sees it": func(f *fixture) {
			f.write(document("second"))
			f.polls(1)
			f.expect("first", true, 0)
			_, _, before := f.logged()
			f.polls(1)
			f.expect("second", true, 0)
			if _, _, loaded := f.logged(); loaded.Sub(before) != 2*time.Second {
				f.t.Errorf("loaded %s after the first one", loaded.Sub(before))
			}
		},
		"a file that is written slowly is loaded once, when it is complete": func(f *fixture) {
			text := document("second")
			for end := 0; end < len(text); end += 20 {
				f.write(text[:end])
				f.polls(1)
				f.expect("first", true, 0)
			}
			f.write(text)
			f.polls(2)
			f.expect("second", true, 0)
		},
		"a file is replaced by a rename": func(f *fixture) {
			next := f.path + ".next"
			testfile.Write(f.t, next, document("second"))
			if err := os.Rename(next, f.path); err != nil {
				f.t.Fatal(err)
			}
			f.polls(2)
			f.expect("second", true, 0)
		},
		"a broken file leaves the last good policy, and is reported once": func(f *fixture) {
			f.write(broken)
			f.polls(60)
			f.expect("first", false, 1)
			errors, _, _ := f.logged()
			for _, want := range []string{"spec.mode", "spec.dns.ndots", "policy.yaml"} {
				if !strings.Contains(errors[0], want) {
					f.t.Errorf("the log line lacks %q: %s", want, errors[0])
				}
			}
		},
		"a policy that is not accepted is as good as broken": func(f *fixture) {
			f.write(document(unwanted))
			f.polls(5)
			f.expect("first", false, 1)
			if errors, _, _ := f.logged(); !strings.Contains(errors[0], "nobody wants it") {
				f.t.Errorf("the reason is not logged: %s", errors[0])
			}
			f.write(document("wanted"))
			f.polls(2)
			f.expect("wanted", true, 1)
		},
		"each broken content is reported": func(f *fixture) {
			f.write(broken)
			f.polls(3)
			f.write("")
			f.polls(3)
			f.expect("first", false, 2)
		},
		"a broken file is repaired": func(f *fixture) {
			f.write(broken)
			f.polls(2)
			f.write(document("second"))
			f.polls(2)
			f.expect("second", true, 1)
		},
		"a broken file is taken back to what it was": func(f *fixture) {
			f.write(broken)
			f.polls(2)
			f.write(document("first"))
			f.polls(2)
			f.expect("first", true, 1)
		},
		"a file that is away between two polls is not missed": func(f *fixture) {
			f.remove()
			f.polls(1)
			f.write(document("first"))
			f.polls(10)
			f.expect("first", true, 0)
		},
		"a file is deleted for good, and comes back": func(f *fixture) {
			f.remove()
			f.polls(60)
			f.expect("first", false, 1)
			f.write(document("second"))
			f.polls(2)
			f.expect("second", true, 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			watch(t, newFile(t), test)
		})
	}
}

// kubelet writes each version of a ConfigMap to a folder of its own and swaps
// the symbolic link ..data, through which the file's own link leads.
func TestWatcherFollowsKubeletsSymlinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	publish := func(version, content string) {
		t.Helper()
		folder := filepath.Join(dir, "..version-"+version)
		next := filepath.Join(dir, "..data_tmp")
		for _, err := range []error{
			os.Mkdir(folder, 0o700),
			os.WriteFile(filepath.Join(folder, "policy.yaml"), []byte(content), 0o600),
			os.Symlink(filepath.Base(folder), next),
			os.Rename(next, filepath.Join(dir, "..data")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	publish("1", document("first"))
	path := filepath.Join(dir, "policy.yaml")
	if err := os.Symlink(filepath.Join("..data", "policy.yaml"), path); err != nil {
		t.Fatal(err)
	}
	watch(t, path, func(f *fixture) {
		publish("2", document("second"))
		f.polls(1)
		if err := os.RemoveAll(filepath.Join(dir, "..version-1")); err != nil {
			t.Fatal(err)
		}
		f.polls(1)
		f.expect("second", true, 0)
		publish("3", broken)
		f.polls(2)
		f.expect("second", false, 1)
		publish("4", document("fourth"))
		f.polls(2)
		f.expect("fourth", true, 1)
	})
}

// TestWatcherStartsWithoutAPolicy has every kind of file that is broken from the start. The server has no policy, and
// takes the file once it is mended.
func TestWatcherStartsWithoutAPolicy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		breakIt func(path string) error
		why     string
	}{
		"it is not there":         {os.Remove, "no such file"},
		"it is a folder":          {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, "is a directory"},
		"it is empty":             {func(path string) error { return os.WriteFile(path, nil, 0o600) }, "policy.yaml"},
		"it is not YAML":          {func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) }, "policy.yaml"},
		"it is another kind":      {func(path string) error { return os.WriteFile(path, []byte("kind: Pod\n"), 0o600) }, "kind"},
		"it has wrong values":     {func(path string) error { return os.WriteFile(path, []byte(broken), 0o600) }, "spec.dns.ndots"},
		"it is not accepted here": {func(path string) error { return os.WriteFile(path, []byte(document(unwanted)), 0o600) }, "nobody wants it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := newFile(t)
			if err := test.breakIt(path); err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				prepared := ""
				f := begin(t, path, policyfile.Options{Accept: accept, Prepare: func(_ context.Context, c *policy.Compiled) func() {
					prepared = c.Name()
					return func() {}
				}})
				f.polls(60)
				if f.Current() != nil || f.good || !f.invalid || f.Problem() == nil || !strings.Contains(f.Problem().Error(), test.why) {
					t.Errorf("policy %v, good %t, invalid %t, problem %v; want %q", f.Current(), f.good, f.invalid, f.Problem(), test.why)
				}
				if logged, _, _ := f.logged(); len(logged) != 1 || !strings.Contains(logged[0], test.why) {
					t.Errorf("logged %q", logged)
				}
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				f.write(document("mended"))
				f.polls(3)
				if f.Current() == nil || f.Current().Name() != "mended" || f.Problem() != nil || !f.good || prepared != "mended" {
					t.Errorf("mended: policy %v, good %t, problem %v, prepared %q", f.Current(), f.good, f.Problem(), prepared)
				}
			})
		})
	}
}

// What needs time to get ready for a policy gets it before the policy decides.
func TestWatcherPreparesForAPolicyBeforeItIsInForce(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	synctest.Test(t, func(t *testing.T) {
		var f *fixture
		var steps []string
		step := func(format string, args ...any) {
			steps = append(steps, fmt.Sprintf(format, args...)+" under "+f.Current().Name())
		}
		f = begin(t, path, policyfile.Options{Prepare: func(_ context.Context, c *policy.Compiled) func() {
			step("prepare %s", c.Name())
			time.Sleep(3 * time.Second)
			step("prepared %s", c.Name())
			return func() { step("in force: %s", c.Name()) }
		}})
		f.write(broken) // nothing to prepare for
		f.polls(3)
		f.write(document("second"))
		f.polls(8)
		want := []string{"prepare second under first", "prepared second under first", "in force: second under second"}
		if diff := cmp.Diff(want, steps); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestLoad(t *testing.T) {
	t.Parallel()
	path := newFile(t)
	compiled, err := policyfile.Load(path, "shorthop-system")
	if err != nil {
		t.Fatal(err)
	}
	if !compiled.Excludes("shorthop-system") {
		t.Error("our own namespace is not excluded")
	}
	testfile.Write(t, path, broken)
	_, err = policyfile.Load(path, "")
	if err == nil {
		t.Fatal("a broken file is loaded")
	}
	for _, want := range []string{path, "spec.mode", "spec.dns.ndots"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error lacks %q: %v", want, err)
		}
	}
	if _, err := policyfile.Load(filepath.Join(t.TempDir(), "none"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want that the file does not exist", err)
	}
}

func TestLoadReadsNoMoreThanAPolicyCanHave(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	testfile.Write(t, path, "")
	if err := os.Truncate(path, 1<<40); err != nil { // takes no room
		t.Fatal(err)
	}
	if _, err := policyfile.Load(path, ""); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("got %v", err)
	}
}
