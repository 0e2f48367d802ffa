package images

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/shorthop/shorthop/internal/images"
	"github.com/shorthop/shorthop/internal/rootfs"
	"github.com/shorthop/shorthop/test/testfile"
)

// counter counts the blobs that are asked for, in front of what is made of the registry.
func counter(t *testing.T, of func(registry http.Handler) http.Handler) (host string, count func() int64) {
	var n atomic.Int64
	host = server(t, func(registry http.Handler) http.Handler {
		registry = of(registry)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				n.Add(1)
			}
			registry.ServeHTTP(w, r)
		})
	})
	return host, n.Load
}

func TestAnInterruptedRunGoesOn(t *testing.T) {
	t.Parallel()
	// Both names lead to one registry, and only what comes by the second is counted: requests of the run that is interrupted
	// may arrive after it has ended.
	var stored http.Handler
	host := server(t, func(registry http.Handler) http.Handler { stored = registry; return registry })
	counted, asked := counter(t, func(http.Handler) http.Handler { return stored })
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
	_, err := newReader(t, cache, nobody).ReadAll(ctx, list, func(read int) {
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
	results, err := newReader(t, cache, nobody).ReadAll(t.Context(), later, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range results {
		if result.Error != "" || result.Because != "no executable" {
			t.Errorf("%s: %+v", result.Reference, result)
		}
	}
	const blobs = 2 // a configuration and a layer
	if again, want := asked()-before, blobs*int64(len(list)-len(kept)); again != want {
		t.Errorf("%d blobs were read after the interruption, want %d for the %d images that were not in the cache", again, want, len(list)-len(kept))
	}
	before = asked()
	if _, err := newReader(t, cache, nobody).ReadAll(t.Context(), later, func(int) {}); err != nil || asked() != before {
		t.Errorf("%d blobs were read once everything was known, %v", asked()-before, err)
	}
}

func TestACacheIsNotBelieved(t *testing.T) {
	t.Parallel()
	host, asked := counter(t, func(registry http.Handler) http.Handler { return registry })
	reference, cache := host+"/a:1", t.TempDir()
	push(t, reference, linux(t, script))
	one := func() images.Result {
		return newReader(t, cache, nobody).Read(t.Context(), images.Image{Reference: reference})
	}
	one()
	entries, err := filepath.Glob(filepath.Join(cache, "v4", "*.json"))
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	good := testfile.Read(t, entries[0])
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
		if !bytes.Equal(testfile.Read(t, entries[0]), good) {
			t.Errorf("an entry that is %s was not mended", what)
		}
	}
}

func TestATagThatHasMoved(t *testing.T) {
	t.Parallel()
	reference := server(t, nil) + "/shop/web:latest"
	was := func(image v1.Image) (digest string) {
		push(t, reference, image)
		return must(image.Digest()).String()
	}
	musl := was(linux(t, file{path: "lib/ld-musl-x86_64.so.1", content: []byte("x")}))
	var others []string
	for i := range 9 {
		others = append(others, was(linux(t, file{path: "run.sh", content: fmt.Append(nil, "#!/bin/sh\n# ", i)})))
	}
	push(t, reference, linux(t, script))
	reader := newReader(t, "", nobody)
	for what, c := range map[string]struct {
		running  []string
		resolver rootfs.Resolver
		error    string
	}{
		"nothing runs":      {nil, rootfs.Unknown, ""},
		"musl runs":         {[]string{musl}, rootfs.Musl, ""},
		"what is not there": {[]string{"sha256:" + strings.Repeat("0", 64)}, rootfs.Unknown, "its tag has moved, and of sha256:0000000"},
		"eight others run":  {others[:8], rootfs.Unknown, ""},
		"nine others run":   {others, rootfs.Unknown, "more than 8 others"},
	} {
		got := reader.Read(t.Context(), images.Running(reference, c.running...))
		if got.Resolver != c.resolver || (got.Error == "") != (c.error == "") || !strings.Contains(got.Error, c.error) {
			t.Errorf("%s: %+v, want %q, %q", what, got, c.resolver, c.error)
		}
	}
}

// TestAnImageOfTheNode is one that a container runtime did not pull: it knows it
// by the digest of its configuration.
func TestAnImageOfTheNode(t *testing.T) {
	t.Parallel()
	reference, cache := server(t, nil)+"/shop/web:1", t.TempDir()
	arm := image(t, "linux/arm64", nil, layer{files: []file{script}})
	push(t, reference, index(t, linux(t, script), arm))
	own := must(arm.ConfigName()).String()
	for _, run := range []string{"at first", "from the cache"} {
		reader := newReader(t, cache, nobody)
		if got := reader.Read(t.Context(), images.Running(reference, own)); got.Error != "" {
			t.Errorf("%s: the same image: %q", run, got.Error)
		}
		if got := reader.Read(t.Context(), images.Running(reference, "sha256:"+strings.Repeat("1", 64))); !strings.Contains(got.Error, "sha256:11111") {
			t.Errorf("%s: another image than the registry's: %+v", run, got)
		}
	}
}
