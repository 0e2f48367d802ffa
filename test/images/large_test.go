package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/shorthop/shorthop/internal/images"
	"github.com/shorthop/shorthop/test/jsontest"
)

var largeImages = flag.Int("large", 8, "how many images of 50 MB are read")

// maxResident is what the process may have at most.
const maxResident = 128 << 20

// generated is a layer that is made anew whenever somebody reads it: a program
// or a loader at the beginning, and data, as compressed as data is that cannot
// be.
type generated struct {
	digest v1.Hash
	size   int64
	write  func(w io.Writer) error
	sent   atomic.Int64
}

func generate(t *testing.T, seed uint64, first file, size int) *generated {
	t.Helper()
	g := &generated{write: func(w io.Writer) error {
		packed, err := gzip.NewWriterLevel(w, gzip.NoCompression)
		if err != nil {
			return err
		}
		archive := tar.NewWriter(packed)
		var seeded [32]byte
		seeded[0], seeded[1] = byte(seed), byte(seed>>8)
		random := rand.NewChaCha8(seeded)
		write := func(name string, size int, content io.Reader) error {
			if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(size), Typeflag: tar.TypeReg}); err != nil {
				return err
			}
			_, err := io.CopyN(archive, content, int64(size))
			return err
		}
		if err := write(first.path, len(first.content), bytes.NewReader(first.content)); err != nil {
			return err
		}
		const part = 1 << 20
		for i := range size / part {
			if err := write(fmt.Sprintf("data/%d", i), part, random); err != nil {
				return err
			}
		}
		if err := archive.Close(); err != nil {
			return err
		}
		return packed.Close()
	}}
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(g.write(writer)) }()
	var err error
	if g.digest, g.size, err = v1.SHA256(reader); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *generated) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", fmt.Sprint(g.size))
	_ = g.write(io.MultiWriter(w, counting{&g.sent})) // the reader may have enough
}

type counting struct{ n *atomic.Int64 }

func (c counting) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }

// TestLargeImages runs the command on images of 50 MB, half of them with musl's
// loader at the beginning of their layer, of which little needs to be read.
func TestLargeImages(t *testing.T) {
	program := filepath.Join(t.TempDir(), "kubectl-shorthop")
	if said, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/kubectl-shorthop").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	layers := map[string]*generated{}
	host := server(t, func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if g := layers[filepath.Base(r.URL.Path)]; g != nil && r.Method == http.MethodGet {
				g.ServeHTTP(w, r)
				return
			}
			registry.ServeHTTP(w, r)
		})
	})
	goProgram := file{path: "app", content: buildGo(t, goLookup, "CGO_ENABLED=0")}
	musl := file{path: "lib/ld-musl-x86_64.so.1", content: []byte("musl")}
	empty := image(t, amd64, nil)
	push(t, host+"/large/config:1", empty)
	described := must(empty.Manifest())
	arguments := []string{"resolvers", "-o", "json", "--cache-dir", t.TempDir()}
	all := make([]*generated, *largeImages)
	for i := range all {
		first := goProgram
		if i%2 == 1 {
			first = musl
		}
		all[i] = generate(t, uint64(i), first, 50<<20) //nolint:gosec // small
		layers[all[i].digest.String()] = all[i]
		described.Layers = []v1.Descriptor{{MediaType: types.OCILayer, Size: all[i].size, Digest: all[i].digest}}
		reference := fmt.Sprintf("%s/large/image:%03d", host, i)
		push(t, reference, manifest{string(jsontest.Marshal(t, described)), types.OCIManifestSchema1})
		arguments = append(arguments, "--image", reference)
	}
	run := func() (document images.Document, resident int64) {
		var stdout, stderr bytes.Buffer
		command := exec.CommandContext(context.WithoutCancel(t.Context()), program, arguments...)
		command.Stdout, command.Stderr = &stdout, &stderr
		command.Env = append(os.Environ(), "DOCKER_CONFIG="+t.TempDir())
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		// What wait tells of a process counts the memory of the one that started it too.
		ended := make(chan struct{})
		var watch sync.WaitGroup
		watch.Go(func() {
			for {
				status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", command.Process.Pid))
				if _, peak, found := strings.Cut(string(status), "VmHWM:"); found {
					var kib int64
					if _, err := fmt.Sscan(peak, &kib); err == nil {
						resident = max(resident, kib<<10)
					}
				}
				select {
				case <-ended:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
		err := command.Wait()
		close(ended)
		watch.Wait()
		if err != nil {
			t.Fatalf("%v\n%s", err, &stderr)
		}
		if resident == 0 {
			t.Fatal("no memory of the process was seen")
		}
		jsontest.Unmarshal(t, stdout.Bytes(), &document)
		t.Log(strings.TrimSpace(stderr.String()))
		return document, resident
	}
	document, resident := run()
	var sent [2]int64
	for i, result := range document.Images {
		if want := []string{"go", "musl"}[i%2]; string(result.Resolver) != want || result.Error != "" {
			t.Errorf("%s: %+v, want %s", result.Reference, result, want)
		}
		sent[i%2] += all[i].sent.Load()
		if i%2 == 0 && all[i].sent.Load() != all[i].size || i%2 == 1 && all[i].sent.Load() > all[i].size/4 {
			t.Errorf("%s: %d of %d bytes were fetched", result.Reference, all[i].sent.Load(), all[i].size)
		}
	}
	n := int64(len(all))
	t.Logf("%d images of %d MB: fetched per image %.1f MB with Go programs, %.2f MB with musl's loader at the beginning; RSS %.1f MiB at most",
		n, all[0].size/1e6, float64(sent[0])/float64((n+1)/2)/1e6, float64(sent[1])/float64(max(n/2, 1))/1e6, float64(resident)/(1<<20))
	if resident > maxResident {
		t.Errorf("RSS is %d MiB, at most %d", resident>>20, maxResident>>20)
	}
	if _, again := run(); again > maxResident {
		t.Errorf("RSS is %d MiB with everything in the cache", again>>20)
	}
	for i, g := range all {
		if i%2 == 0 && g.sent.Load() != g.size {
			t.Errorf("image %d was fetched again although it is in the cache", i)
		}
	}
}
