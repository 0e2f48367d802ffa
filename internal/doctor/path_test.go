package doctor

import (
	"slices"
	"testing"

	"github.com/shorthop/shorthop/test/testfile"
)

// TestPaths reads the case files of testdata/paths: paths are shown as they are expected, with their notes.
func TestPaths(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/paths", func(t *testing.T, c *testfile.Case) {
		var drawn []byte
		for _, path := range Judge(factsOf(t, c, "paths")).Paths {
			drawn = append(drawn, lines(path.Of+": "+path.String(), path.Notes...)...)
			if i := slices.IndexFunc(path.Hops, func(hop Hop) bool { return hop.From == "" }); i >= 0 {
				t.Errorf("no source of %s", path.Hops[i].Name)
			}
		}
		c.Expect(t, "paths", drawn)
	})
}
