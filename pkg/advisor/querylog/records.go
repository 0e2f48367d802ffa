package querylog

import (
	"bytes"

	"github.com/shorthop/shorthop/pkg/resolverhint"
)

// Records that have a query in their fields. Both name the pod themselves, and have a
// record for the question and one for the answer: the answer counts. What gets none is
// not seen.
//
//	                 Inspektor Gadget's trace_dns        Hubble, L7 DNS
//	told by          qr                                  l7.dns
//	the answer       qr R, but not where the server      l7.type RESPONSE
//	                 sends it (pkt_type OUTGOING)
//	the pod          k8s.namespace and k8s.podName       destination.namespace and .pod_name
//	                 (of its built-in gadget: namespace and pod)
//	the client       dst.addr, unless that is a server   IP.destination
//	                 (of its built-in gadget: dstIP)
//	name, type       name, qtype                         l7.dns.query, l7.dns.qtypes
//	code             rcode, rcode_raw                    l7.dns.rcode, none is NOERROR
//	NODATA           num_answers 0, or no addresses      no ips
//	a query's ID     id                                  none: the second stands for it
//	the transport    not there                           not there
//
// A copy of a query for another nameserver has its port and ID (musl), and counts as a
// retry.
//
// Either may stand below other keys, as what collects logs puts it there.

// fields are those of a record that is being read.
type fields struct {
	// qr and packet are the first letters of their values, and l7 the third.
	qr, l7, packet byte
	// flow tells that there is a l7.dns, counted that the answers are, and addresses that
	// there is one at least, if listed.
	flow, counted, listed, addresses bool
	// flowLevel is what has the l7, and inner the first level below the record's own that
	// has a qr, or 0.
	flowLevel, inner       int
	answers                uint32
	name, qtype, rcode, id []byte
	namespace, pod, client []byte
	// server is the nameserver's address, by which copies are told from what is read twice.
	server     []byte
	clientPort uint32
	// code is the number, if coded.
	code  uint32
	coded bool
	// Those of a flow stand elsewhere.
	flowNamespace, flowPod, flowClient []byte
	flowClientPort                     uint32
	flowTime                           int64
}

// within is the key of what a level is in, or nothing.
func (u *Unwrapper) within(at int) string {
	if at < 0 || at >= len(u.levels) {
		return ""
	}
	return string(u.levels[at].key)
}

// text takes a string of a record.
func (f *fields) text(u *Unwrapper, at int, key, text []byte, escaped bool) {
	if u.levels[at].array {
		switch u.within(at) {
		case "qtypes":
			if f.qtype == nil {
				f.qtype = text
			}
		case "ips", "addresses":
			f.listed, f.addresses = true, true
		}
		return
	}
	top := at - u.scopes[u.levels[at].scope].level // 0 is the record itself
	switch string(key) {
	case "qr":
		if top == 0 {
			f.qr = first(text)
		} else if f.inner == 0 {
			f.inner = at
		}
	case "pkt_type", "pktType":
		f.packet = first(text)
	case "name", "query":
		if top == 0 || key[0] == 'q' && u.within(at) == "dns" {
			if escaped {
				text = unescape(text)
			}
			f.name = text
			if key[0] == 'q' {
				f.flow, f.flowLevel = true, at-2
			}
		}
	case "qtype":
		f.qtype = text
	case "rcode":
		f.rcode = text
	case "id":
		if top == 0 {
			f.id = text
		}
	case "addresses":
		f.listed, f.addresses = true, len(text) > 0
	case "type":
		if u.within(at) == "l7" && len(text) > 2 {
			f.l7 = text[2]
		}
	case "addr":
		switch {
		case top == 1 && u.within(at) == "dst":
			f.client = text
		case top == 1 && u.within(at) == "src":
			f.server = text
		}
	case "dstIP":
		f.client = text
	case "srcIP", "nameserver":
		f.server = text
	case "destination":
		if u.within(at) == "IP" {
			f.flowClient = text
		}
	case "source":
		if u.within(at) == "IP" {
			f.server = text
		}
	case "namespace":
		switch {
		case top == 0, top == 1 && u.within(at) == "k8s":
			f.namespace = text
		case u.within(at) == "destination":
			f.flowNamespace = text
		}
	case "pod", "podName", "pod_name":
		switch {
		case top == 0, top == 1 && u.within(at) == "k8s":
			f.pod = text
		case u.within(at) == "destination":
			f.flowPod = text
		}
	}
}

