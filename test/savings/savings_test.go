package savings

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/shorthop/shorthop/test/testfile"
)

// missed are the mixes in which knowing the resolvers does not reach its target,
// as the page says. Most containers of the first have musl, which does not fall
// through; in the second it is short by what was not read again.
var missed = []string{"workflows on EKS", "web services"}

// TestThePageKeepsItsPromises holds the page in docs/results to its figures, and
// the figures to what they promise.
func TestThePageKeepsItsPromises(t *testing.T) {
	if testing.Short() {
		t.Skip("two months of five clusters under every strategy")
	}
	t.Parallel()
	results, err := Run(Seed)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) < 5 {
		t.Errorf("%d mixes, want five", len(results))
	}
	for i := range results {
		r := &results[i]
		for n := range r.Rows {
			row := &r.Rows[n]
			if row.Ours && (row.Broken != 0 || row.Hijacked.Broken != 0) {
				t.Errorf("%s: %s breaks %d lookups, and %d where %s is a name outside; want none", r.Name, row.Strategy, row.Broken, row.Hijacked.Broken, publicNamespace)
			}
			if row.Ours && row.SavedPercent <= 0 {
				t.Errorf("%s: %s saves %.1f %%", r.Name, row.Strategy, row.SavedPercent)
			}
		}
		share := r.Row(nameKnown).OfOracle
		if met := share >= targetKnown; met == slices.Contains(missed, r.Name) {
			t.Errorf("%s: with resolvers known %.1f %% of what the oracle saves, of %d %%", r.Name, share, targetKnown)
		}
		if fixed := r.Row("fixed 1"); fixed.Broken == 0 {
			t.Errorf("%s: a fixed ndots of 1 breaks nothing: this test can see nothing break", r.Name)
		}
		if row := r.Row(nameOracle); row.Broken != 0 || row.Queries > r.Row(nameDefault).Queries || row.Queries < r.Row(nameCheap).Queries {
			t.Errorf("%s: the oracle breaks %d lookups and needs %d queries", r.Name, row.Broken, row.Queries)
		}
	}
	fresh := t.TempDir()
	if err := Write(results, fresh); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"savings.md", "savings.json"} {
		want := testfile.Read(t, filepath.Join(fresh, name))
		got := testfile.Read(t, filepath.Join("..", "..", "docs", "results", name))
		if !bytes.Equal(got, want) {
			t.Errorf("docs/results/%s is not what is counted now: run make bench-savings", name)
		}
	}
}

func TestMixesSayAllThatIsWrong(t *testing.T) {
	t.Parallel()
	m := Mix{Images: []Share{{"glibc", 50, "assumption"}, {"uclibc", 40, ""}}, Names: []Share{{"service", 100, "assumption"}}, Pods: []Share{{"odd", 101, "assumption"}}}
	const want = `images: "uclibc" is not known
images: uclibc has no source
images: 90 percent in all
pods: "odd" is not known
pods: odd: 101 percent
name and about must be there`
	if err := m.validate(); err == nil || err.Error() != want {
		t.Errorf("%v\nwant\n%s", err, want)
	}
}
