package unpack_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/klauspost/compress/zstd"

	"github.com/shorthop/shorthop/internal/unpack"
)

const text = "2026-11-20T10:00:00Z a log\nwith é in it\n"

func inUTF16(order binary.AppendByteOrder, mark bool) []byte {
	var b []byte
	if mark {
		b = order.AppendUint16(b, 0xfeff)
	}
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return b
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstandard(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// bzip2 of the text, which nothing in Go writes.
const inBzip2 = "QlpoOTFBWSZTWQ3pppgAAAnblAAQQAJxEAQQIOWEgAAgCAAgADFA00MjJiDVP0phMHpTNRvOI2n1lBMmLO6MpkB+esIPIIt9L8XckU4UJAN6aaYA"

func TestReader(t *testing.T) {
	t.Parallel()
	bzipped, err := base64.StdEncoding.DecodeString(inBzip2)
	if err != nil {
		t.Fatal(err)
	}
	half := len(text) / 2
	for name, data := range map[string][]byte{
		"as it is":                             []byte(text),
		"gzip":                                 gzipped(t, []byte(text)),
		"gzip of two members":                  append(gzipped(t, []byte(text[:half])), gzipped(t, []byte(text[half:]))...),
		"Zstandard":                            zstandard(t, []byte(text)),
		"Zstandard of two frames":              append(zstandard(t, []byte(text[:half])), zstandard(t, []byte(text[half:]))...),
		"Zstandard behind a frame to skip":     append([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00skip"), zstandard(t, []byte(text))...),
		"bzip2":                                bzipped,
		"UTF-16 of PowerShell":                 inUTF16(binary.LittleEndian, true),
		"UTF-16, big endian":                   inUTF16(binary.BigEndian, true),
		"UTF-16 without a mark":                inUTF16(binary.LittleEndian, false),
		"UTF-16, big endian, without a mark":   inUTF16(binary.BigEndian, false),
		"gzip of UTF-16":                       gzipped(t, inUTF16(binary.LittleEndian, true)),
		"Zstandard of gzip, by two hands":      zstandard(t, gzipped(t, []byte(text))),
		"a file that was compressed by itself": gzipped(t, gzipped(t, []byte(text))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := unpack.Reader(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || string(got) != text {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestWhatEndsInTheMiddleSaysSo(t *testing.T) {
	t.Parallel()
	long := []byte(strings.Repeat(text, 10_000))
	for name, data := range map[string][]byte{"gzip": gzipped(t, long), "Zstandard": zstandard(t, long)} {
		r, err := unpack.Reader(bytes.NewReader(data[:len(data)-5]))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"xz":                "\xfd7zXZ\x00\x00",
		"gzip that is none": "\x1f\x8b\xff\xff\xff\xff",
	} {
		if r, err := unpack.Reader(strings.NewReader(data)); err == nil {
			t.Errorf("%s: no error, %T", name, r)
		}
	}
	// A frame may not ask for more memory than the bound: 2 GiB here.
	r, err := unpack.Reader(strings.NewReader("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"))
	if err == nil {
		_, err = io.Copy(io.Discard, r)
	}
	if err == nil {
		t.Error("a window of 2 GiB is taken")
	}
}
