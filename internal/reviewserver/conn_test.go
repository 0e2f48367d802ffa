package reviewserver

import (
	"errors"
	"io"
	"net"
	"testing"
)

// TestConn says what is read of a client that only sends.
func TestConn(t *testing.T) {
	t.Parallel()
	const room = 4 << 10
	for _, test := range []struct {
		name       string
		handshaken bool
		size       int
		want       int64
		err        error
	}{
		{"a handshake", false, maxHandshake, maxHandshake, nil},
		{"a long handshake", false, 4 * maxHandshake, maxHandshake + room, errHandshakeTooLong},
		{"as much behind a handshake", true, 4 * maxHandshake, 4 * maxHandshake, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			accepted, client := net.Pipe()
			defer accepted.Close()
			c := &conn{Conn: accepted, brake: &brake{limit: 100, used: new(memory).used}}
			if test.handshaken {
				over := make(chan struct{})
				close(over)
				c.handshaken = over
			}
			go func() {
				_, _ = client.Write(make([]byte, test.size)) // what is not taken stays
				client.Close()
			}()
			n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, room))
			if n != test.want || !errors.Is(err, test.err) {
				t.Errorf("%d bytes, %v; want %d, %v", n, err, test.want, test.err)
			}
		})
	}
}
