//go:build chart

package chart_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// Values that cannot be meant are refused before anything changes, with a message that says where and what. Each file
// begins with the messages, all of which are said at once.
func TestValuesThatAreRefused(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			var wants []string
			for line := range strings.Lines(string(read(t, file))) {
				want, found := strings.CutPrefix(line, "# want: ")
				if !found {
					break
				}
				wants = append(wants, strings.TrimSpace(want))
			}
			if len(wants) == 0 {
				t.Fatal("the file does not begin with a message")
			}
			_, err := newest.tryHelm(t, "HELM", "install", "refused", chartDir, "--values=testdata/self-managed.yaml", "--values", file)
			if err == nil {
				newest.helm(t, "uninstall", "refused")
			}
			for _, want := range wants {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("helm install: got %v, want %s", err, want)
				}
			}
		})
	}
}
