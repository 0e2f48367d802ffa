package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
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

func (p *pipes) Close() error   { close(p.closed); return nil }
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
	network := &pipes{make(chan net.Conn), make(chan struct{})}
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)} //nolint:gosec // slowness is what is tested
	go func() { _ = server.Serve(network) }()
	client := &http.Transport{DialContext: network.dial}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		_ = server.Close()
	})
	return client
}

// readerOf reads images of a registry in the bubble of a test.
func readerOf(t *testing.T, registry http.Handler) *Reader {
	t.Helper()
	reader := must(NewReader(Options{Keychain: authn.NewMultiKeychain()}))
	reader.transport.RoundTripper = serve(t, registry)
	return reader
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

// answers are a registry's own, to requests whose path ends in something.
type answers map[string]http.HandlerFunc

// or asks another registry for the rest.
func (a answers) or(other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for suffix, answer := range a {
			if strings.HasSuffix(r.URL.Path, suffix) {
				answer(w, r)
				return
			}
		}
		other.ServeHTTP(w, r)
	})
}

func silent(_ http.ResponseWriter, r *http.Request) { wait(r, 24*time.Hour) }

// wantToken says where there is one.
func wantToken(from string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=%q", from))
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// atHome is an image in the registry that put returns.
const atHome = "localhost:5000/shop/web:1"

func put(t *testing.T, image v1.Image) http.Handler {
	t.Helper()
	ref := must(name.ParseReference(atHome))
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	if err := remote.Write(ref, image, remote.WithTransport(serve(t, handler))); err != nil {
		t.Fatal(err)
	}
	return handler
}

// withLayer is an image of one layer.
func withLayer(layer []byte) v1.Image {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	return must(mutate.AppendLayers(image, static.NewLayer(layer, types.OCIUncompressedLayer)))
}

// must is for what nothing can be tested without.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

const noAnswer = "the registry localhost:5000 cannot be reached: no answer came within 60 s"

// TestSlowRegistries has a clock of its own.
func TestSlowRegistries(t *testing.T) {
	t.Parallel()
	// An empty archive, and what nobody reads behind it but for its digest.
	content := make([]byte, 1024+300<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content[1024:])
	image := withLayer(content)
	config := must(image.ConfigName()).String()
	const never, often = 24 * time.Hour, 7 * time.Second // of which no minute is made
	slowly := func(content []byte, size int, pause time.Duration) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			drip(w, r, content, size, pause)
		}
	}
	spaces := bytes.Repeat([]byte(" "), 1<<20)
	byByte, stops := slowly(spaces, 1, often), slowly(spaces, 512<<10, never)
	wants := wantToken("http://localhost:5000/token")
	// secondly is for who gives tokens, where the first is not enough for a blob.
	secondly := func(answer http.HandlerFunc) http.HandlerFunc {
		tokens := 0
		return func(w http.ResponseWriter, r *http.Request) {
			if tokens++; tokens > 1 {
				answer(w, r)
				return
			}
			_, _ = io.WriteString(w, `{"token": "first"}`)
		}
	}
	const (
		first, token, manifest = "/v2/", "/token", "/manifests/1"
		ofLayer                = "its layer 1 of 1: "
		nothing, whole         = "nothing of it came within 60 s", "of it came within 60 s, and a manifest, a configuration or a token has to come whole"
	)
	layer := fmt.Sprintf("%x", sha256.Sum256(content))
	for what, c := range map[string]struct {
		of   answers
		want string        // after a minute, by the test's clock; "" where it is read
		late time.Duration // of everything that is there
	}{
		"a manifest that does not come":          {of: answers{manifest: silent}, want: nothing},
		"a manifest, a byte every seven seconds": {of: answers{manifest: byByte}, want: "only 9 bytes " + whole},
		"a manifest, after redirects that take their time": {of: answers{manifest: func(w http.ResponseWriter, r *http.Request) {
			wait(r, 25*time.Second)
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
		}}, want: nothing},
		"a manifest, after errors that take their time": {of: answers{manifest: func(w http.ResponseWriter, r *http.Request) {
			wait(r, 25*time.Second)
			w.WriteHeader(http.StatusServiceUnavailable)
		}}, want: nothing},
		"an error, a byte every seven seconds": {of: answers{manifest: func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			drip(w, r, spaces, 1, often)
		}}, want: "bytes of it came within 60 s"},
		"a first answer that does not come":                         {of: answers{first: silent}, want: noAnswer},
		"a first answer that stops":                                 {of: answers{first: stops}, want: nothing},
		"a token that does not come":                                {of: answers{first: wants, token: silent}, want: noAnswer},
		"a token, a byte every seven seconds":                       {of: answers{first: wants, token: byByte}, want: "bytes " + whole},
		"a second token, for the configuration, that does not come": {of: answers{first: wants, config: wants, token: secondly(silent)}, want: noAnswer},
		"a second token, for the layer, that does not come":         {of: answers{first: wants, layer: wants, token: secondly(silent)}, want: noAnswer},
		"a second token, for the layer, a byte every seven seconds": {of: answers{first: wants, layer: wants, token: secondly(byByte)}, want: ofLayer + "only 9 bytes " + whole},
		"a configuration that does not come":                        {of: answers{config: silent}, want: "its configuration: " + nothing},
		"a configuration, a byte every seven seconds":               {of: answers{config: byByte}, want: "its configuration: only 9 bytes " + whole},
		"a configuration that stops":                                {of: answers{config: stops}, want: "its configuration: only 524288 bytes " + whole},
		"a layer that does not begin":                               {of: answers{layer: silent}, want: ofLayer + nothing},
		"a layer, a byte every seven seconds":                       {of: answers{layer: slowly(content, 1, often)}, want: ofLayer + "only 9 bytes more of it came within 60 s, and a layer has to bring 64 KiB"},
		"a layer that stops":                                        {of: answers{layer: slowly(content, 200<<10, never)}, want: ofLayer + "only "},
		"a layer that goes on after half an hour":                   {of: answers{layer: slowly(content, 128<<10, 30*time.Minute)}, want: ofLayer + "nothing more of it came within 60 s"},
		"a layer over a slow line":                                  {of: answers{layer: slowly(content, 1200, time.Second)}},
		"a layer over a line with long pauses":                      {of: answers{layer: slowly(content, 70<<10, 55*time.Second)}},
		"everything after half a minute":                            {late: 30 * time.Second},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				home := put(t, image)
				reader := readerOf(t, c.of.or(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == http.MethodGet && r.URL.Path != first {
						wait(r, c.late)
					}
					home.ServeHTTP(w, r)
				})))
				begun := time.Now()
				got := reader.Read(t.Context(), Image{Reference: atHome})
				if c.want == "" && got.Error != "" || !strings.Contains(got.Error, c.want) {
					t.Errorf("%q, want %q", got.Error, c.want)
				}
				if took := time.Since(begun); c.want != "" && took != time.Minute {
					t.Errorf("it ended after %s, want a minute", took)
				}
			})
		})
	}
}