// number takes a number of a record.
func (f *fields) number(u *Unwrapper, at int, key, text []byte) {
	switch string(key) {
	case "rcode", "rcode_raw":
		f.code, f.coded = digits(text)
	case "num_answers", "numAnswers":
		f.answers, f.counted = digits(text)
	case "port":
		if u.within(at) == "dst" {
			f.clientPort, _ = digits(text)
		}
	case "dstPort":
		f.clientPort, _ = digits(text)
	case "destination_port", "destinationPort":
		f.flowClientPort, _ = digits(text)
	}
}

func first(text []byte) byte {
	if len(text) == 0 {
		return 0
	}
	return text[0]
}

// record reads the query of a record that has ended, if it has one.
func (u *Unwrapper) record(s *scope) {
	f := &s.fields
	r := Record{Transport: resolverhint.NotLogged}
	switch {
	case f.qr != 0 && f.name != nil && f.qtype != nil:
		if f.qr != 'R' || f.packet == 'O' { // OUTGOING
			u.requests++
			return
		}
		r.Form, r.Namespace, r.Pod = InspektorGadget, f.namespace, f.pod
		if f.clientPort != dnsPort {
			r.Client = f.client
			if id, ok := hex4(f.id); ok && f.clientPort != 0 {
				r.Source = f.clientPort<<16 | uint32(id)
			}
		}
		r.Result = gadgetResult(f.rcode)
		if len(f.rcode) == 0 && f.coded {
			r.Result = resultOf(f.code)
		}
		r.NoData = f.counted && (f.answers == 0 || f.listed && !f.addresses)
	case f.flow && f.l7 != 0:
		if f.l7 != 'S' { // of RESPONSE
			u.requests++
			return
		}
		r.Form, r.Namespace, r.Pod, r.Client = Hubble, f.flowNamespace, f.flowPod, f.flowClient
		r.Source, r.Unix = f.flowClientPort<<16, f.flowTime
		r.Result = resultOf(f.code)
		r.NoData = !f.addresses
	default:
		return
	}
	r.Type = typeOf(f.qtype)
	r.NoData = r.NoData && r.Result == OK && r.Type != OtherType
	if n := len(f.name); n > 0 && f.name[n-1] != '.' && cap(f.name) > n { // the quote behind it has been read
		f.name = append(f.name, '.')
	}
	if len(r.Namespace) == 0 || len(r.Pod) == 0 {
		r.Namespace, r.Pod = nil, nil
	}
	if !r.setName(f.name) || len(r.Client) == 0 && len(r.Pod) == 0 {
		u.malformed++
		return
	}
	u.found = append(u.found, Found{Record: r, Text: f.server})
}

const dnsPort = 53

// identify lets the second in which a flow was seen stand for the ID that it lacks.
func (f *Found) identify() {
	if f.Form == Hubble && f.Source != 0 && f.Unix != 0 {
		f.Source |= uint32(f.Unix)&0xffff | 1
	} else if f.Form == Hubble {
		f.Source = 0
	}
}

// gadgetResult reads a code by the names that Inspektor Gadget has given them.
func gadgetResult(code []byte) Result {
	switch {
	case bytes.Equal(code, []byte("Success")), bytes.EqualFold(code, []byte("No Error")), bytes.EqualFold(code, []byte("NoError")):
		return OK
	case bytes.Equal(code, []byte("NameError")), bytes.Equal(code, []byte("Non-Existent Domain")), bytes.EqualFold(code, []byte("NXDomain")):
		return NXDomain
	}
	return Failed
}

// resultOf reads a code by its number.
func resultOf(code uint32) Result {
	switch code {
	case 0:
		return OK
	case 3:
		return NXDomain
	}
	return Failed
}
