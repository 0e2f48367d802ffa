package policyfile_test

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/shorthop/shorthop/internal/policyfile"
)

// TestOnlyRegularFilesAreRead has what would block whoever opens or reads it.
func TestOnlyRegularFilesAreRead(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "policy.yaml")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, "/dev/zero"} {
		if _, err := policyfile.Load(path, ""); err == nil || !strings.Contains(err.Error(), path+" is not a regular file") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

func TestLineIsShort(t *testing.T) {
	t.Parallel()
	if got, want := policyfile.Line(errors.New("one\ntwo\u00e9")), `one; two\u00e9`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := policyfile.Line(errors.New(strings.Repeat("\u00e9", 10_000))); len(got) > 1000 {
		t.Errorf("%d bytes", len(got))
	}
}
