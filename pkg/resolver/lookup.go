package resolver

import (
	"net/netip"
	"slices"
	"strings"
)

// Resolver is an implementation of name lookups: the code in the container that
// reads /etc/resolv.conf and sends queries.
type Resolver string

const (
	// Glibc is getaddrinfo of the GNU C library, as in Debian, Ubuntu, Red Hat
	// and distroless/base images; also Java, Python, Ruby and Node.js on them.
	Glibc Resolver = "glibc"
	// Musl is getaddrinfo of musl 1.2.4 and later, as in Alpine 3.18 and later.
	Musl Resolver = "musl"
	// MuslBefore124 is getaddrinfo of musl 1.2.3, as in Alpine 3.15 to 3.17. It
	// cannot cope with a search domain that makes no valid name.
	MuslBefore124 Resolver = "musl-1.2.3"
	// Go is Go's own resolver, which static Go binaries use, and others as long
	// as resolv.conf has no option that it does not know.
	Go Resolver = "go"
	// CAres is ares_getaddrinfo of c-ares 1.34, as in Envoy and some builds of
	// curl. Node.js uses c-ares without the search list (dns.resolve).
	CAres Resolver = "c-ares"
)

// Resolvers are the resolvers that are modelled.
func Resolvers() []Resolver { return []Resolver{Glibc, Musl, MuslBefore124, Go, CAres} }

// RRType is the type of a DNS record, as on the wire.
type RRType uint16

const (
	// A is an IPv4 address.
	A RRType = 1
	// AAAA is an IPv6 address.
	AAAA RRType = 28
)

// String is the type's name.
func (t RRType) String() string {
	switch t {
	case A:
		return "A"
	case AAAA:
		return "AAAA"
	}
	return "unknown"
}

// Query is one question on the wire.
type Query struct {
	// Name is the name asked for, without the dot at its end. The root is ".".
	Name string
	Type RRType
	// Server is an index into [ResolvConf.Nameservers]. Without a usable
	// nameserver, resolvers ask the local host: then 0 is 127.0.0.1 and 1 is ::1.
	Server int
	// Attempt counts how often this question went to this server before, for
	// the same candidate name.
	Attempt int
}

// Outcome is what becomes of a query.
type Outcome uint8

const (
	// Timeout is no answer. Over TCP (use-vc) it is also a connection that fails
	// or ends without an answer.
	Timeout Outcome = iota
	// Answer is NOERROR with at least one record of the type.
	Answer
	// NoData is NOERROR without a record of the type: the name exists.
	NoData
	// NXDomain says that the name does not exist.
	NXDomain
	// ServFail says that the server could not find out.
	ServFail
)

// String is the outcome's name in the DNS.
func (o Outcome) String() string {
	switch o {
	case Timeout:
		return "timeout"
	case Answer:
		return "NOERROR"
	case NoData:
		return "NODATA"
	case NXDomain:
		return "NXDOMAIN"
	case ServFail:
		return "SERVFAIL"
	}
	return "unknown"
}

// Zone is what the nameservers answer: a pure function that gives the same
// outcome whenever the same question is asked of the same server. The name has
// no dot at its end; the root is ".".
//
// Servers are taken to be recursive (the RA flag, without which glibc and Go
// distrust an empty answer), not to truncate, and to be equally fast.
type Zone func(server int, name string, t RRType) Outcome

// Status is how a lookup ends.
type Status string

const (
	// Found means that there are addresses.
	Found Status = "found"
	// NotFound is EAI_NONAME, ARES_ENOTFOUND or, in Go, IsNotFound.
	NotFound Status = "not_found"
	// NotFoundNoData is EAI_NODATA or ARES_ENODATA: the name exists but has no
	// address. Go and musl before 1.2.4 return NotFound instead.
	NotFoundNoData Status = "no_data"
	// TemporaryFailure is EAI_AGAIN, ARES_ESERVFAIL, ARES_ETIMEOUT or, in Go,
	// IsTemporary.
	TemporaryFailure Status = "temporary_failure"
	// Failure is any other error.
	Failure Status = "failure"
	// Crash is a process killed by its resolver: musl divides by zero with
	// attempts:0, and glibc has an assertion that some search lists fail.
	Crash Status = "crash"
)

