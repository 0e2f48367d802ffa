package images

import (
	"strings"
	"testing"
)

func TestWhatAContainerRuns(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0a", 32)
	for imageID, want := range map[string]string{
		"docker.io/library/web@sha256:" + id: "sha256:" + id,
		"docker-pullable://web@sha256:" + id: "sha256:" + id,
		"docker://sha256:" + id:              "sha256:" + id,
		"sha256:" + id:                       "sha256:" + id,
		id:                                   "sha256:" + id,
		"":                                   "",
		"web:1":                              "",
		strings.ToUpper(id):                  "",
		"registry.example/" + strings.Repeat("x", 47): "",
	} {
		if got := (&containerStatus{ImageID: imageID}).digest(); got != want {
			t.Errorf("%q: %q, want %q", imageID, got, want)
		}
	}
}
