package mutate

import (
	"strconv"

	"github.com/shorthop/shorthop/pkg/policy"
)

// checksum is 64-bit FNV-1a, as of hash/fnv, of texts with their lengths. It is
// written out because of hash/fnv's need for bytes on the heap: a record is
// sealed in every review that injects.
type checksum uint64

const (
	fnvOffset checksum = 14695981039346656037
	fnvPrime  checksum = 1099511628211
)

func (c *checksum) write(parts ...string) {
	for _, part := range parts {
		var length [20]byte
		for _, b := range append(strconv.AppendInt(length[:0], int64(len(part)), 10), ':') {
			*c = (*c ^ checksum(b)) * fnvPrime
		}
		for i := range len(part) {
			*c = (*c ^ checksum(part[i])) * fnvPrime
		}
	}
}

func (c checksum) String() string { return strconv.FormatUint(uint64(c), 16) }

// serviceHostSum hashes the claims. Values of containers are compared when they
// are taken out: another webhook may have changed one container and left the
// others.
func (r *Record) serviceHostSum() string {
	c := fnvOffset
	c.write("serviceHost", r.ServiceHost, r.Added.Port, r.Added.PortHTTPS)
	c.write(r.Added.Containers...)
	if r.Added.PairPort != "" {
		c.write("pair", r.Added.PairPort)
		c.write(r.Added.PairContainers...)
	}
	return c.String()
}

// resOptionsSum hashes the claims, as serviceHostSum does.
func (r *Record) resOptionsSum() string {
	c := fnvOffset
	c.write("resOptions", r.ResOptions)
	c.write(r.Added.ResOptionsContainers...)
	return c.String()
}

// dnsSum hashes the claims and the dnsConfig values that they point at.
func (r *Record) dnsSum(config *policy.DNSConfig) string {
	a := &r.Added
	c := fnvOffset
	c.write("dns", string(r.DNS), strconv.FormatBool(a.DNSConfig))
	for _, list := range [][]Moved{a.UserNameservers, a.UserSearches} {
		c.write("user's")
		for _, moved := range list {
			c.write(strconv.Itoa(moved[0]), strconv.Itoa(moved[1]))
		}
	}
	if len(a.ExtraSearches) > 0 {
		c.write("extraSearches")
		c.write(a.ExtraSearches...)
	}
	a.writeDNS(&c, config)
	return c.String()
}

// firstEditionSum is the checksum of a record of the first edition.
func (r *Record) firstEditionSum(config *policy.DNSConfig) string {
	a := &r.Added
	c := fnvOffset
	c.write(r.ServiceHost, a.Port, string(r.DNS), strconv.FormatBool(a.DNSConfig))
	c.write(a.Containers...)
	a.writeDNS(&c, config)
	return c.String()
}

// writeDNS is what the checksums of both editions have of DNS.
func (a *Added) writeDNS(c *checksum, config *policy.DNSConfig) {
	if config == nil {
		config = &policy.DNSConfig{}
	}
	if a.DNSPolicy != nil {
		c.write("dnsPolicy", *a.DNSPolicy)
	}
	c.write("nameservers")
	c.write(config.Nameservers[:a.Nameservers]...)
	c.write("searches")
	c.write(config.Searches[:a.Searches]...)
	c.write("options")
	for _, name := range a.Options {
		i := optionIndex(config.Options, name)
		c.write(name)
		if value := config.Options[i].Value; value != nil {
			c.write(*value)
		}
	}
}
