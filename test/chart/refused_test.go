//go:build chart

package chart_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// Values that cannot be meant are refused before anything changes, with a message that says where and what. Each file
// begins with the message.
func TestValuesThatAreRefused(t *testing.T) {
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			first, _, _ := strings.Cut(string(read(t, file)), "\n")
			want, found := strings.CutPrefix(first, "# want: ")
			if !found {
				t.Fatal("the file does not begin with the message")
			}
			_, err := newest.tryHelm(t, "HELM", "install", "refused", chartDir, "--values=testdata/self-managed.yaml", "--values", file)
			if err == nil {
				newest.helm(t, "uninstall", "refused")
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("helm install: got %v, want %s", err, want)
			}
		})
	}
}
