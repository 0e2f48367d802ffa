package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/shorthop/shorthop/internal/images"
	"github.com/shorthop/shorthop/internal/rootfs"
	"github.com/shorthop/shorthop/test/testfile"
)

// oneUser are credentials for every registry.
type oneUser struct{ name, password string }

func (u oneUser) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: u.name, Password: u.password}, nil
}

// script is a program for which no build is needed: there is none in it.
var script = file{path: "run.sh", content: []byte("#!/bin/sh\n")}

func TestCredentials(t *testing.T) {
	t.Parallel()
	const user, password = "shop", "right"
	locked := true
	host := server(t, func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			gotUser, gotPassword, _ := r.BasicAuth()
			if locked && (gotUser != user || gotPassword != password) {
				w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			registry.ServeHTTP(w, r)
		})
	})
	reference := host + "/shop/web:1"
	locked = false
	push(t, reference, linux(t, script))
	locked = true
	for what, c := range map[string]struct {
		keychain authn.Keychain
		want     string
	}{
		"none":  {authn.NewMultiKeychain(), "the registry " + host + " wants credentials, and the Docker configuration has none for it"},
		"wrong": {oneUser{user, "wrong"}, "the registry " + host + " does not accept the credentials of the Docker configuration for it (401)"},
		"right": {oneUser{user, password}, ""},
	} {
		got := newReader(t, "", c.keychain).Read(t.Context(), images.Image{Reference: reference})
		if got.Error != c.want {
			t.Errorf("credentials: %s: %q, want %q", what, got.Error, c.want)
		}
	}
}

// manifest is a manifest that no tool would build.
type manifest struct {
	text string
	kind types.MediaType
}

func (m manifest) RawManifest() ([]byte, error)        { return []byte(m.text), nil }
func (m manifest) MediaType() (types.MediaType, error) { return m.kind, nil }

