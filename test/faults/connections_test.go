package faults_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// stranger has a connection that speaks HTTP/2 as it likes.
type stranger struct {
	*tls.Conn
	framer *http2.Framer
	// ended gets why nothing comes any more.
	ended chan error
}

// stranger connects and says which settings it has. What comes is read and ignored.
func (s *server) stranger(settings ...http2.Setting) (*stranger, error) {
	conn, err := tls.Dial("tcp", s.address(), &tls.Config{RootCAs: s.roots, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, err
	}
	opened := &stranger{Conn: conn, framer: http2.NewFramer(conn, conn), ended: make(chan error, 1)}
	if err := conn.SetDeadline(time.Now().Add(hang)); err != nil {
		return opened, err
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return opened, err
	}
	go func() {
		_, err := io.Copy(io.Discard, conn)
		opened.ended <- err
	}()
	return opened, opened.framer.WriteSettings(settings...)
}

// each runs it so many times at once.
func (s *server) each(n int, run func() error) {
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if err := run(); err != nil {
				s.Errorf("a stranger: %v", err)
			}
		})
	}
	all.Wait()
}

// TestLongHandshakes has a thousand connections on each of which a message comes that is as long as crypto/tls takes it,
// but for its last byte: without a limit of our own these took up to 320 MiB.
func TestLongHandshakes(t *testing.T) {
	const connections = 1000
	for _, test := range []struct {
		name string
		// replaced is the message that stands in for the client's own: its first one, or the one after that.
		replaced int
		kind     byte
		size     int
	}{
		{"hello", 1, 1, 0xfff0},
		{"certificate", 2, 11, 0x3fff0},
	} {
		t.Run(test.name, func(t *testing.T) {
			message := append([]byte{test.kind}, binary.BigEndian.AppendUint32(nil, uint32(test.size))[1:]...)
			message = append(message, make([]byte, test.size-1)...)
			attack(t, attackLimit, func(s *server) {
				s.each(connections, func() error {
					ctx, cancel := context.WithTimeout(s.Context(), hang)
					defer cancel()
					tcp, err := new(net.Dialer).DialContext(ctx, "tcp", s.address())
					if err != nil {
						return err
					}
					defer tcp.Close()
					// The server may close the connection while this is sent.
					_ = tls.Client(&replacing{Conn: tcp, write: test.replaced, message: message}, &tls.Config{
						RootCAs: s.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
					}).HandshakeContext(ctx)
					time.Sleep(3 * time.Second)
					return nil
				})
			})
		})
	}
}

// replacing is a connection that writes another message of a handshake in place of one of its own, and nothing after it.
type replacing struct {
	net.Conn
	write, writes int
	message       []byte
}

func (r *replacing) Write(p []byte) (int, error) {
	if r.writes++; r.writes != r.write {
		return r.Conn.Write(p)
	}
	const record = 16 << 10
	for rest := r.message; len(rest) > 0; {
		part := rest[:min(len(rest), record)]
		rest = rest[len(part):]
		head := binary.BigEndian.AppendUint16([]byte{22, 3, 3}, uint16(len(part)))
		if _, err := r.Conn.Write(append(head, part...)); err != nil {
			return 0, err
		}
	}
	return 0, io.ErrClosedPipe
}
