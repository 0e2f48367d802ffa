package savings

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/resolver"
)

// Pair is a pod and a name of the month that is judged, under a strategy.
type Pair struct {
	Mix, Strategy string
	Name          string
	Before, After resolver.Client
	// Exist are the names that have addresses, of those that the pod could ask for.
	Exist []string
	// Broken is what the page counts.
	Broken bool
}

// Sample draws n pairs, half of them broken, whose pods have one of the resolvers.
// The oracles, which no pod has, are left out.
func Sample(seed uint64, n int, of ...resolver.Resolver) ([]Pair, error) {
	mixes, err := Mixes()
	if err != nil {
		return nil, err
	}
	var broken, whole []Pair
	for i := range mixes {
		pairs, err := newWorld(&mixes[i], seed).pairs(of)
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			if p.Broken {
				broken = append(broken, p)
			} else {
				whole = append(whole, p)
			}
		}
	}
	r := rand.New(rand.NewPCG(seed, 4))
	for _, pairs := range [][]Pair{broken, whole} {
		r.Shuffle(len(pairs), func(a, b int) { pairs[a], pairs[b] = pairs[b], pairs[a] })
	}
	broken = broken[:min(n/2, len(broken))]
	return append(broken, whole[:n-len(broken)]...), nil
}

// pairs are all of the next month under all strategies.
func (w *world) pairs(of []resolver.Resolver) ([]Pair, error) {
	var pairs []Pair
	j := newJudge(w, false)
	for _, s := range strategies() {
		if s.dns == "" {
			continue
		}
		d, err := s.decider(w)
		if err != nil {
			return nil, err
		}
		for i := range w.next {
			l := &w.next[i]
			p := l.pod()
			admitted, err := s.admit(d, l, false)
			if err != nil {
				return nil, err
			}
			was, is := w.clients(l, &p), w.clients(l, &admitted)
			for c := range l.containers {
				for _, use := range l.containers[c].names {
					before, after := j.lookup(&was[c], use.name, false), j.lookup(&is[c], use.name, s.local)
					if slices.Contains(of, is[c].Resolver) {
						pairs = append(pairs, Pair{
							Mix: w.mix.Name, Strategy: s.Name, Name: use.name, Before: was[c], After: is[c],
							Exist: w.existing(use.name, was[c].ResolvConf.Searches), Broken: before.breaks(after),
						})
					}
				}
			}
		}
	}
	return pairs, nil
}

// existing are the names that exist among what a lookup could ask for.
func (w *world) existing(name string, searches []string) []string {
	name = strings.TrimSuffix(name, ".")
	var names []string
	for _, search := range append([]string{""}, searches...) {
		if full := strings.TrimSuffix(name+"."+search, "."); w.exist[full] {
			names = append(names, full)
		}
	}
	return names
}
