package advisor

import "github.com/shorthop/shorthop/pkg/advisor/querylog"

// owners are the addresses that belonged to one pod only, which nearly all do: a line of
// a log is then attributed without more than one place being read. For any other, and
// at a time when the pod was not there, Clients.find decides.
type owners []owner

type owner struct {
	address  addressText
	from, to int64
	tenure   int32
	used     bool
}

// addressText is an address of at most 16 bytes.
type addressText struct{ last, first uint64 }

const maxAddressText = 16

func textOf(address []byte) addressText {
	return addressText{lastBytes(address), lastBytes(address[:max(len(address)-8, 0)])}
}

func (a addressText) hash() uint64 { return mix(a.last ^ a.first*0x9e3779b97f4a7c15) }

// owners makes them. All pods must have been added.
func (c *Clients) owners() owners {
	size := 1
	for size < 2*len(c.byAddress) {
		size *= 2
	}
	o := make(owners, size)
	for address, tenures := range c.byAddress {
		if len(tenures) > 1 || len(address) > maxAddressText {
			continue
		}
		t := &c.tenures[tenures[0]]
		text := textOf([]byte(address))
		i := text.hash()
		for o[i%uint64(size)].used {
			i++
		}
		o[i%uint64(size)] = owner{text, t.from, t.to, tenures[0], true}
	}
	return o
}

// find returns the pod, as an index into tenures, below 0 where Clients.find decides.
func (o owners) find(r *querylog.Record) int32 {
	if len(r.Pod) > 0 || len(r.Client) > maxAddressText {
		return -1
	}
	text := textOf(r.Client)
	for i := text.hash(); ; i++ {
		owner := &o[i&uint64(len(o)-1)]
		switch {
		case !owner.used:
			return -1
		case owner.address != text:
			continue
		case r.Unix == 0, owner.from <= r.Unix+clockSkew && (owner.to == 0 || r.Unix <= owner.to+clockSkew):
			return owner.tenure
		}
		return -1
	}
}
