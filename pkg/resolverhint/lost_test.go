package resolverhint_test

import (
	"math/rand/v2"
	"testing"

	"github.com/shorthop/shorthop/pkg/resolverhint"
)

// lossy lets a writer look up one of a few names every so many seconds, and loses some
// of its lines in a hundred.
func lossy(w writer, lookups, names, every, loss int, seed uint64) resolverhint.Evidence {
	random := rand.New(rand.NewPCG(seed, uint64(loss)))
	var c resolverhint.Client
	for i := range lookups {
		for _, q := range w(random, uint64(1+random.IntN(names))) {
			q.Unix = int64(1_700_000_000 + i*every)
			if random.IntN(100) >= loss {
				c.Add(q)
			}
		}
	}
	return c.Evidence()
}

// TestAFewNamesInALogThatIsLossy: what is left of two lookups of a name looks like a pair
// from two ports, and is none.
func TestAFewNamesInALogThatIsLossy(t *testing.T) {
	t.Parallel()
	beside := sometimes(3, twoPorts(noBuffer), onePort(noBuffer))
	for _, loss := range []int{1, 5, 10, 20, 30} {
		named, unnamed, all := 0, 0, 0
		for _, names := range []int{1, 2, 4, 20} {
			for _, every := range []int{0, 1, 3, 10} {
				for seed := range uint64(10) {
					all++
					e := lossy(onePort(noBuffer), 300, names, every, loss, seed)
					switch v := e.Judge(false); v.Name {
					case resolverhint.Glibc:
						named++
					case resolverhint.Unknown:
					default:
						t.Errorf("%d names every %d s, %d %% lost: glibc is taken for %s", names, every, loss, show(v))
					}
					e = lossy(beside, 300, names, every, loss, seed)
					if v := e.Judge(false); v.Name == resolverhint.Unknown {
						unnamed++
					}
				}
			}
		}
		t.Logf("%d %% lost: glibc named in %d of %d, beside one that asks from two ports in %d", loss, named, all, all-unnamed)
		if named*100 < 95*all {
			t.Errorf("%d %% lost: glibc is named in %d of %d", loss, named, all)
		}
		if unnamed*100 < 95*all {
			t.Errorf("%d %% lost: %d of %d named, though one lookup in three is from two ports", loss, all-unnamed, all)
		}
	}
}
