package querylog

import "bytes"

// Shape is what a line looks like of which no query can be read.
type Shape uint8

const (
	// Text is anything else. It is what is left when there is nothing to say.
	Text Shape = iota
	// Message is of a DNS server, about something else than a query.
	Message
	// OtherFormat has what only a query has.
	OtherFormat
	// Object is JSON without a query.
	Object
	// Kubernetes is an object of Kubernetes.
	Kubernetes
	// Dnsmasq is a query of the DNS server of kube-dns before 2019.
	Dnsmasq
	// GadgetTable is a row of Inspektor Gadget's table.
	GadgetTable
	// FlowText is a flow as hubble observe prints it for people.
	FlowText
	// Dnstap is a message of dnstap, as its tools print it.
	Dnstap
	// Binary is no text.
	Binary

	// Shapes is the number of shapes.
	Shapes = 10
)

// ShapeOf says what a line looks like.
//
//	line has                                        it is
//	a byte 0                                        Binary
//	"apiVersion" or "kind": as JSON or YAML         Kubernetes
//	dnsmasq[                                        Dnsmasq
//	dns-request, dns-response                       FlowText
//	K8S.PODNAME, QTYPE, words Q or R and a type     GadgetTable
//	CLIENT_RESPONSE, a word CQ or CR                Dnstap
//	JSON                                            Object
//	NOERROR, NXDOMAIN, " IN A"                      OtherFormat
//	plugin/, [INFO], [WARNING], [ERROR], CoreDNS-   Message
func ShapeOf(line []byte) Shape {
	has := func(words ...string) bool {
		for _, word := range words {
			if bytes.Contains(line, []byte(word)) {
				return true
			}
		}
		return false
	}
	switch {
	case bytes.IndexByte(line, 0) >= 0:
		return Binary
	case has(`"apiVersion"`, "apiVersion: "):
		return Kubernetes
	case has("dnsmasq["):
		return Dnsmasq
	case has("dns-request", "dns-response"):
		return FlowText
	case has("K8S.PODNAME", " QTYPE ") || has(" Q ", " R ") && has(" A ", " AAAA ", " PTR ", " SRV "):
		return GadgetTable
	case has("CLIENT_RESPONSE", "CLIENT_QUERY", " CQ ", " CR "):
		return Dnstap
	case jsonIn(line) >= 0:
		return Object
	case looksLikeQuery(line), has(" IN A ", " IN AAAA "):
		return OtherFormat
	case has("plugin/", "[INFO]", "[WARNING]", "[ERROR]", "CoreDNS-"):
		return Message
	}
	return Text
}

func (s Shape) String() string {
	switch s {
	case Message:
		return "messages of a DNS server, and no queries"
	case OtherFormat:
		return "queries in a format of their own"
	case Object:
		return "JSON in which no string is a query"
	case Kubernetes:
		return "objects of Kubernetes"
	case Dnsmasq:
		return "queries of dnsmasq"
	case GadgetTable:
		return "the table of Inspektor Gadget"
	case FlowText:
		return "flows of Hubble as text"
	case Dnstap:
		return "messages of dnstap"
	case Binary:
		return "no text"
	case Text:
	}
	return "text"
}

// Advice is what to do about it.
func (s Shape) Advice() string {
	switch s {
	case Message:
		return "the Corefile needs the log plugin in every server block"
	case OtherFormat:
		return "name the format that the Corefile gives to its log plugin with --log-format"
	case Object:
		return "it must be of the DNS pods, and have their lines as they were, not only fields that a store made of them; if the log plugin has a format of its own, name it with --log-format"
	case Kubernetes:
		return "pods are given with --pods"
	case Dnsmasq:
		return "its log is not read; log with CoreDNS or node-local-dns, or use Inspektor Gadget"
	case GadgetTable:
		return "run the gadget with -o json"
	case FlowText:
		return "run hubble observe with -o jsonpb"
	case Dnstap:
		return "dnstap is not read; log with the log plugin, or use Inspektor Gadget"
	case Binary:
		return "gzip, Zstandard and bzip2 are unpacked, and UTF-16 is read; other files have to be turned into text"
	case Text:
	}
	return "is it what CoreDNS's log plugin writes, and --log-format its format?"
}

func (f Form) String() string {
	switch f {
	case Plain:
		return "lines of CoreDNS"
	case Quoted:
		return "lines of CoreDNS in quotes"
	case JSON:
		return "lines of CoreDNS in JSON"
	case InspektorGadget:
		return "Inspektor Gadget"
	case Hubble:
		return "Hubble"
	}
	return ""
}

// Lacks says what a form does not have.
func (f Form) Lacks() string {
	switch f {
	case InspektorGadget:
		return "it has no queries that got no answer, and not what tells resolvers apart"
	case Hubble:
		return "it has no queries that got no answer, no IDs of queries, and not what tells resolvers apart"
	case Plain, Quoted, JSON:
	}
	return ""
}
