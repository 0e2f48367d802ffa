package images

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/shorthop/shorthop/internal/images"
	"github.com/shorthop/shorthop/internal/rootfs"
	"github.com/shorthop/shorthop/test/testfile"
)

// credentials are those for every registry, or why there are none.
type credentials func() (authn.Authenticator, error)

func (c credentials) Resolve(authn.Resource) (authn.Authenticator, error) { return c() }

// script is a program for which no build is needed: there is none in it.
var script = file{path: "run.sh", content: []byte("#!/bin/sh\n")}

func TestCredentials(t *testing.T) {
	t.Parallel()
	const user, password = "shop", "right"
	locked := false
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
	push(t, reference, linux(t, script))
	locked = true
	with := func(password string) credentials {
		return func() (authn.Authenticator, error) { return &authn.Basic{Username: user, Password: password}, nil }
	}
	broken := credentials(func() (authn.Authenticator, error) { return nil, errors.New("the helper is not there") })
	for what, c := range map[string]struct {
		reference string
		keychain  authn.Keychain
		want      string
	}{
		"none":   {reference, nobody, "the registry " + host + " wants credentials, and the Docker configuration has none for it"},
		"wrong":  {reference, with("wrong"), "the registry " + host + " does not accept the credentials of the Docker configuration for it (401)"},
		"right":  {reference, with(password), ""},
		"broken": {"registry.invalid/a:1", broken, "the credentials for registry.invalid cannot be read: the helper is not there"},
	} {
		got := newReader(t, "", c.keychain).Read(t.Context(), images.Image{Reference: c.reference})
		if got.Error != c.want {
			t.Errorf("credentials: %s: %q, want %q", what, got.Error, c.want)
		}
	}
}

