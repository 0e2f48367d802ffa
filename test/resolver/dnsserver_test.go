//go:build e2e

package resolver_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/shorthop/shorthop/pkg/resolver"
)

// dnsServer is all nameservers of a namespace. It answers in the order in which
// queries arrive, to whichever address, and records them.
type dnsServer struct {
	udp []*net.UDPConn
	tcp []net.Listener

	mu       sync.Mutex
	scenario scenario
	queries  []question
	// sentinels are names that are never recorded: their arrival says that all
	// queries that were sent before have been dealt with.
	sentinels map[string]chan struct{}
}

// scenario is what the server does in one case.
type scenario struct {
	zone    resolver.Zone
	servers map[netip.Addr]int // nameserver's index by its address
	address func(server int, name string, t resolver.RRType) netip.Addr
	// closeTCP ends a connection instead of a timeout: for clients that have
	// none over TCP.
	closeTCP bool
	// refuse says REFUSED where the zone says SERVFAIL.
	refuse bool
}

// question is a query as it arrived.
type question struct {
	Name   string
	Type   resolver.RRType
	Server int
}

func (q question) String() string { return fmt.Sprintf("%s %s @%d", q.Name, q.Type, q.Server) }

// listenDNS serves all loopback addresses. One socket takes the queries to all
// IPv4 addresses, so that their order is known.
func listenDNS() (*dnsServer, error) {
	s := &dnsServer{sentinels: make(map[string]chan struct{})}
	for _, network := range []struct{ udp, tcp, address string }{
		{"udp4", "tcp4", "0.0.0.0:53"},
		{"udp6", "tcp6", "[::1]:53"},
	} {
		address, err := net.ResolveUDPAddr(network.udp, network.address)
		if err != nil {
			return nil, err
		}
		conn, err := net.ListenUDP(network.udp, address)
		if err != nil {
			return nil, err
		}
		if network.udp == "udp4" {
			if err := wantDestination(conn); err != nil {
				return nil, err
			}
		}
		listener, err := net.Listen(network.tcp, network.address)
		if err != nil {
			return nil, err
		}
		s.udp = append(s.udp, conn)
		s.tcp = append(s.tcp, listener)
		go s.serveUDP(conn)
		go s.serveTCP(listener)
	}
	return s, nil
}

// wantDestination makes the kernel say to which address a datagram was sent.
func wantDestination(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_PKTINFO, 1)
	})
	return errors.Join(err, failed)
}

// begin starts a case with an empty record.
func (s *dnsServer) begin(c scenario) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scenario = c
	s.queries = nil
}

// end waits until all that was sent has arrived, and returns the record.
func (s *dnsServer) end() ([]question, error) {
	conn, err := net.Dial("udp4", "127.0.0.1:53")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	name := strings.ReplaceAll(conn.LocalAddr().String(), ":", ".") + ".sentinel."
	arrived := make(chan struct{})
	s.mu.Lock()
	s.sentinels[name] = arrived
	s.mu.Unlock()
	packet, err := (&dnsmessage.Message{Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}}}).Pack()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	<-arrived
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sentinels, name)
	return s.queries, nil
}

func (s *dnsServer) serveUDP(conn *net.UDPConn) {
	packet, control := make([]byte, 4096), make([]byte, 256)
	for {
		n, m, _, client, err := conn.ReadMsgUDPAddrPort(packet, control)
		if err != nil {
			return
		}
		server, local := netip.IPv6Loopback(), []byte(nil)
		if messages, err := syscall.ParseSocketControlMessage(control[:m]); err == nil && len(messages) > 0 {
			// struct in_pktinfo: interface, local address, header's destination.
			info := messages[0].Data
			server = netip.AddrFrom4([4]byte(info[8:12]))
			local = sourceAddress([4]byte(info[8:12]))
		}
		if answer, ok := s.handle(server, packet[:n]); ok {
			// A client that has gone does not matter.
			_, _, _ = conn.WriteMsgUDPAddrPort(answer, local, client)
		}
	}
}

// sourceAddress is the control message that makes a datagram come from an address.
func sourceAddress(address [4]byte) []byte {
	const size = 12 // struct in_pktinfo
	b := make([]byte, syscall.CmsgSpace(size))
	binary.NativeEndian.PutUint64(b, uint64(syscall.CmsgLen(size)))
	binary.NativeEndian.PutUint32(b[8:], syscall.IPPROTO_IP)
	binary.NativeEndian.PutUint32(b[12:], syscall.IP_PKTINFO)
	copy(b[syscall.CmsgLen(0)+4:], address[:])
	return b
}

func (s *dnsServer) serveTCP(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go s.serveConn(conn)
	}
}

func (s *dnsServer) serveConn(conn net.Conn) {
	defer conn.Close()
	address, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		return
	}
	reader := bufio.NewReader(conn)
	ignored := false
	for {
		var length uint16
		if binary.Read(reader, binary.BigEndian, &length) != nil {
			return
		}
		packet := make([]byte, length)
		if _, err := io.ReadFull(reader, packet); err != nil {
			return
		}
		if answer, ok := s.handle(address.Addr(), packet); ok {
			if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
				return
			}
		} else {
			ignored = true
		}
		s.mu.Lock()
		end := ignored && s.scenario.closeTCP && reader.Buffered() == 0
		s.mu.Unlock()
		if end {
			return
		}
	}
}

// handle records a query and answers it, or not.
func (s *dnsServer) handle(address netip.Addr, packet []byte) (answer []byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var message dnsmessage.Message
	var parser dnsmessage.Parser
	header, err := parser.Start(packet)
	if err != nil {
		return nil, false
	}
	q, err := parser.Question()
	if err != nil {
		return nil, false
	}
	if arrived, ok := s.sentinels[q.Name.String()]; ok {
		close(arrived)
		return nil, false
	}
	server, ok := s.scenario.servers[address.Unmap()]
	if !ok {
		server = -1
	}
	name := strings.TrimSuffix(q.Name.String(), ".")
	if name == "" {
		name = "."
	}
	t := resolver.RRType(q.Type)
	s.queries = append(s.queries, question{Name: name, Type: t, Server: server})
	message.Header = dnsmessage.Header{ID: header.ID, Response: true, RecursionDesired: true, RecursionAvailable: true}
	message.Questions = []dnsmessage.Question{q}
	switch s.scenario.zone(server, name, t) {
	case resolver.Timeout:
		return nil, false
	case resolver.NXDomain:
		message.RCode = dnsmessage.RCodeNameError
	case resolver.ServFail:
		message.RCode = dnsmessage.RCodeServerFailure
		if s.scenario.refuse {
			message.RCode = dnsmessage.RCodeRefused
		}
	case resolver.NoData:
	case resolver.Answer:
		resource := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}}
		ip := s.scenario.address(server, name, t)
		if t == resolver.A {
			resource.Body = &dnsmessage.AResource{A: ip.As4()}
		} else {
			resource.Body = &dnsmessage.AAAAResource{AAAA: ip.As16()}
		}
		message.Answers = []dnsmessage.Resource{resource}
	}
	answer, err = message.Pack()
	return answer, err == nil
}

// hash mixes numbers and texts into a number.
func hash(parts ...any) uint64 {
	h := fnv.New64a()
	for _, part := range parts {
		fmt.Fprintf(h, "%v\x00", part)
	}
	// FNV's high bits hardly depend on the last bytes.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
