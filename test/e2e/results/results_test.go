package results_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/shorthop/shorthop/test/e2e/results"
	"github.com/shorthop/shorthop/test/savings"
)

// The table and the picture of the repository are made of the figures next to them.
func TestResultsBelongTogether(t *testing.T) {
	const dir = "../../../docs/results"
	figures, err := os.ReadFile(filepath.Join(dir, "queries.json"))
	if err != nil {
		t.Fatal(err)
	}
	var queries results.Queries
	if err := json.Unmarshal(figures, &queries); err != nil {
		t.Fatal(err)
	}
	fresh := t.TempDir()
	if err := queries.Write(fresh); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"queries.json", "queries.md", "queries.svg"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(fresh, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s/%s does not fit the figures: run make e2e-results", dir, name)
		}
	}
}

// That savings.json is what is counted now, test/savings holds.
func TestThePictureOfSavingsFitsItsFigures(t *testing.T) {
	const dir = "../../../docs/results"
	figures, err := os.ReadFile(filepath.Join(dir, "savings.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []savings.Result
	if err := json.Unmarshal(figures, &all); err != nil {
		t.Fatal(err)
	}
	want, err := results.SavingsPicture(all)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "savings.svg"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s/savings.svg does not fit the figures: run make bench-savings", dir)
	}
}
