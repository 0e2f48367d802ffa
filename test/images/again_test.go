package images

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/shorthop/shorthop/internal/images"
	"github.com/shorthop/shorthop/internal/rootfs"
	"github.com/shorthop/shorthop/test/testfile"
)

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
	kept, err := filepath.Glob(filepath.Join(cache, "v4", "sha256-*.json"))
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
	entries, err := filepath.Glob(filepath.Join(cache, "v4", "*.json"))
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
