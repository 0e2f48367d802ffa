package resolverhint_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/shorthop/shorthop/pkg/resolverhint"
)

// writer is a resolver as the package's table has it. The real ones are in
// testdata/clients; these are for as many pairs as a case needs.
type writer func(random *rand.Rand, name uint64) []resolverhint.Query

const noBuffer = 512

// pair is A and AAAA of a name.
func pair(name uint64, portA, portAAAA, idA, idAAAA, buffer uint16) []resolverhint.Query {
	t := resolverhint.TransportOf(buffer, false, false)
	return []resolverhint.Query{
		{Name: name, Port: portA, ID: idA, Transport: t},
		{Name: name, Port: portAAAA, ID: idAAAA, AAAA: true, Transport: t},
	}
}

func port(random *rand.Rand) uint16 { return uint16(32768 + random.IntN(28000)) }

func id(random *rand.Rand) uint16 { return uint16(random.IntN(1 << 16)) }

// near writes pairs of IDs at distances between two bounds.
func near(low, high int) writer {
	return func(random *rand.Rand, name uint64) []resolverhint.Query {
		p, a := port(random), id(random)
		return pair(name, p, p, a, a+uint16(low+random.IntN(high-low+1)), noBuffer)
	}
}

// clocked is glibc from 2.30 on, imitated: an ID is from the clock (random_bits), and
// that of AAAA so many nanoseconds later.
func clocked(low, high int) writer {
	bits := func(clock uint32) uint16 { return uint16(clock ^ clock>>8) }
	return func(random *rand.Rand, name uint64) []resolverhint.Query {
		p, seconds, nanos := port(random), random.Uint32(), uint32(random.IntN(1_000_000_000))
		return pair(name, p, p, bits(nanos^seconds), bits((nanos+uint32(low+random.IntN(high-low+1)))^seconds), noBuffer)
	}
}

func onePort(buffer uint16) writer {
	return func(random *rand.Rand, name uint64) []resolverhint.Query {
		p := port(random)
		return pair(name, p, p, id(random), id(random), buffer)
	}
}

func twoPorts(buffer uint16) writer {
	return func(random *rand.Rand, name uint64) []resolverhint.Query {
		return pair(name, port(random), port(random), id(random), id(random), buffer)
	}
}

// atOnce has AAAA before A in one pair of three: the two are on their way at once.
func atOnce(w writer) writer {
	return func(random *rand.Rand, name uint64) []resolverhint.Query {
		queries := w(random, name)
		if random.IntN(3) == 0 {
			slices.Reverse(queries)
		}
		return queries
	}
}

func samePort(buffer uint16) writer {
	return func(random *rand.Rand, name uint64) []resolverhint.Query {
		return pair(name, 40000, 40000, id(random), id(random), buffer)
	}
}

// searched is Net::DNS, which goes through the search list for A and then for AAAA.
func searched(random *rand.Rand, name uint64) (queries []resolverhint.Query) {
	for _, aaaa := range []bool{false, true} {
		for step := range uint64(4) {
			queries = append(queries, resolverhint.Query{Name: 8*name + step, Port: port(random), ID: id(random), AAAA: aaaa, Transport: resolverhint.TransportOf(noBuffer, false, false)})
		}
	}
	return queries
}

// only leaves out one type.
func only(aaaa bool, w writer) writer {
	return func(random *rand.Rand, name uint64) []resolverhint.Query {
		return slices.DeleteFunc(w(random, name), func(q resolverhint.Query) bool { return q.AAAA != aaaa })
	}
}

// sometimes writes as other does, one time in so many.
func sometimes(in int, other, w writer) writer {
	return func(random *rand.Rand, name uint64) []resolverhint.Query {
		if random.IntN(in) == 0 {
			return other(random, name)
		}
		return w(random, name)
	}
}

