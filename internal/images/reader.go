package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/shorthop/shorthop/pkg/printable"
)

// Options say how images are read.
type Options struct {
	// Keychain has the credentials. Required; authn.DefaultKeychain is the user's.
	Keychain authn.Keychain
	// CacheFolder keeps what was found; "" for nothing.
	CacheFolder string
	// Platforms are the only ones to read, of linux. Defaults to all of linux that
	// an image has.
	Platforms []v1.Platform
	// UserAgent is what registries are told.
	UserAgent string
}

// workers is how many images are read at once. Unpacking takes a processor each.
const workers = 4

// Reader reads images.
type Reader struct {
	options   Options
	puller    *remote.Puller
	transport *boundedTransport
	cache     *cache
	once      singleflight.Group

	mu      sync.Mutex
	memory  map[string]*entry
	silent  map[string]string // registries that cannot be reached, and why
	failure error             // of the cache
}

// NewReader makes the folder of the cache.
func NewReader(o Options) (*Reader, error) {
	r := &Reader{options: o, transport: newTransport(), memory: map[string]*entry{}, silent: map[string]string{}}
	var err error
	if r.cache, err = openCache(o.CacheFolder); err != nil {
		return nil, err
	}
	r.puller, err = remote.NewPuller(remote.WithTransport(r.transport), remote.WithAuthFromKeychain(o.Keychain),
		remote.WithUserAgent(o.UserAgent), remote.WithJobs(workers))
	return r, err
}

// Bytes is how much registries have sent so far.
func (r *Reader) Bytes() int64 { return r.transport.bytes.Load() }

// CacheFailure is why something could not be kept, nil where everything was.
func (r *Reader) CacheFailure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure
}

// ReadAll reads images, some at once, and returns the results in their order.
// done is called after each, one at a time. An error is the context's: what was
// read by then is in the cache.
func (r *Reader) ReadAll(ctx context.Context, list []Image, done func(read int)) ([]Result, error) {
	results := make([]Result, len(list))
	var mu sync.Mutex
	read := 0
	var group errgroup.Group
	group.SetLimit(workers)
	for i := range list {
		group.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			results[i] = r.Read(ctx, list[i])
			if ctx.Err() != nil {
				return ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			read++
			done(read)
			return nil
		})
	}
	err := group.Wait()
	return results, err
}

// Read reads an image. What its tag means now is asked every time.
func (r *Reader) Read(ctx context.Context, image Image) Result {
	result := Result{Image: image}
	ref, err := parse(image.Reference)
	if err != nil {
		result.Error = r.sentence(err, nil)
		return result
	}
	if why := r.unreachable(ref); why != "" {
		result.Error = why
		return result
	}
	digest, err := r.resolve(ctx, ref)
	if err == nil {
		result.Digest = digest.DigestStr()
		result.Found, err = r.readWhatRuns(ctx, digest, image.running)
	}
	if err != nil {
		result.Error, result.Found = r.sentence(err, ref), Found{}
		return result
	}
	return result
}

// maxReference is the longest reference that spec.resolvers takes.
const maxReference = 512

func parse(reference string) (name.Reference, error) {
	if len(reference) > maxReference {
		return nil, problem(fmt.Sprintf("the reference has more than %d characters", maxReference))
	}
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, problem("this is not a reference to an image")
	}
	return ref, nil
}

// resolve finds out what a tag means.
func (r *Reader) resolve(ctx context.Context, ref name.Reference) (name.Digest, error) {
	if digest, ok := ref.(name.Digest); ok {
		return digest, nil
	}
	d, err := r.puller.Head(ctx, ref)
	if err == nil {
		return ref.Context().Digest(d.Digest.String()), nil
	}
	if ctx.Err() != nil {
		return name.Digest{}, err
	}
	got, err := r.puller.Get(ctx, ref) // some registries do not answer HEAD, and none says why it refuses it
	if err != nil {
		return name.Digest{}, err
	}
	if got.MediaType.IsSchema1() { // signed, it is not what its digest is of
		return name.Digest{}, errSchema1
	}
	return ref.Context().Digest(got.Digest.String()), nil
}

// readWhatRuns reads what a tag means now, and what containers of it run that
// were started when it meant something else: pods get the one or the other, by
// what is on their node.
func (r *Reader) readWhatRuns(ctx context.Context, digest name.Digest, running []string) (Found, error) {
	now, err := r.readDigest(ctx, digest)
	if err != nil {
		return Found{}, err
	}
	found := now.Found
	read := 0
	for _, other := range running {
		if found.Final() {
			break
		}
		if other == digest.DigestStr() || slices.Contains(now.Children, other) || slices.Contains(now.Configs, other) {
			continue
		}
		if read++; read > maxRunning || len(running) > maxDigests {
			return Found{}, problem(fmt.Sprintf("its tag has moved, and pods of it still run more than %d others", maxRunning))
		}
		ref, err := name.NewDigest(digest.Context().Name() + "@" + other)
		if err != nil {
			return Found{}, problem(fmt.Sprintf("pods of it run %s, which is no digest that can be read", printable.Name(other)))
		}
		before, err := r.readDigest(ctx, ref)
		if err != nil {
			return Found{}, fmt.Errorf("its tag has moved, and of %s, which pods of it still run, %w", other, err)
		}
		found = stricter(found, before.Found)
	}
	slices.Sort(found.Platforms)
	found.Platforms = slices.Compact(found.Platforms)
	return found, nil
}

// wants reports whether a platform is to be read.
func (r *Reader) wants(platform v1.Platform) bool {
	return len(r.options.Platforms) == 0 || slices.ContainsFunc(r.options.Platforms, platform.Satisfies)
}

// platformKey is the part of the cache's keys that says what was asked for.
func (r *Reader) platformKey() string {
	var key strings.Builder
	for _, platform := range r.options.Platforms {
		key.WriteString(" " + platform.String())
	}
	return key.String()
}

func (r *Reader) known(key string) *entry {
	r.mu.Lock()
	e := r.memory[key]
	r.mu.Unlock()
	if e == nil {
		e = r.cache.get(key)
	}
	return e
}

func (r *Reader) keep(key string, e *entry) {
	err := r.cache.put(key, e)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.memory[key] = e
	if r.failure == nil {
		r.failure = err
	}
}

// DefaultCacheFolder is where the user's caches are, "" where there is no such
// place.
func DefaultCacheFolder() string {
	folder, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(folder, "shorthop", "resolvers")
}

// ParsePlatforms reads platforms of Linux: linux/amd64, linux/arm/v7.
func ParsePlatforms(texts []string) (platforms []v1.Platform, err error) {
	for _, text := range texts {
		platform, err := v1.ParsePlatform(text)
		if err != nil || platform.OS != "linux" || platform.Architecture == "" {
			return nil, fmt.Errorf("%q: must be linux/ARCHITECTURE, for example linux/amd64 or linux/arm/v7", text)
		}
		platforms = append(platforms, *platform)
	}
	return platforms, nil
}