// Lookup is what an application's lookup of a name does.
type Lookup struct {
	// Queries are in the order in which they are sent. All queries for a candidate
	// name come before those for the next. For one candidate name, A and AAAA are
	// asked for at the same time, and either may reach a server first, unless the
	// single-request option applies; only the order among queries of the same type is
	// exact.
	Queries []Query
	// Answers are the queries whose records the application gets: one, or one
	// for A and one for AAAA; none unless Status is Found.
	Answers []Query
	Status  Status
}

// Name is the name at which addresses were found, without the dot at its end,
// or empty.
func (l Lookup) Name() string {
	if len(l.Answers) == 0 {
		return ""
	}
	return l.Answers[0].Name
}

// Has reports whether the application gets addresses of this type.
func (l Lookup) Has(t RRType) bool {
	return slices.ContainsFunc(l.Answers, func(q Query) bool { return q.Type == t })
}

// Client is a process that looks up names.
type Client struct {
	Resolver   Resolver
	ResolvConf ResolvConf
	// Hostname is what gethostname says. It matters where resolv.conf has no
	// search domain: glibc, Go and c-ares then search the hostname's own domain,
	// if it has one, which it has under setHostnameAsFQDN and often on a node
	// (hostNetwork).
	Hostname string
	// ResOptions is the environment variable RES_OPTIONS, options that count
	// after those of resolv.conf, and LocalDomain is LOCALDOMAIN, search domains
	// in place of those of resolv.conf; empty where they are not set. A LOCALDOMAIN
	// that is set and empty is a blank: the search list is then the root alone. glibc
	// and c-ares read both; musl and Go do not.
	ResOptions, LocalDomain string
	// CLibrary is the resolver of the C library that a Go program was built against
	// with cgo. The program leaves lookups to it while ResOptions or LocalDomain is
	// set (net/conf.go). Empty for a program that was built without cgo.
	CLibrary Resolver
	// Rotation is how often the process has rotated its nameservers before,
	// which matters only with the rotate option. Go starts at 0, glibc at a
	// random number; c-ares picks at random and cannot be predicted.
	Rotation int
}

// Lookup is [Client.Lookup] in a new process of a pod whose hostname has no
// domain.
func (r Resolver) Lookup(conf ResolvConf, name string, zone Zone) Lookup {
	return Client{Resolver: r, ResolvConf: conf}.Lookup(name, zone)
}

// Lookup returns what the client asks to find the IPv4 and IPv6 addresses of a
// name, and what it gets: getaddrinfo with AF_UNSPEC and no flags, Go's
// LookupIPAddr, or ares_getaddrinfo. glibc.go, musl.go, gonet.go and cares.go
// say which source code each follows, and how.
//
// Only the DNS is modelled. Not modelled are /etc/hosts, localhost and other sources
// of nsswitch.conf, IP addresses in any form that inet_aton takes ("10", "0x7f.1"),
// names with a backslash, internationalised names, caches, HOSTALIASES, and truncated
// answers.
//
// A resolver that is none of [Resolvers] asks nothing, and its Status is Failure. More
// than 100 attempts count as 100.
func (c Client) Lookup(name string, zone Zone) Lookup {
	switch c.Resolver {
	case Glibc:
		return newGlibc(c, zone).lookup(name)
	case Musl, MuslBefore124:
		return newMusl(c, zone).lookup(name)
	case Go:
		if c.leavesGo() {
			c.Resolver = c.CLibrary
			return c.Lookup(name, zone)
		}
		return newGoNet(c, zone).lookup(name)
	case CAres:
		return newCAres(c, zone).lookup(name)
	}
	return Lookup{Status: Failure}
}

