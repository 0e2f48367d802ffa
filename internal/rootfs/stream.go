package rootfs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// tooMuch is an error for what is beyond the bounds.
type tooMuch string

func (e tooMuch) Error() string { return string(e) }

// ErrDigest is for a reader that ends with other content than it should have.
var ErrDigest = errors.New("what came is not what its digest is of")

// source is a layer as it comes in. It tells what was wrong with it from what
// was wrong with its content.
type source struct {
	io.Reader
	limit int64 // its size
	n     int64
	err   error // of the reader
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.n += int64(n)
	if err != nil && err != io.EOF {
		s.err = err
	}
	if s.n > s.limit {
		s.err = tooMuch(fmt.Sprintf("it has more than the %d bytes that the manifest says", s.limit))
		err = s.err
	}
	if (err == io.EOF || errors.Is(err, ErrDigest)) && s.n < s.limit {
		s.err = fmt.Errorf("it breaks off: %d of %d bytes", s.n, s.limit)
		err = s.err
	}
	return n, err
}

// explain says what was wrong, the cause before what followed from it.
func (s *source) explain(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[tooMuch](err); ok {
		return err
	}
	switch {
	case s.err != nil && errors.Is(s.err, io.ErrUnexpectedEOF):
		return fmt.Errorf("it breaks off: %d of %d bytes: %w", s.n, s.limit, s.err)
	case s.err != nil:
		return s.err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("its archive breaks off")
	}
	return fmt.Errorf("it is no archive that can be read: %w", err)
}

// maxWindow bounds what zstd keeps of what it has unpacked. Levels up to 19 have
// 8 MiB, --ultra -22 has 128.
const maxWindow = 64 << 20

// unpack unpacks a layer by what it begins with, whatever its manifest says.
func unpack(packed io.Reader) (unpacked io.Reader, end func(), err error) {
	buffered := bufio.NewReaderSize(packed, 64<<10)
	begin, err := buffered.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(begin, []byte{0x1f, 0x8b}):
		r, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, err
		}
		return r, func() {}, nil
	case bytes.Equal(begin, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(begin) == 4 && begin[0]&0xf0 == 0x50 && bytes.Equal(begin[1:], []byte{0x2a, 0x4d, 0x18}):
		r, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	}
	return buffered, func() {}, nil
}

// meter reads an unpacked layer within the bounds.
type meter struct {
	io.Reader
	image   *Image
	size, n int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	m.n += int64(n)
	m.image.unpacked += int64(n)
	switch {
	case m.image.unpacked > maxUnpacked:
		return n, tooMuch(fmt.Sprintf("the image has more than %d GiB", maxUnpacked>>30))
	case m.n > maxSmall && m.n/maxRatio > m.size:
		return n, tooMuch(fmt.Sprintf("it unpacks to more than %d times its size", maxRatio))
	}
	return n, err
}

// judging reads executables within the bounds.
type judging struct {
	io.Reader
	image *Image
}

func (j *judging) Read(p []byte) (int, error) {
	n, err := j.Reader.Read(p)
	j.image.judged += int64(n)
	if j.image.judged > maxUnpacked {
		return n, tooMuch(fmt.Sprintf("its executables have more than %d GiB", maxUnpacked>>30))
	}
	return n, err
}
