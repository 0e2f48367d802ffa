// Package savings counts what strategies of resolver options save in clusters of
// several mixes of resolvers and names, and what they break. It writes
// docs/results/savings.md and savings.json; test/e2e draws the picture.
//
//	mixes/*.yaml  what runs there and what it looks up, each share with its source
//	world.go      a mix, drawn: workloads of one month and of the next
//	strategy.go   the rows: policies, decided and applied as in a cluster
//	advise.go     two of them: pkg/advisor over the first month's query log
//	judge.go      the next month's lookups, by the models of pkg/resolver
//	sample.go     some of them, for test/resolver to ask the real resolvers
//
// Equal seeds give equal pages.
package savings

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Seed is that of the page.
const Seed = 1

// Figures are what a month comes to under a strategy.
type Figures struct {
	// Lookups, and the Queries that they cost, each of a lookup that breaks as many
	// as under kubelet's default.
	Lookups int64 `json:"lookups"`
	Queries int64 `json:"queries"`
	// Answered are lookups with the answer that they have under kubelet's default,
	// Broken those that had one and now have none or another one; the rest had none.
	Answered int64 `json:"answered"`
	Broken   int64 `json:"broken"`
	// BrokenSeen are those of containers whose image's reference was there in the
	// first month. BrokenNames are pairs of container and name.
	BrokenSeen  int64 `json:"brokenSeen"`
	BrokenNames int64 `json:"brokenNames"`
	// Outside are lookups of names of the cluster that are asked outside first.
	Outside int64 `json:"outside"`
}

// Row is a strategy in one mix.
type Row struct {
	Strategy string `json:"strategy"`
	Ours     bool   `json:"ours,omitzero"`
	Figures
	// Hijacked is the same while the outside has an address for everything below
	// the name of one of the namespaces.
	Hijacked Figures `json:"hijacked"`
	// SavedPercent of kubelet's queries, and OfOracle what that is of the oracle's.
	SavedPercent float64 `json:"savedPercent"`
	OfOracle     float64 `json:"ofOracle"`
	// Missing is the rest of what the oracle saves, in percent of it, by what keeps it
	// from being saved.
	Missing map[obstacle]float64 `json:"missing,omitzero"`
}

// obstacle is what keeps a workload's queries from being saved, the first that holds.
type obstacle string

const (
	obstacleUnread  obstacle = "an image that was not read"
	obstacleNew     obstacle = "an image that was not there"
	obstacleEnvFrom obstacle = "envFrom"
	obstacleMusl    obstacle = "musl"
	obstacleNames   obstacle = "names"
)

func obstacles() []obstacle {
	return []obstacle{obstacleUnread, obstacleNew, obstacleEnvFrom, obstacleMusl, obstacleNames}
}

func (w *world) obstacle(l *workload) obstacle {
	holds := func(is func(c *container) bool) bool {
		return slices.ContainsFunc(l.containers, func(c container) bool { return is(&c) })
	}
	switch {
	case holds(func(c *container) bool { return c.unread }):
		return obstacleUnread
	case holds(func(c *container) bool { return !w.seen[c.reference] }):
		return obstacleNew
	case l.envFrom:
		return obstacleEnvFrom
	case holds(func(c *container) bool { return imageKinds[c.kind].says == policy.ResolverMusl }):
		return obstacleMusl
	}
	return obstacleNames
}

// Result is a mix with its rows.
type Result struct {
	Name string `json:"mix"`
	Mix  Mix    `json:"-"`
	Rows []Row  `json:"rows"`
}

// Row finds a strategy's; it must be there.
func (r *Result) Row(strategy string) *Row {
	for i := range r.Rows {
		if r.Rows[i].Strategy == strategy {
			return &r.Rows[i]
		}
	}
	panic("no strategy " + strategy)
}

// Run judges all strategies in all mixes.
func Run(seed uint64) ([]Result, error) {
	mixes, err := Mixes()
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(mixes))
	for i := range mixes {
		results[i].Name, results[i].Mix = mixes[i].Name, mixes[i]
		if err := results[i].run(seed); err != nil {
			return nil, fmt.Errorf("mix %s: %w", mixes[i].Name, err)
		}
	}
	return results, nil
}

