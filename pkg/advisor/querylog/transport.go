package querylog

import (
	"bytes"

	"github.com/shorthop/shorthop/pkg/resolverhint"
)

// transport reads PROTO SIZE DO BUFSIZE, of the common format, from its end.
func transport(text []byte) resolverhint.Transport {
	buffer, at, ok := digitsBefore(text, len(text))
	if !ok || buffer > 1<<16-1 || at < len("udp 1 true ") || text[at-1] != ' ' || text[at-2] != 'e' {
		return resolverhint.NotLogged
	}
	// The letter before the last tells "true" and "false" apart.
	return resolverhint.TransportOf(uint16(buffer), text[at-3] == 'u', text[0] == 't')
}

// transportFields are the same fields of a format that has them anywhere.
type transportFields struct {
	buffer            uint32
	do, tcp           bool
	protos, dos, bufs bool
}

func (t *transportFields) set(f field, value []byte) {
	switch f { //nolint:exhaustive // the others are not of the transport
	case proto:
		t.tcp, t.protos = bytes.HasPrefix(value, []byte("tcp")), len(value) > 0
	case do:
		t.do, t.dos = string(value) == "true", len(value) > 0
	case bufsize:
		t.buffer, t.bufs = digits(value)
	}
}

func (t *transportFields) transport() resolverhint.Transport {
	if !t.protos || !t.dos || !t.bufs {
		return resolverhint.NotLogged
	}
	return resolverhint.TransportOf(uint16(t.buffer), t.do, t.tcp)
}