// withLayer is an image with a layer that is no archive of ours.
func withLayer(t *testing.T, content []byte, kind types.MediaType) v1.Image {
	t.Helper()
	built, err := mutate.Append(image(t, amd64, nil), mutate.Addendum{Layer: static.NewLayer(content, kind), MediaType: kind})
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func TestWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	// A blob whose path ends in one of these is served by the function.
	var mu sync.Mutex
	spoilt := map[string]func(w http.ResponseWriter, blob []byte){}
	host := server(t, func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			spoil := spoilt[filepath.Base(r.URL.Path)]
			mu.Unlock()
			if spoil == nil || r.Method != http.MethodGet {
				registry.ServeHTTP(w, r)
				return
			}
			recorded := &recorder{header: http.Header{}}
			registry.ServeHTTP(recorded, r)
			spoil(w, recorded.body)
		})
	})
	spoil := func(what v1.Image, how func(w http.ResponseWriter, blob []byte)) v1.Image {
		layers, err := what.Layers()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := layers[len(layers)-1].Digest()
		if err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		defer mu.Unlock()
		spoilt[digest.String()] = how
		return what
	}
	random := func(n int) file { // that gzip does not make shorter
		content := make([]byte, n)
		state := uint32(n)
		for i := range content {
			state = state*1664525 + 1013904223
			content[i] = byte(state >> 24)
		}
		return file{path: fmt.Sprint("random", n), content: content}
	}
	whole := layer{files: []file{random(20_000)}}.archive(t)
	plain := layer{files: []file{random(20_001)}, pack: types.OCIUncompressedLayer}.archive(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	nested := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: index(t, linux(t, script)), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	})

	for what, c := range map[string]struct {
		push      remote.Taggable
		reference string // defaults to that of what is pushed
		platforms []string
		want      string // HOST is the registry
	}{
		"a layer that breaks off": {push: spoil(linux(t, random(30_000)), func(w http.ResponseWriter, blob []byte) {
			w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
			w.Write(blob[:1000])
		}), want: "its layer 1 of 1: it breaks off: 1000 of 30"},
		"a layer that is shorter":           {push: spoil(linux(t, random(30_001)), func(w http.ResponseWriter, blob []byte) { w.Write(blob[:1000]) }), want: "its layer 1 of 1: it breaks off: 1000 of 30"},
		"a layer that is longer":            {push: spoil(linux(t, random(30_002)), func(w http.ResponseWriter, blob []byte) { w.Write(append(blob, "more"...)) }), want: "its layer 1 of 1: it has more than the 30"},
		"a layer with other content":        {push: spoil(withLayer(t, plain, types.OCIUncompressedLayer), func(w http.ResponseWriter, blob []byte) { blob[600] ^= 1; w.Write(blob) }), want: "its layer 1 of 1: what came is not what its digest is of"},
		"a layer that is not there":         {push: spoil(linux(t, random(30_003)), func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusNotFound) }), want: "its layer 1 of 1: the registry HOST does not have it"},
		"a layer that was pushed in halves": {push: withLayer(t, whole[:10_000], types.OCILayer), want: "its layer 1 of 1: its archive breaks off"},
		"an archive that ends too early":    {push: withLayer(t, plain[:5000], types.OCIUncompressedLayer), want: "its layer 1 of 1: its archive breaks off"},
		"a layer that is no archive":        {push: withLayer(t, []byte(strings.Repeat("no archive ", 100)), types.OCILayer), want: "its layer 1 of 1: it is no archive that can be read: archive/tar: invalid tar header"},
		"gzip that is broken":               {push: withLayer(t, slices.Concat(whole[:5000], []byte("broken"), whole[5000:]), types.OCILayer), want: "its layer 1 of 1: it is no archive that can be read"},
		"zstd that is broken":               {push: withLayer(t, []byte("\x28\xb5\x2f\xfd no frame"), types.OCILayerZStd), want: "its layer 1 of 1: it is no archive that can be read"},
		"a layer of another type":           {push: withLayer(t, whole, "application/vnd.wasm.content.layer.v1+wasm"), want: "its layer 1 of 1: it is of type application/vnd.wasm.content.layer.v1+wasm, which is not a layer's that can be read"},
		"a layer that is elsewhere":         {push: manifest{foreign(t, host), types.DockerManifestSchema2}, want: "its layer 1 of 1: it is not in the registry, by its type"},
		"schema 1":                          {push: manifest{`{"schemaVersion": 1, "name": "a", "tag": "1"}`, types.DockerManifestSchema1}, want: "it has a manifest of schema 1, which is not read: push it again with a current tool"},
		"a chart":                           {push: mutate.ConfigMediaType(linux(t, script), "application/vnd.cncf.helm.config.v1+json"), want: "what is there is no image of a container but has a configuration of type application/vnd.cncf.helm.config.v1+json"},
		"for Windows only":                  {push: index(t, image(t, "windows/amd64", nil)), want: "it has no image for linux, only for windows/amd64"},
		"for another platform":              {push: linux(t, script), platforms: []string{"linux/arm64", "linux/arm/v7"}, want: "it has no image for linux/arm64, linux/arm/v7, only for linux/amd64"},
		"an index for other platforms":      {push: index(t, linux(t, script), image(t, "linux/s390x", nil, layer{files: []file{script}})), platforms: []string{"linux/arm64"}, want: "it has no image for linux/arm64, only for linux/amd64, linux/s390x"},
		"an index in an index":              {push: nested, want: "its index has an entry that is no image but application/vnd.oci.image.index.v1+json"},
		"a manifest that is too long":       {push: manifest{`{"schemaVersion": 2, "x": "` + strings.Repeat("x", 5<<20) + `"}`, types.OCIManifestSchema1}, want: "it answers with more than 4 MiB where a manifest or the like is due"},
		"a tag that is not there":           {reference: host + "/nothing/here:1", want: "the registry HOST has no such tag or digest, or no repository of that name"},
		"a registry that is not there":      {reference: closed.Addr().String() + "/a:1", want: "cannot be reached: connect: connection refused"},
		"a host that cannot exist":          {reference: "registry.invalid/a:1", want: "the registry registry.invalid cannot be reached: "},
		"no reference":                      {reference: "Not An\x1b[31mImage", want: "this is not a reference to an image"},
		"an endless reference":              {reference: strings.Repeat("a", 600), want: "the reference has more than 512 characters"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			reference := c.reference
			if c.push != nil {
				reference = host + "/cannot/be-read:" + strings.ReplaceAll(what, " ", "-")
				push(t, reference, c.push)
			}
			got := read(t, reference, c.platforms...)
			if want := strings.ReplaceAll(c.want, "HOST", host); !strings.Contains(got.Error, want) || strings.ContainsAny(got.Error, "\n\x1b") {
				t.Errorf("%q, want %q", got.Error, want)
			}
			if got.Resolver != rootfs.Unknown || got.Because != "" {
				t.Errorf("something is known of it: %+v", got.Found)
			}
		})
	}
}