func (r *Result) run(seed uint64) error {
	w := newWorld(&r.Mix, seed)
	plain, hijacked := newJudge(w, false), newJudge(w, true)
	months := map[string][]Figures{}
	for _, s := range strategies() {
		d, err := s.decider(w)
		if err != nil {
			return err
		}
		row := Row{Strategy: s.Name, Ours: s.Ours}
		for _, month := range []struct {
			*judge
			sum *Figures
		}{{plain, &row.Figures}, {hijacked, &row.Hijacked}} {
			workloads, err := month.month(&s, d)
			if err != nil {
				return err
			}
			for i := range workloads {
				month.sum.add(&workloads[i])
			}
			if month.judge == plain {
				months[s.Name] = workloads
			}
		}
		r.Rows = append(r.Rows, row)
	}
	kubelet := r.Row(nameKubelet).Queries
	oracle := kubelet - r.Row(nameOracle).Queries
	for i := range r.Rows {
		row := &r.Rows[i]
		saved := kubelet - row.Queries
		row.SavedPercent = tenths(100 * float64(saved) / float64(kubelet))
		row.OfOracle = tenths(100 * float64(saved) / float64(oracle))
		if !slices.Contains(explained(), row.Strategy) {
			continue
		}
		more := map[obstacle]int64{}
		for n, f := range months[row.Strategy] {
			more[w.obstacle(&w.next[n])] += f.Queries - months[nameOracle][n].Queries
		}
		row.Missing = map[obstacle]float64{}
		for _, o := range obstacles() {
			row.Missing[o] = tenths(100 * float64(more[o]) / float64(oracle))
		}
	}
	return nil
}

// judge looks up names. What equal clients ask for a name is looked up once.
type judge struct {
	w       *world
	public  bool
	zone    resolver.Zone
	lookups map[string]looked
}

type looked struct {
	queries int64
	name    string // of the answer
	outside bool   // a name of the cluster was asked elsewhere first
}

// breaks tells whether a lookup had an answer and then has none, or another one.
func (l looked) breaks(after looked) bool { return l.name != "" && l.name != after.name }

func newJudge(w *world, hijacked bool) *judge {
	return &judge{w: w, public: hijacked, zone: w.zone(hijacked), lookups: map[string]looked{}}
}

func (j *judge) lookup(c *resolver.Client, name string, local bool) looked {
	key := strings.Join([]string{string(c.Resolver), string(c.CLibrary), c.ResolvConf.String(), c.ResOptions, name, fmt.Sprint(local)}, "\x00")
	l, ok := j.lookups[key]
	if !ok {
		result := c.Lookup(name, j.zone)
		l = looked{queries: int64(len(result.Queries)), name: result.Name()}
		if len(result.Queries) > 0 {
			first := result.Queries[0].Name
			l.outside = !strings.HasSuffix(first, "."+clusterDomain) && (!local || !strings.HasSuffix(first, ".svc"))
		}
		j.lookups[key] = l
	}
	return l
}

// month counts each workload's lookups of the next month under a strategy.
func (j *judge) month(s *Strategy, d decider) ([]Figures, error) {
	var all []Figures
	kubelet := &Strategy{}
	for i := range j.w.next {
		l := &j.w.next[i]
		before, err := kubelet.admit(decider{}, l, j.public)
		if err != nil {
			return nil, err
		}
		after, err := s.admit(d, l, j.public)
		if err != nil {
			return nil, err
		}
		was := j.w.clients(l, &before)
		best := j.workload(l, was, j.w.clients(l, &after), s.local)
		for ndots := 1; s.oracle && !l.ownNdots && ndots <= 5; ndots++ {
			after.Spec.DNSConfig = &policy.DNSConfig{Options: []policy.DNSOption{{Name: "ndots", Value: new(fmt.Sprint(ndots))}}}
			if f := j.workload(l, was, j.w.clients(l, &after), s.local); f.Queries < best.Queries && (f.Broken == 0 || s.reckless) {
				best = f
			}
		}
		all = append(all, best)
	}
	return all, nil
}

func (j *judge) workload(l *workload, was, is []resolver.Client, local bool) Figures {
	var f Figures
	for i := range l.containers {
		c := &l.containers[i]
		for _, use := range c.names {
			times := use.times * l.volume
			before, after := j.lookup(&was[i], use.name, false), j.lookup(&is[i], use.name, local)
			f.Lookups += times
			switch {
			case before.breaks(after):
				f.Queries += times * before.queries
				f.Broken += times
				f.BrokenNames++
				if j.w.seen[c.reference] {
					f.BrokenSeen += times
				}
			case before.name != "":
				f.Answered += times
				fallthrough
			default:
				f.Queries += times * after.queries
			}
			if after.outside && strings.HasSuffix(before.name, "."+clusterDomain) {
				f.Outside += times
			}
		}
	}
	return f
}

func (f *Figures) add(other *Figures) {
	f.Lookups += other.Lookups
	f.Queries += other.Queries
	f.Answered += other.Answered
	f.Broken += other.Broken
	f.BrokenSeen += other.BrokenSeen
	f.BrokenNames += other.BrokenNames
	f.Outside += other.Outside
}

func tenths(x float64) float64 { return math.Round(10*x) / 10 }