// with changes the transport.
func with(do, tcp bool, w writer) writer {
	return func(random *rand.Rand, name uint64) []resolverhint.Query {
		queries := w(random, name)
		for i := range queries {
			queries[i].Transport = resolverhint.TransportOf(noBuffer, do, tcp)
		}
		return queries
	}
}

// narrow has IDs of a sixteenth of the range.
func narrow(random *rand.Rand, name uint64) []resolverhint.Query {
	p := port(random)
	return pair(name, p, p, id(random)/16, id(random)/16, noBuffer)
}

// jittered is musl with a clock that takes long to read, sometimes very long.
func jittered(random *rand.Rand, name uint64) []resolverhint.Query {
	p, a := port(random), id(random)
	return pair(name, p, p, a, a+uint16(int(20000*random.ExpFloat64())), noBuffer)
}

func notLogged(random *rand.Rand, name uint64) []resolverhint.Query {
	queries := onePort(noBuffer)(random, name)
	for i := range queries {
		queries[i].Transport = resolverhint.NotLogged
	}
	return queries
}

// observe lets a writer look up names of twenty.
func observe(w writer, lookups int, seed uint64) resolverhint.Evidence {
	random := rand.New(rand.NewPCG(seed, 7))
	var c resolverhint.Client
	for range lookups {
		for _, q := range w(random, uint64(1+random.IntN(20))) {
			c.Add(q)
		}
	}
	return c.Evidence()
}

func show(v resolverhint.Verdict) string {
	if v.Name == resolverhint.Unknown {
		return "(" + string(v.Reason) + ")"
	}
	return string(v.Name)
}

