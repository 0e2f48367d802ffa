package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// pipes are a network without a line: what one end writes, the other reads, and
// a test's clock goes on where both wait.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case connection := <-p.accepted:
		return connection, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.accepted <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// serve answers in the bubble of a test, and returns what asks.
func serve(t *testing.T, handler http.Handler) *http.Transport {
	t.Helper()
	network := &pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)} //nolint:gosec // slowness is what is tested
	go func() { _ = server.Serve(network) }()
	client := &http.Transport{DialContext: network.dial}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		close(network.closed)
		_ = server.Close()
	})
	return client
}

// drip writes so many bytes every so often, as long as somebody reads.
func drip(w http.ResponseWriter, r *http.Request, content []byte, size int, pause time.Duration) {
	if r.Method == http.MethodHead {
		return
	}
	for {
		n := min(size, len(content))
		if _, err := w.Write(content[:n]); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		if content = content[n:]; len(content) == 0 {
			return
		}
		wait(r, pause)
	}
}

// stored is a registry with an image of one layer in it.
func stored(t *testing.T, layer []byte) (handler http.Handler, config v1.Hash) {
	t.Helper()
	image, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{Layer: static.NewLayer(layer, types.OCIUncompressedLayer), MediaType: types.OCIUncompressedLayer})
	if err != nil {
		t.Fatal(err)
	}
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	if config, err = image.ConfigName(); err != nil {
		t.Fatal(err)
	}
	handler = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	ref, err := name.ParseReference(atHome)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithTransport(serve(t, handler))); err != nil {
		t.Fatal(err)
	}
	return handler, config
}

const atHome = "localhost:5000/shop/web:1"