// Ndots is from how many dots on the client asks for a name as it is before it
// tries the search list, if at all: what it reads in resolv.conf and in its
// variables. It is at most 127, which no name has. A resolver that is none of
// [Resolvers] has 1.
func (c Client) Ndots() int {
	switch c.Resolver {
	case Glibc:
		return newGlibc(c, nil).ndots
	case Musl, MuslBefore124:
		return newMusl(c, nil).ndots
	case Go:
		if c.leavesGo() {
			c.Resolver = c.CLibrary
			return c.Ndots()
		}
		return newGoNet(c, nil).ndots
	case CAres:
		return min(newCAres(c, nil).ndots, moreDotsThanAnyName)
	}
	return 1
}

// moreDotsThanAnyName can be read by c-ares only.
const moreDotsThanAnyName = 127

// leavesGo reports whether a Go program leaves lookups to its C library.
func (c Client) leavesGo() bool {
	return c.CLibrary != "" && (c.ResOptions != "" || c.LocalDomain != "")
}

// wire is the network as a resolver sees it. It records all queries.
type wire struct {
	zone    Zone
	queries []Query
	start   int // index of the first query for the current candidate name
}

// next begins another candidate name: the queries from here on are for that.
func (w *wire) next() { w.start = len(w.queries) }

// ask sends a query and returns what becomes of it.
func (w *wire) ask(server int, name string, t RRType) Outcome {
	q := Query{Name: name, Type: t, Server: server}
	for _, earlier := range w.queries[w.start:] {
		if earlier.Server == server && earlier.Type == t {
			q.Attempt++
		}
	}
	w.queries = append(w.queries, q)
	return w.zone(server, name, t)
}

// last is the latest query of a type that went to a server for the current candidate
// name; the zero Query where there was none.
func (w *wire) last(server int, t RRType) Query {
	for _, q := range slices.Backward(w.queries[w.start:]) {
		if q.Server == server && q.Type == t {
			return q
		}
	}
	return Query{}
}

// lines are the lines of the resolv.conf, each of which begins with a keyword and
// white space.
func (c ResolvConf) lines() []string {
	return strings.Split(strings.TrimSuffix(c.String(), "\n"), "\n")
}

// servers are the indexes of the first nameservers that are IP addresses, up to
// a limit; the fallback if there are none.
func (c ResolvConf) servers(limit int, fallback ...int) []int {
	var servers []int
	for i, text := range c.Nameservers {
		if _, err := netip.ParseAddr(text); err == nil && len(servers) < limit {
			servers = append(servers, i)
		}
	}
	if len(servers) == 0 {
		return fallback
	}
	return servers
}

// maxServers is the number of nameservers that glibc, musl and Go use (MAXNS).
const maxServers = 3

// domainOf is what follows the first dot of a hostname.
func domainOf(hostname string) (domain string, ok bool) {
	_, domain, ok = strings.Cut(hostname, ".")
	return domain, ok
}

// wireName is a name as it goes into a query, if it can: labels of 1 to 63
// bytes, 255 bytes in all with their lengths and the root label. One trailing
// dot is allowed.
func wireName(name string) (wire string, ok bool) {
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return ".", true
	}
	if len(name) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", false
		}
	}
	return name, true
}

// modelAttempts is where the model stops for resolvers that do not: Go and c-ares
// take any number of attempts.
const modelAttempts = 100

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// leadingNumber reads the decimal digits at the start of a text. A number that is
// larger than the model can tell apart is cut to 1<<24.
func leadingNumber(text string) (number int, ok bool) {
	const large = 1 << 24
	i := 0
	for ; i < len(text) && '0' <= text[i] && text[i] <= '9'; i++ {
		number = min(number*10+int(text[i]-'0'), large)
	}
	return number, i > 0
}
