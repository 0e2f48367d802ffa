package images

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/shorthop/shorthop/internal/images"
	"github.com/shorthop/shorthop/test/testfile"
)

// file is a file of a layer: content, or a link, or with neither a directory; or an
// entry of another kind.
type file struct {
	path     string
	content  []byte
	symlink  string
	hardlink string
	kind     byte
}

// layer is the files of a layer and how they are packed: gzip by default.
type layer struct {
	files []file
	pack  types.MediaType
}

// archive is the layer as it is in a registry.
func (l layer) archive(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch l.pack {
	case types.OCIUncompressedLayer:
		w = nopCloser{&b}
	case types.OCILayerZStd:
		w = must(zstd.NewWriter(&b))
	default:
		w = gzip.NewWriter(&b)
	}
	archive := tar.NewWriter(w)
	for _, f := range l.files {
		header := &tar.Header{Name: f.path, Mode: 0o755, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		switch {
		case f.symlink != "":
			header.Typeflag, header.Linkname = tar.TypeSymlink, f.symlink
		case f.hardlink != "":
			header.Typeflag, header.Linkname = tar.TypeLink, f.hardlink
		case strings.HasSuffix(f.path, "/"):
			header.Typeflag = tar.TypeDir
		case f.kind != 0:
			header.Typeflag, header.Mode = f.kind, 0
		}
		if err := archive.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		must(archive.Write(f.content))
	}
	for _, closer := range []io.Closer{archive, w} {
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// must is for what nothing can be tested without.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// image builds an image from layers, the lowest first.
func image(t *testing.T, platform string, env []string, layers ...layer) v1.Image {
	t.Helper()
	built := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, l := range layers {
		built = must(mutate.AppendLayers(built, static.NewLayer(l.archive(t), cmp.Or(l.pack, types.OCILayer))))
	}
	config, p := must(built.ConfigFile()).DeepCopy(), must(v1.ParsePlatform(platform))
	config.OS, config.Architecture, config.Variant, config.Config.Env = p.OS, p.Architecture, p.Variant, env
	return must(mutate.ConfigFile(built, config))
}

// index builds an index of images by their platforms, in order.
func index(t *testing.T, list ...v1.Image) v1.ImageIndex {
	t.Helper()
	built := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range list {
		platform := must(image.ConfigFile()).Platform()
		built = mutate.AppendManifests(built, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	return built
}

// server is a registry, with what is to be changed about it around it.
func server(t *testing.T, around func(http.Handler) http.Handler, options ...registry.Option) (host string) {
	t.Helper()
	handler := registry.New(append(options, registry.Logger(log.New(io.Discard, "", 0)))...)
	if around != nil {
		handler = around(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// push puts an image or an index into a registry.
func push(t *testing.T, reference string, what remote.Taggable) {
	t.Helper()
	ref := must(name.ParseReference(reference))
	var err error
	switch what := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what)
	case v1.Image:
		err = remote.Write(ref, what)
	default:
		err = remote.Put(ref, what)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// read reads one image, without a cache.
func read(t *testing.T, reference string, platforms ...string) images.Result {
	t.Helper()
	return newReader(t, "", nobody, platforms...).Read(t.Context(), images.Image{Reference: reference})
}

// nobody has credentials for nothing.
var nobody = authn.NewMultiKeychain()

func newReader(t *testing.T, cache string, keychain authn.Keychain, platforms ...string) *images.Reader {
	t.Helper()
	return must(images.NewReader(images.Options{
		Keychain: keychain, CacheFolder: cache, Platforms: must(images.ParsePlatforms(platforms)),
	}))
}

// writeSource writes a program's source, and returns its folder.
func writeSource(t *testing.T, name, source string) string {
	t.Helper()
	folder := t.TempDir()
	testfile.Write(t, filepath.Join(folder, name), source)
	return folder
}