// withAnswer has an answer of its own for requests whose path ends in something.
func withAnswer(h http.Handler, suffix string, answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, suffix) {
			answer(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// wantsToken is a registry that wants a token, and how it answers who asks for one.
func wantsToken(h http.Handler, token http.HandlerFunc) http.Handler {
	return withAnswer(withAnswer(h, "/token", token), "/v2/", wantToken)
}

func wantToken(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="http://localhost:5000/token"`)
	w.WriteHeader(http.StatusUnauthorized)
}

// wantsAnotherToken is one for which the first token is not enough for a blob.
func wantsAnotherToken(h http.Handler, blob string, second http.HandlerFunc) http.Handler {
	tokens := 0
	return wantsToken(withAnswer(h, blob, wantToken), func(w http.ResponseWriter, r *http.Request) {
		if tokens++; tokens > 1 {
			second(w, r)
			return
		}
		_, _ = io.WriteString(w, `{"token": "first"}`)
	})
}

// TestSlowRegistries has a clock of its own.
func TestSlowRegistries(t *testing.T) {
	t.Parallel()
	// An empty archive, and what nobody reads behind it but for its digest.
	layer := append(make([]byte, 1024), randomBytes(300<<10)...)
	const never, often = 24 * time.Hour, 7 * time.Second // of which no minute is made
	silent := func(_ http.ResponseWriter, r *http.Request) { wait(r, never) }
	slowly := func(content []byte, size int, pause time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			drip(w, r, content, size, pause)
		}
	}
	spaces := bytes.Repeat([]byte(" "), 1<<20)
	layerDigest := fmt.Sprintf("%x", sha256.Sum256(layer))
	const noAnswer = "the registry localhost:5000 cannot be reached: no answer came within 60 s"
	config := func(answer http.HandlerFunc) func(http.Handler, string) http.Handler {
		return func(h http.Handler, config string) http.Handler { return withAnswer(h, config, answer) }
	}
	manifest := func(answer http.HandlerFunc) func(http.Handler, string) http.Handler {
		return func(h http.Handler, _ string) http.Handler { return withAnswer(h, "/manifests/1", answer) }
	}
	blob := func(answer func(w http.ResponseWriter, r *http.Request)) func(http.Handler, string) http.Handler {
		return func(h http.Handler, config string) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/blobs/") && !strings.HasSuffix(r.URL.Path, config) {
					answer(w, r)
					return
				}
				h.ServeHTTP(w, r)
			})
		}
	}
	for what, c := range map[string]struct {
		of   func(h http.Handler, config string) http.Handler
		want string        // "" where it is read
		ends time.Duration // by the test's clock; 0 where it is not asked
	}{
		"a manifest that does not come":          {of: manifest(silent), want: "nothing of it came within 60 s", ends: time.Minute},
		"a manifest, a byte every seven seconds": {of: manifest(slowly(spaces, 1, often)), want: "only 9 bytes of it came within 60 s, and a manifest, a configuration or a token has to come whole"},
		"a manifest, after redirects that take their time": {of: manifest(func(w http.ResponseWriter, r *http.Request) {
			wait(r, 25*time.Second)
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}), want: "nothing of it came within 60 s", ends: time.Minute},
		"a manifest, after errors that take their time": {of: manifest(func(w http.ResponseWriter, r *http.Request) {
			wait(r, 25*time.Second)
			w.WriteHeader(http.StatusServiceUnavailable)
		}), want: "nothing of it came within 60 s", ends: time.Minute},
		"an error, a byte every seven seconds": {of: manifest(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			drip(w, r, spaces, 1, often)
		}), want: "bytes of it came within 60 s", ends: time.Minute},
		"a first answer that does not come": {of: func(h http.Handler, _ string) http.Handler { return withAnswer(h, "/v2/", silent) }, want: noAnswer, ends: time.Minute},
		"a first answer that stops": {of: func(h http.Handler, _ string) http.Handler {
			return withAnswer(h, "/v2/", slowly(spaces, 512<<10, never))
		}, want: "nothing of it came within 60 s", ends: time.Minute},
		"a token that does not come": {of: func(h http.Handler, _ string) http.Handler { return wantsToken(h, silent) }, want: noAnswer, ends: time.Minute},
		"a second token, for the configuration, that does not come": {of: func(h http.Handler, config string) http.Handler {
			return wantsAnotherToken(h, config, silent)
		}, want: noAnswer, ends: time.Minute},
		"a second token, for the layer, that does not come": {of: func(h http.Handler, _ string) http.Handler {
			return wantsAnotherToken(h, layerDigest, silent)
		}, want: noAnswer, ends: time.Minute},
		"a second token, for the layer, a byte every seven seconds": {of: func(h http.Handler, _ string) http.Handler {
			return wantsAnotherToken(h, layerDigest, slowly(spaces, 1, often))
		}, want: "its layer 1 of 1: only 9 bytes of it came within 60 s, and a manifest, a configuration or a token has to come whole", ends: time.Minute},
		"a token, a byte every seven seconds": {of: func(h http.Handler, _ string) http.Handler {
			return wantsToken(h, slowly(spaces, 1, often))
		}, want: "bytes of it came within 60 s, and a manifest, a configuration or a token has to come whole", ends: time.Minute},
		"a configuration that does not come":          {of: config(silent), want: "its configuration: nothing of it came within 60 s"},
		"a configuration, a byte every seven seconds": {of: config(slowly(spaces, 1, often)), want: "its configuration: only 9 bytes of it came within 60 s, and a manifest"},
		"a configuration that stops":                  {of: config(slowly(spaces, 512<<10, never)), want: "its configuration: only 524288 bytes of it came within 60 s", ends: time.Minute},
		"a layer that does not begin":                 {of: blob(silent), want: "its layer 1 of 1: nothing of it came within 60 s"},
		"a layer, a byte every seven seconds":         {of: blob(slowly(layer, 1, often)), want: "its layer 1 of 1: only 9 bytes more of it came within 60 s, and a layer has to bring 64 KiB", ends: time.Minute},
		"a layer that stops":                          {of: blob(slowly(layer, 200<<10, never)), want: "its layer 1 of 1: only "},
		"a layer that goes on after half an hour":     {of: blob(slowly(layer, 128<<10, 30*time.Minute)), want: "its layer 1 of 1: nothing more of it came within 60 s"},
		"a layer over a slow line":                    {of: blob(slowly(layer, 1200, time.Second))},
		"a layer over a line with long pauses":        {of: blob(slowly(layer, 70<<10, 55*time.Second))},
		"everything after half a minute": {of: func(h http.Handler, _ string) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet && r.URL.Path != "/v2/" {
					wait(r, 30*time.Second)
				}
				h.ServeHTTP(w, r)
			})
		}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				home, config := stored(t, layer)
				reader, err := NewReader(Options{Keychain: authn.NewMultiKeychain()})
				if err != nil {
					t.Fatal(err)
				}
				reader.transport.RoundTripper = serve(t, c.of(home, config.String()))
				begun := time.Now()
				got := reader.Read(t.Context(), Image{Reference: atHome})
				if c.want == "" && got.Error != "" || !strings.Contains(got.Error, c.want) {
					t.Errorf("%q, want %q", got.Error, c.want)
				}
				if took := time.Since(begun); c.ends != 0 && took != c.ends {
					t.Errorf("it ended after %s, want %s", took, c.ends)
				}
			})
		})
	}
}

// TestMuteRegistries is about many images of a registry that takes connections and
// says nothing, and of one where nobody gives tokens: they take no longer than one.
// Where only one image is not answered for, the others are read.
func TestMuteRegistries(t *testing.T) {
	t.Parallel()
	silent := func(_ http.ResponseWriter, r *http.Request) { wait(r, 24*time.Hour) }
	for what, c := range map[string]struct {
		of    func(http.Handler) http.Handler
		error string // of all images, "" where only the first is not read
	}{
		"a registry": {func(http.Handler) http.Handler { return http.HandlerFunc(silent) }, "the registry localhost:5000 cannot be reached: no answer came within 60 s"},
		"who gives tokens": {func(h http.Handler) http.Handler {
			return withAnswer(withAnswer(h, "/token", silent), "/v2/", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://auth.example.com:5000/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			})
		}, "auth.example.com:5000, where the registry localhost:5000 sends us, cannot be reached: no answer came within 60 s"},
		"one manifest": {func(h http.Handler) http.Handler { return withAnswer(h, "/manifests/mute", silent) }, ""},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				home, _ := stored(t, make([]byte, 1024))
				reader, err := NewReader(Options{Keychain: authn.NewMultiKeychain()})
				if err != nil {
					t.Fatal(err)
				}
				reader.transport.RoundTripper = serve(t, c.of(home))
				list := []Image{{Reference: "localhost:5000/shop/mute:mute"}} // repositories of their own: there, nobody waits for others
				for i := range 40 {
					list = append(list, Image{Reference: fmt.Sprintf("localhost:5000/shop/web-%d:1", i)})
				}
				if c.error == "" {
					list = []Image{list[0], {Reference: atHome}}
				}
				begun := time.Now()
				got, err := reader.ReadAll(t.Context(), list, func(int) {})
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took != time.Minute {
					t.Errorf("it took %s, want a minute", took)
				}
				for i := range got {
					if c.error != "" && got[i].Error != c.error || c.error == "" && (got[i].Error != "") != (i == 0) {
						t.Errorf("%s: %q, want %q", got[i].Reference, got[i].Error, c.error)
					}
				}
			})
		})
	}
}

// TestRegistriesThatAreTooSlow is about one that speaks the protocol, and nothing else,
// about all of its images, and about one that reads some of them.
func TestRegistriesThatAreTooSlow(t *testing.T) {
	t.Parallel()
	const notAsked = "and is not asked any more: run it again later"
	for what, c := range map[string]struct {
		mute func(path string) bool
		want int // that are not asked for, at least
		most time.Duration
	}{
		"for every image": {func(path string) bool { return strings.Contains(path, "/manifests/") }, 40 - maxLate - workers + 1, 3 * time.Minute},
		"for all but every 5th": {func(path string) bool {
			return strings.Contains(path, "/manifests/") && !strings.Contains(path, "5/") && !strings.Contains(path, "0/")
		}, 0, 9 * time.Minute},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				reader, err := NewReader(Options{Keychain: authn.NewMultiKeychain()})
				if err != nil {
					t.Fatal(err)
				}
				home := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
				reader.transport.RoundTripper = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if c.mute(r.URL.Path) {
						wait(r, 24*time.Hour)
						return
					}
					home.ServeHTTP(w, r)
				}))
				var list []Image
				for i := range 40 {
					list = append(list, Image{Reference: fmt.Sprintf("localhost:5000/shop/web-%d:1", i)})
				}
				begun := time.Now()
				got, err := reader.ReadAll(t.Context(), list, func(int) {})
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took > c.most {
					t.Errorf("it took %s, want at most %s", took, c.most)
				}
				left := 0
				for i := range got {
					if strings.HasSuffix(got[i].Error, notAsked) {
						left++
					}
				}
				if left < c.want || c.want == 0 && left > 0 {
					t.Errorf("%d images are not asked for, want %d", left, c.want)
				}
			})
		})
	}
}

// TestUnpackingMayTakeLong is about a layer that comes at once, of which nobody
// reads the rest for an hour.
func TestUnpackingMayTakeLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		transport := newTransport()
		transport.RoundTripper = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { drip(w, r, make([]byte, 1<<20), 1<<10, 0) }))
		client := http.Client{Transport: transport}
		request, err := http.NewRequestWithContext(context.WithValue(transport.inTime(t.Context()), layerKey{}, true), http.MethodGet, "http://localhost/v2/web/blobs/sha256:0", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		read := 0
		for buffer := make([]byte, 32<<10); ; time.Sleep(time.Hour) {
			n, err := response.Body.Read(buffer)
			read += n
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("after %d bytes: %v", read, err)
			}
		}
		if read != 1<<20 {
			t.Errorf("%d bytes came", read)
		}
	})
}

// wait ends with the request.
func wait(r *http.Request, long time.Duration) {
	select {
	case <-r.Context().Done():
	case <-time.After(long):
	}
}

// randomBytes are the same each time.
func randomBytes(n int) []byte {
	random := rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%032d", n))))
	content := make([]byte, n)
	_, _ = random.Read(content)
	return content
}