// TestJudge has a case for every line of the table above Judge.
func TestJudge(t *testing.T) {
	t.Parallel()
	musl, glibc := near(80, 4000), onePort(noBuffer)
	reached := make(map[string]bool)
	for name, test := range map[string]struct {
		writer   writer
		lookups  int
		captured bool
		want     string
	}{
		"musl":                          {musl, 50, false, "musl"},
		"musl, once descheduled in ten": {sometimes(10, near(5000, 60000), musl), 200, false, "musl"},
		"glibc, 300 to 1,000 ns between A and AAAA":      {clocked(300, 1000), 200, false, "glibc"},
		"glibc, 1 to 4 µs between them":                  {clocked(1000, 4000), 1000, false, "glibc"},
		"glibc, 2 to 8 µs, a log of a week":              {clocked(2000, 8000), 100_000, false, "glibc"},
		"glibc, 5 to 30 µs":                              {clocked(5000, 30000), 50, false, "glibc"},
		"the same in few queries":                        {clocked(1000, 4000), 40, false, "(mixed)"},
		"the same on a fast clock, one in three of musl": {sometimes(3, musl, clocked(300, 1000)), 200, false, "musl"},
		"glibc":                                {glibc, 50, false, "glibc"},
		"glibc, as many as a log of a week":    {glibc, 100_000, false, "glibc"},
		"glibc with edns0":                     {onePort(1200), 50, false, "glibc"},
		"Go":                                   {twoPorts(1232), 50, false, "go?"},
		"c-ares":                               {atOnce(samePort(1232)), 50, false, "c-ares"},
		"c-ares, a channel for each name":      {atOnce(onePort(1232)), 50, false, "c-ares"},
		"one type after the other, 1232":       {samePort(1232), 50, false, "(in_turn)"},
		"one type after the other, 4096":       {samePort(4096), 50, false, "(in_turn)"},
		"Netty":                                {atOnce(samePort(4096)), 50, false, "netty"},
		"one port for many names, and no EDNS": {samePort(noBuffer), 50, false, "(shared_port)"},
		"the same with musl's IDs": {func(r *rand.Rand, name uint64) []resolverhint.Query {
			a := id(r)
			return pair(name, 4000, 4000, a, a+200, noBuffer)
		}, 50, false, "(musl_run)"},
		"two ports and no EDNS":                     {twoPorts(noBuffer), 50, false, "(two_ports)"},
		"19 pairs":                                  {musl, 19, false, "(few_pairs)"},
		"20 pairs":                                  {musl, 20, false, "musl"},
		"A only":                                    {only(false, musl), 500, false, "(few_pairs)"},
		"AAAA only":                                 {only(true, glibc), 500, false, "(few_pairs)"},
		"nothing":                                   {glibc, 0, false, "(few_pairs)"},
		"a log without ports":                       {notLogged, 50, false, "(fields_missing)"},
		"glibc's, with a proxy in the cluster":      {glibc, 50, true, "(dns_capture)"},
		"DO in one query":                           {sometimes(50, with(true, false, glibc), glibc), 300, false, "(forwarder)"},
		"use-vc":                                    {with(false, true, glibc), 50, false, "(tcp)"},
		"TCP for one name in ten":                   {sometimes(10, with(false, true, glibc), glibc), 300, false, "(tcp)"},
		"TCP for one name in a hundred":             {sometimes(100, with(false, true, glibc), glibc), 1000, false, "glibc"},
		"a buffer size of nobody":                   {onePort(1400), 50, false, "(other_edns)"},
		"no EDNS, and a buffer size, by turns":      {sometimes(2, onePort(1232), glibc), 100, false, "(mixed)"},
		"always the same distance":                  {near(256, 256), 50, false, "(slow_clock)"},
		"equal IDs":                                 {near(0, 0), 50, false, "(slow_clock)"},
		"counted IDs":                               {near(1, 1), 50, false, "(slow_clock)"},
		"a clock of microseconds":                   {near(6000, 9000), 50, false, "(slow_clock)"},
		"a slow clock that is late at times":        {jittered, 200, false, "(slow_clock)"},
		"IDs of a sixteenth of the range, as close": {narrow, 100, false, "(ids_not_spread)"},
		"IDs of one quarter, far from each other": {func(r *rand.Rand, name uint64) []resolverhint.Query {
			p := port(r)
			return pair(name, p, p, id(r)/4, id(r), noBuffer)
		}, 100, false, "(ids_not_spread)"},
		"musl beside glibc, one in three":       {sometimes(3, musl, glibc), 200, false, "(musl_run)"},
		"glibc beside musl, one in three":       {sometimes(3, glibc, musl), 200, false, "(musl_run)"},
		"musl beside Go":                        {sometimes(2, musl, twoPorts(1232)), 200, false, "(musl_run)"},
		"Net::DNS beside glibc, by halves":      {sometimes(2, searched, glibc), 100, false, "(one_type)"},
		"musl for A only, beside glibc":         {sometimes(3, only(false, musl), glibc), 300, false, "(one_type)"},
		"Net::DNS for AAAA only, beside c-ares": {sometimes(3, only(true, twoPorts(noBuffer)), atOnce(samePort(1232))), 2000, false, "(mixed)"},
	} {
		t.Run(name, func(t *testing.T) {
			e := observe(test.writer, test.lookups, 1)
			v := e.Judge(test.captured)
			reached[string(v.Reason)] = true
			if got := show(v); got != test.want {
				t.Errorf("got %s, want %s: %+v", got, test.want, e)
			}
			if (v.Name == resolverhint.Unknown) != (v.Reason != "") || v.Reason != "" && v.Reason.Sentence() == "" {
				t.Errorf("neither a name nor a reason that is explained: %+v", v)
			}
		})
	}
	for _, reason := range resolverhint.Reasons() {
		if !reached[string(reason)] {
			t.Errorf("no case for %s", reason)
		}
	}
}

