package reviewserver

import (
	"errors"
	"net"
)

// maxHandshake is some times what a client needs with a certificate of its own. crypto/tls
// takes a hello of 64 KiB and a certificate of 256 KiB, and holds what has come of it.
const maxHandshake = 16 << 10

var errHandshakeTooLong = errors.New("the handshake is too long")

// listener accepts connections of the kind conn.
type listener struct {
	net.Listener
	brake *brake
}

func (l listener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: accepted, brake: l.brake}, nil
}

// conn is a connection below TLS: what net/http and crypto/tls leave open for whoever
// connects is bounded where the bytes come in. One that sends more than maxHandshake before
// its handshake is over is closed, and all slow down while memory is short (brake.go).
type conn struct {
	net.Conn
	brake *brake
	// handshaken is closed once the handshake is over. It is nil before its hello.
	handshaken <-chan struct{}
	// handshake is how many bytes have come of it.
	handshake int
	// share is how many bytes have come since the last pause, or with the brake off.
	share int
}

// isHandshaken reports whether the handshake is over.
func (c *conn) isHandshaken() bool {
	select {
	case <-c.handshaken:
		return true
	default:
		return false
	}
}

func (c *conn) Read(p []byte) (int, error) {
	if c.handshake > maxHandshake && !c.isHandshaken() {
		return 0, errHandshakeTooLong
	}
	n, err := c.Conn.Read(p)
	if c.handshake <= maxHandshake { // what comes behind it in the same read may count as well
		c.handshake += n
	}
	c.brake.count(n)
	if !c.brake.on.Load() {
		c.share = 0
		return n, err
	}
	if c.share += n; c.share >= brakeShare {
		c.share = 0
		c.brake.wait()
	}
	return n, err
}
