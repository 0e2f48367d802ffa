package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
	// CacheFolder is where results are kept between runs. Defaults to nowhere.
	CacheFolder string
	// Platforms are those to read, all of them Linux. Defaults to every Linux
	// platform that an image has.
	Platforms []v1.Platform
	// UserAgent is the User-Agent header that registries get.
	UserAgent string
}

// workers is how many images are read at once. Each keeps a core busy while it
// unpacks.
const workers = 4

// maxLate is after how many images in a row for which a registry was too slow it is
// not asked for others: each takes a minute, and there may be hundreds.
const maxLate = 2 * workers

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
	late    map[string]int    // images of a registry in a row for which it was too slow
	failure error             // of the cache
}

// NewReader returns a Reader, and makes the folder of the cache if it is not there.
func NewReader(o Options) (*Reader, error) {
	r := &Reader{options: o, transport: newTransport(), memory: map[string]*entry{}, silent: map[string]string{}, late: map[string]int{}}
	var err error
	if r.cache, err = openCache(o.CacheFolder); err != nil {
		return nil, err
	}
	r.puller, err = remote.NewPuller(remote.WithTransport(r.transport), remote.WithAuthFromKeychain(keychain{o.Keychain}),
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

// ReadAll reads images, several at once, and returns the results in the order of
// list. done is called after each image with the number read so far, never twice at
// the same time. An error is that of ctx; what was read before is in the cache.
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

// Read reads an image. The registry is asked every time which digest a tag stands
// for now; what was found for a digest comes from the cache.
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
	r.noteLate(ref, err)
	if err != nil {
		result.Error, result.Found = r.sentence(err, ref), Found{}
		return result
	}
	return result
}

// noteLate counts the images in a row for which a registry was too slow.
func (r *Reader) noteLate(ref name.Reference, err error) {
	_, late := errors.AsType[slow](err)
	r.mu.Lock()
	defer r.mu.Unlock()
	if registry := ref.Context().RegistryStr(); late {
		r.late[registry]++
	} else {
		delete(r.late, registry)
	}
}

// maxReference is the longest reference that spec.resolvers takes.
const maxReference = 512

// The grammar of references, as kubelet and containerd have it. The library takes more for
// one: docker://nginx for the image /nginx of a registry "docker:", ./x for one of ".".
var (
	registryName   = regexp.MustCompile(`^([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])(:[0-9]+)?$`)
	repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
)

func parse(reference string) (name.Reference, error) {
	if len(reference) > maxReference {
		return nil, problem(fmt.Sprintf("the reference has more than %d characters", maxReference))
	}
	ref, err := name.ParseReference(reference)
	if err != nil || !registryName.MatchString(ref.Context().RegistryStr()) || !repositoryName.MatchString(ref.Context().RepositoryStr()) {
		return nil, problem("this is not a reference to an image")
	}
	if digest, ok := ref.(name.Digest); ok && !readable(digest.DigestStr()) {
		return nil, problem(fmt.Sprintf("its digest %s is not by sha256 or sha512", printable.Name(digest.DigestStr())))
	}
	return ref, nil
}

// resolve finds out which digest a tag stands for.
func (r *Reader) resolve(ctx context.Context, ref name.Reference) (name.Digest, error) {
	if digest, ok := ref.(name.Digest); ok {
		return digest, nil
	}
	ctx = r.transport.inTime(ctx) // both requests have the time of one
	d, err := r.puller.Head(ctx, ref)
	if err == nil {
		return ref.Context().Digest(d.Digest.String()), nil
	}
	if _, late := errors.AsType[slow](err); late || ctx.Err() != nil {
		return name.Digest{}, fromLibrary{err}
	}
	got, err := r.puller.Get(ctx, ref) // some registries do not answer HEAD, and none says why it refuses it
	if err != nil {
		return name.Digest{}, fromLibrary{err}
	}
	if got.MediaType.IsSchema1() { // its digest is not that of its bytes, which include a signature
		return name.Digest{}, errSchema1
	}
	return ref.Context().Digest(got.Digest.String()), nil
}

// readWhatRuns reads the image that the tag stands for now, and those that running
// containers were started from while it stood for another. A new pod may get either,
// depending on what is on its node, so the stricter of the findings counts.
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
		if err != nil || !readable(other) {
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

// platformKey is the part of the cache's keys that says what was asked for.
func (r *Reader) platformKey() string {
	var key strings.Builder
	for _, platform := range r.options.Platforms {
		key.WriteString(" " + platform.String())
	}
	return key.String()
}

// known returns what was kept under a key, in memory or in the cache; nil where
// there is nothing.
func (r *Reader) known(key string) *entry {
	r.mu.Lock()
	e := r.memory[key]
	r.mu.Unlock()
	if e == nil {
		e = r.cache.get(key)
	}
	return e
}

// keep keeps an entry, in memory and in the cache. CacheFailure has the first error.
func (r *Reader) keep(key string, e *entry) {
	err := r.cache.put(key, e)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.memory[key] = e
	if r.failure == nil {
		r.failure = err
	}
}

// DefaultCacheFolder is our folder among the user's caches, "" where the user has
// none.
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
		if err != nil || platform.OS != linux || platform.Architecture == "" {
			return nil, fmt.Errorf("%q: must be linux/ARCHITECTURE, for example linux/amd64 or linux/arm/v7", text)
		}
		platforms = append(platforms, spelled(*platform))
	}
	return platforms, nil
}
