package mutate_test

import (
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/shorthop/shorthop/pkg/mutate"
)

// TestReleasedRecords reads pods as every edition has left them in clusters
// and backups, and wants what their users wrote. testdata/records has a
// directory for each version of the record, written by the edition that had
// it. Files are added with a new version and never rewritten.
func TestReleasedRecords(t *testing.T) {
	t.Parallel()
	versions := map[string]int{"first-edition": 0, "v1": 1}
	seen := map[string]bool{}
	for _, file := range releasedRecords(t) {
		edition := filepath.Base(filepath.Dir(file))
		version, known := versions[edition]
		if !known {
			t.Errorf("%s is of no version that is known", file)
		}
		seen[edition] = true
		t.Run(edition+"/"+filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil || len(archive.Files) != 2 || archive.Files[0].Name != "pod.json" || archive.Files[1].Name != "undone.json" {
				t.Fatalf("want the sections pod.json and undone.json: %v", err)
			}
			pod := decode(t, archive.Files[0].Data)
			reading := mutate.ReadRecord(pod)
			if !reading.Found || reading.Version != version || reading.LostServiceHost || reading.LostDNS || reading.LostResOptions || reading.ServiceHost == "" && reading.DNS == "" && reading.ResOptions == "" {
				t.Errorf("the record is read as %+v", reading)
			}
			if diff := diffPods(decode(t, archive.Files[1].Data), mutate.Undo(pod)); diff != "" {
				t.Errorf("Undo (-want +got):\n%s", diff)
			}
		})
	}
	for edition := range versions {
		if !seen[edition] {
			t.Errorf("there is no record of %s", edition)
		}
	}
}

func releasedRecords(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/records/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no released records: %v", err)
	}
	return files
}