// isUnread fails the test unless an image could not be read, for a reason that begins so.
func isUnread(t *testing.T, got *images.Result, want string) {
	t.Helper()
	if want == "" || !strings.HasPrefix(got.Error, want) || strings.ContainsAny(got.Error, "\n\x1b") || strings.Contains(got.Error, "secret") {
		t.Errorf("%q, want %q", got.Error, want)
	}
	if got.Resolver != rootfs.Unknown || got.Because != "" {
		t.Errorf("something is known of it: %+v", got.Found)
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
	return must(mutate.AppendLayers(image(t, amd64, nil), static.NewLayer(content, kind)))
}

func TestWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	type answer func(w http.ResponseWriter, blob []byte)
	var spoilt sync.Map // what is answered instead of blobs, by their digests
	host := server(t, func(registry http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			how, found := spoilt.Load(filepath.Base(r.URL.Path))
			if !found || r.Method != http.MethodGet {
				registry.ServeHTTP(w, r)
				return
			}
			recorded := httptest.NewRecorder()
			registry.ServeHTTP(recorded, r)
			how.(answer)(w, recorded.Body.Bytes())
		})
	})
	// spoil is about the layer of an image, or the configuration of one without layers.
	spoil := func(what v1.Image, how answer) v1.Image {
		digest := must(what.ConfigName())
		if layers := must(what.Layers()); len(layers) > 0 {
			digest = must(layers[0].Digest())
		}
		spoilt.Store(digest.String(), how)
		return what
	}
	redirect := func(to string) answer {
		return func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}
	random := func(n int) file { // that gzip does not make shorter
		content := make([]byte, n)
		_, _ = rand.NewChaCha8([32]byte{}).Read(content)
		return file{path: fmt.Sprint("random", n), content: content}
	}
	whole := layer{files: []file{random(20_000)}}.archive(t)
	plain := layer{files: []file{random(20_001)}, pack: types.OCIUncompressedLayer}.archive(t)
	server := httptest.NewServer(nil)
	server.Close()
	closed := strings.TrimPrefix(server.URL, "http://")

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
		"a layer that is shorter":                  {push: spoil(linux(t, random(30_001)), func(w http.ResponseWriter, blob []byte) { w.Write(blob[:1000]) }), want: "its layer 1 of 1: it breaks off: 1000 of 30"},
		"a layer that is longer":                   {push: spoil(linux(t, random(30_002)), func(w http.ResponseWriter, blob []byte) { w.Write(append(blob, "more"...)) }), want: "its layer 1 of 1: it has more than the 30"},
		"a layer with other content":               {push: spoil(withLayer(t, plain, types.OCIUncompressedLayer), func(w http.ResponseWriter, blob []byte) { blob[600] ^= 1; w.Write(blob) }), want: "its layer 1 of 1: what came is not what its digest is of"},
		"a layer that redirects to itself":         {push: spoil(linux(t, random(30_004)), redirect("?")), want: "its layer 1 of 1: there are 10 redirects in a row, and the last is not followed"},
		"a layer at an address that is none":       {push: spoil(linux(t, random(30_005)), redirect("http://user:secret@host:port/a?secret=1")), want: `its layer 1 of 1: there is a redirect to "host:port/a", which is no address`},
		"a layer at an address without a host":     {push: spoil(linux(t, random(30_006)), redirect("http:///a")), want: `its layer 1 of 1: there is a redirect to "http:///a", which is no address`},
		"a layer in a file":                        {push: spoil(linux(t, random(30_007)), redirect("file:///etc/passwd")), want: `its layer 1 of 1: there is a redirect to an address that begins with "file:", and only http: and https: are followed`},
		"a layer on a host that is not there":      {push: spoil(linux(t, random(30_008)), redirect("http://"+closed+"/a")), want: "its layer 1 of 1: " + closed + ", where the registry HOST sends us, cannot be reached: connect: connection refused"},
		"a layer in a private network":             {push: spoil(linux(t, random(30_009)), redirect("http://169.254.169.254/a")), want: "its layer 1 of 1: the registry HOST redirects to an address of a private network, which is not followed"},
		"a configuration that redirects to itself": {push: spoil(image(t, amd64, []string{"A=1"}), redirect("?")), want: "its configuration: there are 10 redirects in a row, and the last is not followed"},
		"a digest of a reference by SHA-384":       {reference: host + "/a@sha384:" + strings.Repeat("1", 96), want: "its digest sha384:" + strings.Repeat("1", 96) + " is not by sha256 or sha512"},
		"a layer that is not there":                {push: spoil(linux(t, random(30_003)), func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusNotFound) }), want: "its layer 1 of 1: the registry HOST does not have it"},
		"a layer that was pushed in halves":        {push: withLayer(t, whole[:10_000], types.OCILayer), want: "its layer 1 of 1: its archive breaks off"},
		"an archive that ends too early":           {push: withLayer(t, plain[:5000], types.OCIUncompressedLayer), want: "its layer 1 of 1: its archive breaks off"},
		"a layer that is no archive":               {push: withLayer(t, []byte(strings.Repeat("no archive ", 100)), types.OCILayer), want: "its layer 1 of 1: it is no archive that can be read: archive/tar: invalid tar header"},
		"gzip that is broken":                      {push: withLayer(t, slices.Concat(whole[:5000], []byte("broken"), whole[5000:]), types.OCILayer), want: "its layer 1 of 1: it is no archive that can be read"},
		"zstd that is broken":                      {push: withLayer(t, []byte("\x28\xb5\x2f\xfd no frame"), types.OCILayerZStd), want: "its layer 1 of 1: it is no archive that can be read"},
		"a layer of another type":                  {push: withLayer(t, whole, "application/vnd.wasm.content.layer.v1+wasm"), want: "its layer 1 of 1: it is of type application/vnd.wasm.content.layer.v1+wasm, which is not a layer's that can be read"},
		"schema 1":                                 {push: manifest{`{"schemaVersion": 1, "name": "a", "tag": "1"}`, types.DockerManifestSchema1}, want: "it has a manifest of schema 1, which is not read: push it again with a current tool"},
		"for another platform":                     {push: linux(t, script), platforms: []string{"linux/arm64", "linux/arm/v7"}, want: "it has no image for linux/arm64, linux/arm/v7, only for linux/amd64"},
		"an index for other platforms":             {push: index(t, linux(t, script), image(t, "linux/s390x", nil, layer{files: []file{script}})), platforms: []string{"linux/arm64"}, want: "it has no image for linux/arm64, only for linux/amd64, linux/s390x"},
		"a manifest that is too long":              {push: manifest{`{"schemaVersion": 2, "x": "` + strings.Repeat("x", 5<<20) + `"}`, types.OCIManifestSchema1}, want: "it answers with more than 4 MiB where a manifest or the like is due"},
		"a tag that is not there":                  {reference: host + "/nothing/here:1", want: "the registry HOST has no such tag or digest, or no repository of that name"},
		"a registry that is not there":             {reference: closed + "/a:1", want: "the registry " + closed + " cannot be reached: connect: connection refused"},
		"a host that cannot exist":                 {reference: "registry.invalid/a:1", want: "the registry registry.invalid cannot be reached: "},
		"no reference":                             {reference: "Not An\x1b[31mImage", want: "this is not a reference to an image"},
		"an endless reference":                     {reference: strings.Repeat("a", 600), want: "the reference has more than 512 characters"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			reference := c.reference
			if c.push != nil {
				reference = host + "/cannot/be-read:" + strings.ReplaceAll(what, " ", "-")
				push(t, reference, c.push)
			}
			got := read(t, reference, c.platforms...)
			isUnread(t, &got, strings.ReplaceAll(c.want, "HOST", host))
		})
	}
}

