package loggen

import (
	"bytes"
	"math/rand/v2"
	"strings"

	"github.com/shorthop/shorthop/pkg/resolver"
)

// Canonical is the name that stands for all names whose lookups leave the same
// lines in a log: of those, the one that needs the most dots below ndots.
//
//	only query                   canonical
//	short name's first step      the short name, also for pod.service and for a
//	                             name with a dot at its end
//	else, dots >= ndots          the name without a dot at its end
//	else                         the name with one
func Canonical(conf resolver.ResolvConf, r resolver.Resolver, zone resolver.Zone, ndots int, name string) string {
	bare, rooted := strings.CutSuffix(name, ".")
	alone := rooted
	if !rooted && strings.Count(bare, ".") >= ndots {
		queries := r.Lookup(conf, name, zone).Queries
		alone = queries[len(queries)-1].Name == bare
	}
	if !alone {
		return bare
	}
	if short, ok := strings.CutSuffix(bare, "."+conf.Searches[0]); ok && strings.Count(short, ".") < ndots {
		return short
	}
	if strings.Count(bare, ".") >= ndots {
		return bare
	}
	return bare + "."
}

// Disturb loses lines, a share in a thousand, and moves others, a percentage, to
// some place among those with the same timestamp (by the second).
func Disturb(log []byte, seed uint64, lost, moved int) []byte {
	random := rand.New(rand.NewPCG(seed, 2))
	lines := bytes.SplitAfter(log, []byte("\n"))
	second := func(line []byte) string {
		const length = len("2006-01-02T15:04:05")
		return string(line[:min(length, len(line))])
	}
	for start := 0; start < len(lines); {
		end := start + 1
		for end < len(lines) && second(lines[end]) == second(lines[start]) {
			end++
		}
		for i := start; i < end; i++ {
			if random.IntN(100) < moved {
				other := start + random.IntN(end-start)
				lines[i], lines[other] = lines[other], lines[i]
			}
		}
		start = end
	}
	var out bytes.Buffer
	for _, line := range lines {
		if random.IntN(1000) >= lost {
			out.Write(line)
		}
	}
	return out.Bytes()
}
