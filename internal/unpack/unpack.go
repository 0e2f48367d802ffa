// Package unpack reads files in the forms in which people have them: compressed, or
// in UTF-16, which is how PowerShell stores the output of a command.
package unpack

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

const (
	// bufferSize is how many bytes are read at once.
	bufferSize = 64 << 10
	// maxWindow bounds, in bytes, the memory that a file of Zstandard can ask for.
	maxWindow = 64 << 20
	// maxLayers is how many times something may be compressed; what is inside is read
	// as it is.
	maxLayers = 3
)

// Reader returns a reader that unpacks what is compressed and turns UTF-16 into
// UTF-8. It tells by the first bytes; anything else is read as it is.
//
//	first bytes       what it is
//	1f 8b             gzip
//	28 b5 2f fd       Zstandard; also behind frames that are to be skipped (5x 2a 4d 18)
//	BZh               bzip2
//	ff fe, fe ff      UTF-16 with a byte order mark
//	x 00, 00 x        UTF-16 without one
//	fd 37 7a 58 5a    xz, which is refused
func Reader(r io.Reader) (io.Reader, error) {
	for range maxLayers {
		b := bufio.NewReaderSize(r, bufferSize)
		start, _ := b.Peek(6) // an error comes again when b is read
		var err error
		switch {
		case bytes.HasPrefix(start, []byte{0x1f, 0x8b}):
			r, err = gzip.NewReader(b)
		case bytes.HasPrefix(start, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(start) > 3 && start[0]&0xf0 == 0x50 && bytes.Equal(start[1:4], []byte{0x2a, 0x4d, 0x18}):
			// With one goroutine it needs no more memory than a window, and leaves the cores to whoever reads.
			var d *zstd.Decoder
			if d, err = zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
				r = d
			}
		case bytes.HasPrefix(start, []byte("BZh")):
			r = bzip2.NewReader(b)
		case bytes.HasPrefix(start, []byte("\xfd7zXZ")):
			return nil, errors.New("it is compressed by xz: unpack it first, with xz -dc")
		case isUTF16(start):
			return transform.NewReader(b, utf16(start)), nil
		default:
			return b, nil
		}
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
	}
	return r, nil
}

func isUTF16(start []byte) bool {
	if len(start) < 2 {
		return false
	}
	return isMark(start) || (start[0] == 0) != (start[1] == 0)
}

func isMark(start []byte) bool {
	return start[0] == 0xff && start[1] == 0xfe || start[0] == 0xfe && start[1] == 0xff
}

// utf16 decodes UTF-16 in the order of a byte order mark; without one, in the order
// that the place of a zero tells.
func utf16(start []byte) transform.Transformer {
	endian := unicode.LittleEndian
	if start[0] == 0 {
		endian = unicode.BigEndian
	}
	return unicode.UTF16(endian, unicode.UseBOM).NewDecoder()
}