// TestSlowRegistriesOfManyImages is about registries that do not answer for some of 40
// images, which take no longer than one where nothing is answered at all.
func TestSlowRegistriesOfManyImages(t *testing.T) {
	t.Parallel()
	image := withLayer(make([]byte, 1024))
	auth := wantToken("http://auth.example.com:5000/token")
	const noToken = "auth.example.com:5000, where the registry localhost:5000 sends us, cannot be reached: no answer came within 60 s"
	const notAsked = `the registry localhost:5000 was too slow for \d+ images in a row and is not asked any more: run it again later`
	butEvery5th := answers{}
	for _, digit := range "12346789" {
		butEvery5th[string(digit)+"/manifests/1"] = silent
	}
	for what, c := range map[string]struct {
		of          answers
		error       string        // a regular expression
		least, most int           // images that have it
		read        int           // the others, but for those that are too slow by themselves
		ends        time.Duration // at the latest
	}{
		"it says nothing":                {answers{"": silent}, noAnswer, 40, 40, 0, time.Minute},
		"who gives tokens says nothing":  {answers{"/v2/": auth, "/token": silent}, noToken, 40, 40, 0, time.Minute},
		"for one of them":                {answers{"-7/manifests/1": silent}, "nothing of it came within 60 s", 1, 1, 39, time.Minute},
		"for all, while it is reachable": {answers{"/manifests/1": silent}, notAsked, 40 - maxLate - workers + 1, 40 - maxLate, 0, 3 * time.Minute},
		"for all but every 5th":          {butEvery5th, notAsked, 0, 0, 8, 9 * time.Minute},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				home := put(t, image)
				ofAll := regexp.MustCompile(`/web-\d+/`)
				reader := readerOf(t, c.of.or(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.URL.Path = ofAll.ReplaceAllString(r.URL.Path, "/web/")
					home.ServeHTTP(w, r)
				})))
				var list []Image
				for i := range 40 { // repositories of their own: there, nobody waits for others
					list = append(list, Image{Reference: fmt.Sprintf("localhost:5000/shop/web-%d:1", i)})
				}
				begun := time.Now()
				got, err := reader.ReadAll(t.Context(), list, func(int) {})
				if err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took < time.Minute || took > c.ends {
					t.Errorf("it took %s, want a minute at least, and at most %s", took, c.ends)
				}
				counted, read := 0, 0
				for i := range got {
					if regexp.MustCompile("^" + c.error + "$").MatchString(got[i].Error) {
						counted++
					} else if got[i].Error == "" {
						read++
					}
				}
				if counted < c.least || counted > c.most || read != c.read {
					t.Errorf("%d times %q, want %d to %d; %d are read, want %d", counted, c.error, c.least, c.most, read, c.read)
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
		transport.RoundTripper = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			drip(w, r, make([]byte, 1<<20), 1<<10, 0)
		}))
		ctx := context.WithValue(transport.inTime(t.Context()), layerKey{}, true)
		request := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/v2/web/blobs/sha256:0", nil)
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		read := 0
		for buffer := make([]byte, 32<<10); err == nil; time.Sleep(time.Hour) {
			var n int
			n, err = response.Body.Read(buffer)
			read += n
		}
		if read != 1<<20 || !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes came, %v", read, err)
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