// foreign is a manifest with a layer that is somewhere else, with a real
// configuration.
func foreign(t *testing.T, host string) string {
	t.Helper()
	push(t, host+"/cannot/be-read:config", image(t, amd64, nil))
	raw, err := image(t, amd64, nil).RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	digest, size, err := v1.SHA256(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.DockerManifestSchema2,
		Config: v1.Descriptor{MediaType: types.DockerConfigJSON, Size: size, Digest: digest},
		Layers: []v1.Descriptor{{MediaType: types.DockerForeignLayer, Size: 10, Digest: digest, URLs: []string{"http://169.254.169.254/"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type recorder struct {
	header http.Header
	body   []byte
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(int)             {}
func (r *recorder) Write(p []byte) (int, error) { r.body = append(r.body, p...); return len(p), nil }

// counter counts the layers that are asked for.
func counter(t *testing.T) (host string, count func() int) {
	return counterOf(t, func(registry http.Handler) http.Handler { return registry })
}

// counterOf counts them in front of what is made of the registry.
func counterOf(t *testing.T, of func(registry http.Handler) http.Handler) (host string, count func() int) {
	var mu sync.Mutex
	n := 0
	host = server(t, func(registry http.Handler) http.Handler {
		registry = of(registry)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				mu.Lock()
				n++
				mu.Unlock()
			}
			registry.ServeHTTP(w, r)
		})
	})
	return host, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func TestAnInterruptedRunGoesOn(t *testing.T) {
	t.Parallel()
	// Both names lead to one registry, and only what comes by the second is counted: requests of the run that is interrupted
	// may arrive after it has ended.
	var stored http.Handler
	host := server(t, func(registry http.Handler) http.Handler { stored = registry; return registry })
	counted, asked := counterOf(t, func(http.Handler) http.Handler { return stored })
	var list, later []images.Image
	for i := range 12 {
		reference := fmt.Sprintf("%s/shop/web:%d", host, i)
		push(t, reference, linux(t, file{path: fmt.Sprint(i), content: []byte("x")}))
		list = append(list, images.Image{Reference: reference})
		later = append(later, images.Image{Reference: fmt.Sprintf("%s/shop/web:%d", counted, i)})
	}
	cache := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	first := 0
	_, err := newReader(t, cache, authn.NewMultiKeychain()).ReadAll(ctx, list, func(read int) {
		if first = read; read == 5 {
			interrupt()
		}
	})
	if err == nil || first < 5 {
		t.Fatalf("it was not interrupted: %d images, %v", first, err)
	}
	kept, err := filepath.Glob(filepath.Join(cache, "v2", "sha256-*.json"))
	if err != nil || len(kept) < 5 || len(kept) == len(list) {
		t.Fatalf("%d images are in the cache after %d, %v", len(kept), first, err)
	}
	before := asked()
	results, err := newReader(t, cache, authn.NewMultiKeychain()).ReadAll(t.Context(), later, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if result.Error != "" || result.Because != "no executable" {
			t.Errorf("%s: %+v", result.Reference, result)
		}
	}
	const blobs = 2 // a configuration and a layer
	if again, want := asked()-before, blobs*(len(list)-len(kept)); again != want {
		t.Errorf("%d blobs were read after the interruption, want %d for the %d images that were not in the cache", again, want, len(list)-len(kept))
	}
	before = asked()
	if _, err := newReader(t, cache, authn.NewMultiKeychain()).ReadAll(t.Context(), later, func(int) {}); err != nil || asked() != before {
		t.Errorf("%d blobs were read once everything was known, %v", asked()-before, err)
	}
}

func TestACacheIsNotBelieved(t *testing.T) {
	t.Parallel()
	host, asked := counter(t)
	reference, cache := host+"/a:1", t.TempDir()
	push(t, reference, linux(t, script))
	one := func() images.Result {
		return newReader(t, cache, authn.NewMultiKeychain()).Read(t.Context(), images.Image{Reference: reference})
	}
	one()
	entries, err := filepath.Glob(filepath.Join(cache, "v2", "*.json"))
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	good := contentOf(t, entries[0])
	for what, content := range map[string]string{
		"broken":          "{",
		"empty":           "",
		"of another":      strings.Replace(string(good), "sha256:", "sha256:0", 1),
		"of another kind": strings.Replace(string(good), `"resolver":""`, `"resolver":"bind"`, 1),
	} {
		testfile.Write(t, entries[0], content)
		before := asked()
		if got := one(); got.Error != "" || asked() == before {
			t.Errorf("an entry that is %s was believed, or hides the image: %+v", what, got)
		}
		if !bytes.Equal(contentOf(t, entries[0]), good) {
			t.Errorf("an entry that is %s was not mended", what)
		}
	}
}

func TestATagThatHasMoved(t *testing.T) {
	t.Parallel()
	host := server(t, nil)
	reference := host + "/shop/web:latest"
	musl := linux(t, file{path: "lib/ld-musl-x86_64.so.1", content: []byte("x")})
	push(t, reference, musl)
	digest, err := musl.Digest()
	if err != nil {
		t.Fatal(err)
	}
	push(t, reference, linux(t, script))
	reader := newReader(t, "", authn.NewMultiKeychain())
	if got := reader.Read(t.Context(), images.Image{Reference: reference}); got.Resolver != rootfs.Unknown {
		t.Errorf("the tag means %+v", got)
	}
	running := images.Running(reference, digest.String())
	if got := reader.Read(t.Context(), running); got.Resolver != rootfs.Musl {
		t.Errorf("with what pods run it has %+v, want musl", got)
	}
	gone := images.Running(reference, "sha256:"+strings.Repeat("0", 64))
	if got := reader.Read(t.Context(), gone); !strings.Contains(got.Error, "its tag has moved, and of sha256:0000000") {
		t.Errorf("what pods run is not there: %q", got.Error)
	}
	var others []string
	for i := range 9 {
		other := linux(t, file{path: "run.sh", content: fmt.Append(nil, "#!/bin/sh\n# ", i)})
		push(t, reference, other)
		digest, err := other.Digest()
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, digest.String())
	}
	push(t, reference, linux(t, script))
	if got := reader.Read(t.Context(), images.Running(reference, others[:8]...)); got.Error != "" {
		t.Errorf("eight others: %q", got.Error)
	}
	if got := reader.Read(t.Context(), images.Running(reference, others...)); !strings.Contains(got.Error, "more than 8 others") {
		t.Errorf("nine others: %q", got.Error)
	}
}

// TestAnImageOfTheNode is one that a container runtime did not pull: it knows it
// by the digest of its configuration.
func TestAnImageOfTheNode(t *testing.T) {
	t.Parallel()
	host := server(t, nil)
	reference, cache := host+"/shop/web:1", t.TempDir()
	amd, arm := linux(t, script), image(t, "linux/arm64", nil, layer{files: []file{script}})
	push(t, reference, index(t, amd, arm))
	own, err := arm.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{"at first", "from the cache"} {
		reader := newReader(t, cache, authn.NewMultiKeychain())
		if got := reader.Read(t.Context(), images.Running(reference, own.String())); got.Error != "" {
			t.Errorf("%s: the same image: %q", run, got.Error)
		}
		if got := reader.Read(t.Context(), images.Running(reference, "sha256:"+strings.Repeat("1", 64))); !strings.Contains(got.Error, "sha256:11111") {
			t.Errorf("%s: another image than the registry's: %+v", run, got)
		}
	}
}
