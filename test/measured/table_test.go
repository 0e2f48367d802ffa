package measured

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTableLinesUp(t *testing.T) {
	t.Parallel()
	table := NewTable("what", "µs")
	table.Row("a", "10")
	table.Row("longer", "7")
	var b strings.Builder
	table.Write(&b)
	want := `| what   | µs |
|--------|---:|
| a      | 10 |
| longer |  7 |
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