// TestDocumentsThatCannotBeRead has its cases in a file: what is said about a manifest, an index or a configuration, and the text
// of it. In a manifest, CONFIG is an empty configuration.
func TestDocumentsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, c := range testfile.ReadCase(t, "testdata/documents.txtar").Files {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			want, text, _ := strings.Cut(strings.TrimSuffix(string(c.Data), "\n"), "\n")
			manifest, config, kind := text, "{}", types.OCIManifestSchema1
			if strings.HasPrefix(want, "its configuration") {
				manifest, config = `{"schemaVersion":2,"config":CONFIG,"layers":[]}`, text
			} else if strings.Contains(text, `"manifests"`) {
				kind = types.OCIImageIndex
			}
			descriptor := fmt.Sprintf(`{"mediaType":%q,"size":%d,"digest":"sha256:%x"}`, types.OCIConfigJSON, len(config), sha256.Sum256([]byte(config)))
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.Contains(r.URL.Path, "/manifests/"):
					w.Header().Set("Content-Type", string(kind))
					_, _ = io.WriteString(w, strings.ReplaceAll(manifest, "CONFIG", descriptor))
				case strings.Contains(r.URL.Path, "/blobs/"):
					_, _ = io.WriteString(w, config)
				}
			}))
			t.Cleanup(server.Close)
			got := read(t, strings.TrimPrefix(server.URL, "http://")+"/a/b:1")
			isUnread(t, &got, want)
		})
	}
}