// TestARunOfMuslIsAVeto: five pairs of another container's musl, among many of glibc.
func TestARunOfMuslIsAVeto(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, falling := range []writer{onePort(noBuffer), twoPorts(1232), atOnce(samePort(1232)), atOnce(samePort(4096))} {
		var c resolverhint.Client
		for i := range 1000 {
			w := falling
			if i >= 500 && i < 505 {
				w = near(100, 3000)
			}
			for _, q := range w(random, uint64(i%20)) {
				c.Add(q)
			}
		}
		e := c.Evidence()
		if v := e.Judge(false); v.Reason != resolverhint.MuslRun {
			t.Errorf("got %+v, want %s", v, resolverhint.MuslRun)
		}
		// It counts for all pods of a workload, whatever the others ask.
		other := observe(falling, 10_000, 3)
		other.Add(&e)
		if v := other.Judge(false); v.Reason != resolverhint.MuslRun {
			t.Errorf("with another pod: got %+v, want %s", v, resolverhint.MuslRun)
		}
	}
}

// TestChanceDecidesSeldom counts verdicts of many clients of a kind.
func TestChanceDecidesSeldom(t *testing.T) {
	t.Parallel()
	const clients = 2000
	for name, test := range map[string]struct {
		writer  writer
		lookups int
		want    string
		most    int // other verdicts, all of them unknown
	}{
		"glibc, 20 pairs":     {onePort(noBuffer), 20, "glibc", 60},
		"glibc, 50 pairs":     {onePort(noBuffer), 50, "glibc", 20},
		"glibc, 5,000 pairs":  {onePort(noBuffer), 5000, "glibc", 60},
		"musl, 20 pairs":      {near(80, 4000), 20, "musl", 0},
		"Go, 20 pairs":        {twoPorts(1232), 20, "go?", 5},
		"two resolvers, half": {sometimes(2, near(80, 4000), onePort(noBuffer)), 100, "(mixed)", clients},
		// Its clock is too slow for IDs to be close.
		"musl on a slow machine beside glibc": {sometimes(2, near(2800, 6800), onePort(noBuffer)), 200, "(slow_clock)", clients},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			others := 0
			n := clients
			if test.lookups > 1000 {
				n = clients / 20
				test.most /= 10
			}
			for seed := range n {
				e := observe(test.writer, test.lookups, uint64(seed))
				v := e.Judge(false)
				if show(v) == test.want {
					continue
				}
				others++
				if v.Name != resolverhint.Unknown {
					t.Fatalf("seed %d: taken for %s", seed, v.Name)
				}
			}
			if others > test.most {
				t.Errorf("%d of %d are not %s, want at most %d", others, n, test.want, test.most)
			}
		})
	}
}

// TestPodsAddUp: the pods of a workload may have too few pairs each.
func TestPodsAddUp(t *testing.T) {
	t.Parallel()
	for want, w := range map[string]writer{"musl": near(80, 4000), "glibc": onePort(noBuffer), "go?": twoPorts(1232)} {
		var all resolverhint.Evidence
		for seed := range uint64(10) {
			e := observe(w, 5, seed)
			if v := e.Judge(false); v.Reason != resolverhint.FewPairs {
				t.Errorf("%s, one pod: %+v", want, v)
			}
			all.Add(&e)
		}
		if v := all.Judge(false); show(v) != want || v.Pairs != 50 {
			t.Errorf("%s, ten pods: %+v", want, v)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, bench := range []struct {
		name string
		w    writer
	}{{"one port", onePort(noBuffer)}, {"two ports", twoPorts(1232)}, {"A only", only(false, onePort(noBuffer))}} {
		b.Run(bench.name, func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 1))
			var queries []resolverhint.Query
			for i := range 1000 {
				queries = append(queries, bench.w(random, uint64(i%20))...)
			}
			var c resolverhint.Client
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.Add(queries[i%len(queries)])
			}
		})
	}
}

func ExampleEvidence_Judge() {
	e := observe(onePort(noBuffer), 100, 1)
	fmt.Println(e.Judge(false).Name)
	fmt.Println(e.Judge(true).Reason.Sentence())
	// Output:
	// glibc
	// Something between the pods and this server may write queries anew: a mesh that captures DNS, or Cilium with rules for DNS.
}
