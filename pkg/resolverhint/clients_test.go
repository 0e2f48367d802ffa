package resolverhint_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/resolverhint"
	"github.com/shorthop/shorthop/test/testfile"
)

// realClient is a file of testdata/clients: what a real client asked a real CoreDNS for.
// `go test -tags e2e ./test/advisor -run QueriesTell -record` writes them.
type realClient struct {
	name, want string
	captured   bool
	queries    []resolverhint.Query
}

func realClients(t *testing.T) []realClient {
	t.Helper()
	files, err := filepath.Glob("testdata/clients/*.txt")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files of clients: %v", len(files), err)
	}
	var clients []realClient
	for _, file := range files {
		data := testfile.Read(t, file)
		c := realClient{name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		c.captured = strings.HasSuffix(c.name, "-proxied")
		for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
			line := lines.Text()
			if want, ok := strings.CutPrefix(line, "# want: "); ok {
				c.want = want
			}
			if strings.HasPrefix(line, "#") {
				continue
			}
			var kind string
			var q resolverhint.Query
			if _, err := fmt.Sscan(line, &kind, &q.Name, &q.Port, &q.ID, &q.Transport); err != nil {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
			q.AAAA = kind == "AAAA"
			c.queries = append(c.queries, q)
		}
		clients = append(clients, c)
	}
	return clients
}

// stops tells whether a client has, or may have, a resolver that stops at ndots.
func (c *realClient) stops() bool {
	return strings.Contains(c.name, "musl") || strings.Contains(c.name, "net-dns")
}

func verdictOf(queries []resolverhint.Query, captured bool) resolverhint.Verdict {
	var observed resolverhint.Client
	for _, q := range queries {
		observed.Add(q)
	}
	e := observed.Evidence()
	return e.Judge(captured)
}

func TestRealClients(t *testing.T) {
	t.Parallel()
	for _, c := range realClients(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := verdictOf(c.queries, c.captured)
			if show(v) != c.want {
				t.Errorf("taken for %s, want %s", show(v), c.want)
			}
			if c.stops() && v.Name != resolverhint.Unknown && v.Name != resolverhint.Musl {
				t.Errorf("one that stops is taken for one that falls through: %s", v.Name)
			}
		})
	}
}

// TestRealClientsInALogThatIsLossyAndOutOfOrder: what is named stays right, and who stops
// is never named otherwise.
func TestRealClientsInALogThatIsLossyAndOutOfOrder(t *testing.T) {
	t.Parallel()
	for _, loss := range []int{0, 1, 5, 10, 20, 30} {
		var named, right, all int
		for _, c := range realClients(t) {
			for seed := range uint64(20) {
				random := rand.New(rand.NewPCG(seed, uint64(loss)))
				v := verdictOf(disturbed(c.queries, loss, random), c.captured)
				if c.stops() && v.Name != resolverhint.Unknown && v.Name != resolverhint.Musl {
					t.Errorf("%s, %d %% lost, seed %d: taken for %s", c.name, loss, seed, v.Name)
				}
				if v.Name != resolverhint.Unknown && show(v) != c.want {
					t.Errorf("%s, %d %% lost, seed %d: taken for %s, want %s", c.name, loss, seed, show(v), c.want)
				}
				if strings.HasPrefix(c.want, "(") {
					continue
				}
				all++
				if v.Name != resolverhint.Unknown {
					named++
				}
				if show(v) == c.want {
					right++
				}
			}
		}
		t.Logf("%d %% lost, 30 %% out of order: %d of %d that can be named are, %d rightly", loss, named, all, right)
		if least := 95; loss <= 10 && right*100 < least*all {
			t.Errorf("%d %% lost: %d of %d named rightly, want %d %%", loss, right, all, least)
		}
	}
}

// TestNetDNSWithABufferSize: a program may have Net::DNS send any buffer size, those of
// c-ares and Netty among them. The order in which it asks stays its own. From two ports it
// looks as dig does, which the question mark of "go?" is for.
func TestNetDNSWithABufferSize(t *testing.T) {
	t.Parallel()
	for _, c := range realClients(t) {
		if c.name != "net-dns-persistent" {
			continue
		}
		for _, size := range []uint16{1232, 4096} {
			queries := slices.Clone(c.queries)
			for i := range queries {
				queries[i].Transport = resolverhint.TransportOf(size, false, false)
			}
			if v := verdictOf(queries, false); v.Name != resolverhint.Unknown {
				t.Errorf("%s, buffer of %d: taken for %s", c.name, size, v.Name)
			}
			for _, loss := range []int{0, 1, 5, 10, 20, 30} {
				for seed := range uint64(20) {
					random := rand.New(rand.NewPCG(seed, uint64(loss)))
					if v := verdictOf(disturbed(queries, loss, random), false); v.Name != resolverhint.Unknown {
						t.Errorf("%s, buffer of %d, %d %% lost, seed %d: taken for %s", c.name, size, loss, seed, v.Name)
					}
				}
			}
		}
	}
}

// disturbed moves three queries in ten by up to ten places, and loses some in a hundred.
// A loss of 30 goes with lines that move anywhere.
func disturbed(queries []resolverhint.Query, loss int, random *rand.Rand) []resolverhint.Query {
	type placed struct {
		at float64
		q  resolverhint.Query
	}
	var list []placed
	for i, q := range queries {
		at := float64(i)
		if random.IntN(100) < 30 {
			if at += 20*random.Float64() - 10; loss == 30 {
				at = random.Float64() * float64(len(queries))
			}
		}
		if random.IntN(100) >= loss {
			list = append(list, placed{at, q})
		}
	}
	slices.SortStableFunc(list, func(a, b placed) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return 0
	})
	var moved []resolverhint.Query
	for i := range list {
		moved = append(moved, list[i].q)
	}
	return moved
}