// TestARegistryThatMisleads is about registries that answer with what is no image.
func TestARegistryThatMisleads(t *testing.T) {
	t.Parallel()
	const whole, otherDigest = "/v2/a/b/manifests/", "another manifest than the digest's"
	manifests := func(answer http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, whole) {
				answer(w, r)
			}
		}
	}
	to := func(address string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", address)
			w.WriteHeader(http.StatusFound)
		}
	}
	// token is a registry that wants one, and what answers where it is.
	token := func(realm string, answer http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/token" {
				answer(w, r)
				return
			}
			w.Header().Set("WWW-Authenticate", "Bearer "+strings.ReplaceAll(realm, "HOST", r.Host))
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	const here = `realm="http://HOST/token"`
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			connection, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(connection, text)
			_ = connection.Close()
		}
	}
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	document := func(text string) http.HandlerFunc {
		return manifests(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			_, _ = io.WriteString(w, text)
		})
	}
	for what, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
		most   int64 // requests, beside the first; 0 where they are not counted
	}{
		"a manifest that redirects to itself":      {manifests(func(w http.ResponseWriter, r *http.Request) { to(r.URL.Path)(w, r) }), "there are 10 redirects in a row, and the last is not followed", 20},
		"a manifest that redirects ever on":        {manifests(func(w http.ResponseWriter, r *http.Request) { to(r.URL.Path+"0")(w, r) }), "there are 10 redirects in a row, and the last is not followed", 20},
		"a manifest in a file":                     {manifests(to("file:///etc/passwd")), `there is a redirect to an address that begins with "file:", and only http: and https: are followed`, 2},
		"a manifest by an unknown scheme":          {manifests(to("gopher" + strings.Repeat("r", 200) + "://a/")), `there is a redirect to an address that begins with "gopher`, 2},
		"a manifest at no address":                 {manifests(to("http://%zz/")), `there is a redirect to "http://%zz/", which is no address`, 2},
		"a redirect to nowhere":                    {manifests(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) }), "the registry HOST answers 302 Found", 2},
		"a first answer that redirects to itself":  {to("/v2/"), "there are 10 redirects in a row, and the last is not followed", 20},
		"a token that redirects to itself":         {token(here, to("/token")), "there are 10 redirects in a row, and the last is not followed", 0},
		"a token in a file":                        {token(here, to("file:///etc/passwd")), `there is a redirect to an address that begins with "file:"`, 0},
		"a token of a private network, redirected": {token(here, to("http://169.254.169.254/token")), "where the registry HOST sends us for a token redirects to where we do not ask for one", 0},
		"a token of a private network":             {token(`realm="http://169.254.169.254/token"`, nil), "the registry HOST sends us for a token to where we do not ask for one", 0},
		"a token from nowhere":                     {token(`service="a"`, nil), "the registry HOST wants a token and does not say from where", 0},
		"a token that is none":                     {token(here, says(`{"refresh_token":"secret"}`)), "where the registry HOST sends us for a token answers without one", 0},
		"a token that is no JSON":                  {token(here, says("<html>")), "where the registry HOST sends us for a token answers without one", 0},
		"a token that is a number":                 {token(here, says(`{"token":1}`)), "where the registry HOST sends us for a token answers without one", 0},
		"a header that is none":                    {manifests(raw("HTTP/1.1 200 OK\r\nContent-Type: \x1b[31m\r\n\r\n")), `what the registry HOST answers is not HTTP that can be read: "Content-Type: \x1b[31m"`, 0},
		"headers without end":                      {manifests(raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20))), "it answers with headers of more than 1 MiB", 0},
		"an answer that is not HTTP":               {manifests(raw("SSH-2.0-OpenSSH_10.0\r\n")), `what the registry HOST answers is not HTTP that can be read: "SSH-2.0-OpenSSH_10.0"`, 0},
		"an answer that is none":                   {manifests(raw("")), "the registry HOST closes the connection before it has answered", 0},
		"a manifest that is not whole":             {manifests(raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")), "the connection was closed before all of it had come", 0},
		"a manifest in chunks that are none":       {manifests(raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")), "it is not HTTP that can be read: ", 0},
		otherDigest:                                {document("{}"), "what came is not what its digest is of", 0},
		"a manifest of lists in lists":             {document(strings.Repeat("[", 3<<20)), "its manifest: it is not JSON from byte 10000 on: ", 0},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				c.answer(w, r)
			}))
			t.Cleanup(server.Close)
			host := strings.TrimPrefix(server.URL, "http://")
			reference := host + "/a/b:1"
			if what == otherDigest {
				reference = host + "/a/b@sha256:" + strings.Repeat("1", 64)
			}
			got := read(t, reference)
			isUnread(t, &got, strings.ReplaceAll(c.want, "HOST", host))
			if n := asked.Load() - 1; c.most != 0 && n > c.most {
				t.Errorf("%d requests, want at most %d", n, c.most)
			}
		})
	}
}
