package advisor

import (
	"hash/maphash"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

// What a name gives is the same for all pods of the cluster: a byte for each name that
// any of them asked for, with a bit for each result. Names are those that were
// interned, so that this needs a byte for each.

// noAddress is the bit of a name that is known to have no address.
const noAddress = 1 << querylog.Results

// answers returns what says of a name what it gives, as far as all agree.
func (c *Collector) answers() func(name string) stepOutcome {
	var results [shards][]uint8
	for i, s := range c.shards {
		results[i] = make([]uint8, len(s.names))
		for n := range s.n {
			counter := &s.counters[n/slabSize][n%slabSize]
			for kind, count := range counter.counts {
				if count > 0 && kind%querylog.Results == int(querylog.OK) && counter.noData && !counter.answered {
					results[i][counter.name] |= noAddress
				} else if count > 0 {
					results[i][counter.name] |= 1 << (kind % querylog.Results)
				}
			}
		}
	}
	return func(name string) stepOutcome {
		var all uint8
		hash := maphash.String(c.seed, name)
		for i, s := range c.shards {
			if id, found := s.find(hash, name); found {
				all |= results[i][id]
			}
		}
		if all&^noAddress != all { // others may have asked for the type that there is
			if all == noAddress {
				return noData
			}
			return unknownStep
		}
		const ok, not, failure = 1 << querylog.OK, 1 << querylog.NXDomain, 1 << querylog.Failed
		switch {
		case all == 0, all&ok != 0 && all != ok:
			return unknownStep
		case all == ok:
			return answered
		case all&not != 0:
			return nxDomain
		case all == failure:
			return failed
		}
		return unknownStep
	}
}

// find finds a name.
func (s *shard) find(hash uint64, text string) (id uint32, found bool) {
	mask := uint64(len(s.nameAt) - 1)
	for i := hash; ; i++ {
		slot := s.nameAt[i&mask]
		if slot == 0 {
			return 0, false
		}
		if n := &s.names[slot-1]; n.hash == hash && string(s.text(n)) == text {
			return slot - 1, true
		}
	}
}
