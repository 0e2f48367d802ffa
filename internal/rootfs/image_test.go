package rootfs_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/shorthop/shorthop/internal/rootfs"
)

// zeros are zeros without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// packedZeros is a layer with a file of so many zeros, packed.
func packedZeros(t *testing.T, pack func(io.Writer) io.WriteCloser, size int64, begin string) []byte {
	t.Helper()
	var b bytes.Buffer
	packed := pack(&b)
	archive := tar.NewWriter(packed)
	if err := archive.WriteHeader(&tar.Header{Name: "zeros", Size: size, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(archive, begin); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(archive, zeros{}, size-int64(len(begin))); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := packed.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func byZstd(options ...zstd.EOption) func(io.Writer) io.WriteCloser {
	return func(w io.Writer) io.WriteCloser {
		encoder, err := zstd.NewWriter(w, options...)
		if err != nil {
			panic(err)
		}
		return encoder
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		layer []byte
		size  int64 // defaults to that of the layer
		want  string
	}{
		"a layer that unpacks without end":    {packedZeros(t, byZstd(), 5<<28, ""), 0, "it unpacks to more than 100 times its size"},
		"an executable without end":           {packedZeros(t, byZstd(), 5<<28, "\x7fELF"), 0, "it unpacks to more than 100 times its size"},
		"a window that takes too much memory": {packedZeros(t, byZstd(zstd.WithWindowSize(128<<20)), 1<<28, ""), 0, "it is no archive that can be read: window size exceeded"},
		"more than the manifest says":         {packedZeros(t, byZstd(), 1<<20, ""), 10, "it has more than the 10 bytes that the manifest says"},
		"less than the manifest says":         {packedZeros(t, byZstd(), 1<<20, ""), 1 << 20, "it breaks off"},
	} {
		if c.size == 0 {
			c.size = int64(len(c.layer))
		}
		image := rootfs.NewImage()
		if err := image.ReadLayer(bytes.NewReader(c.layer), c.size); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

// TestHeadersThatLie reads this test's own program with headers that point
// anywhere: nothing is read out of bounds, and no such file hides the others.
func TestHeadersThatLie(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Skip("there is no /proc to take a program from:", err)
	}
	program = program[:1<<20]
	for _, at := range []int{32, 40, 54, 56, 58, 60, 64 + 8, 64 + 32} { // tables, their sizes, the first segment
		for _, value := range []uint64{0, 1, 63, 1 << 20, 1 << 40, 1<<63 - 1, 1<<64 - 1} {
			lying := bytes.Clone(program)
			if at >= 54 && at < 64 {
				binary.LittleEndian.PutUint16(lying[at:], uint16(value)) //nolint:gosec // cut on purpose
			} else {
				binary.LittleEndian.PutUint64(lying[at:], value)
			}
			var b bytes.Buffer
			archive := tar.NewWriter(&b)
			for _, file := range []struct {
				name    string
				content []byte
			}{{"a", lying}, {"lib/ld-musl-x86_64.so.1", nil}} {
				if err := archive.WriteHeader(&tar.Header{Name: file.name, Size: int64(len(file.content)), Mode: 0o755}); err != nil {
					t.Fatal(err)
				}
				if _, err := archive.Write(file.content); err != nil {
					t.Fatal(err)
				}
			}
			image := rootfs.NewImage()
			if err := image.ReadLayer(&b, int64(b.Len())); err != nil {
				t.Errorf("%d at %d: %v", value, at, err)
			}
			if v := image.Verdict(); v.Resolver != rootfs.Musl {
				t.Errorf("%d at %d: %+v", value, at, v)
			}
		}
	}
}

// FuzzReadLayer reads whatever a registry may send: it ends, in a verdict or an
// error on one line.
func FuzzReadLayer(f *testing.F) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	archive := tar.NewWriter(w)
	elf := append([]byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00\x01\x00\x00\x00"), make([]byte, 200)...)
	for name, content := range map[string][]byte{"bin/a": elf, "usr/.wh.lib": nil, "x/.wh..wh..opq": nil} {
		if err := archive.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o755}); err != nil {
			f.Fatal(err)
		}
		if _, err := archive.Write(content); err != nil {
			f.Fatal(err)
		}
	}
	_, _ = archive.Close(), w.Close()
	f.Add(packed.Bytes())
	if unpacked, err := gzip.NewReader(bytes.NewReader(packed.Bytes())); err == nil {
		plain, _ := io.ReadAll(unpacked)
		f.Add(plain)
	}
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Fuzz(func(t *testing.T, layer []byte) {
		image := rootfs.NewImage()
		for range 2 { // a layer on itself
			if err := image.ReadLayer(bytes.NewReader(layer), int64(len(layer))); err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("an error of several lines: %q", err)
			}
		}
		if v := image.Verdict(); !v.Valid() || v.Because == "" && v.Resolver == rootfs.Unknown && v.Executables == 0 {
			t.Errorf("no verdict: %+v", v)
		}
	})
}
