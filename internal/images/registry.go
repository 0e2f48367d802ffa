package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/shorthop/shorthop/internal/rootfs"
	"github.com/shorthop/shorthop/pkg/printable"
)

const (
	// maxPlatforms bounds an index. Official images have up to about 10 platforms,
	// and an attestation for each.
	maxPlatforms = 128
	// maxLayers is what container runtimes and registries have at most.
	maxLayers = 512
	// maxVariable is how much is kept of a variable.
	maxVariable = 1024
)

// readDigest reads an image or an index by its digest.
func (r *Reader) readDigest(ctx context.Context, ref name.Digest) (*entry, error) {
	key := ref.DigestStr() + r.platformKey()
	found, err, _ := r.once.Do(key, func() (any, error) {
		if known := r.known(key); known != nil {
			return known, nil
		}
		e, err := r.readManifest(ctx, ref)
		if err == nil {
			r.keep(key, e)
		}
		return e, err
	})
	if err != nil {
		return nil, err
	}
	e, _ := found.(*entry)
	return e, nil
}

// get gets a manifest or an index.
func (r *Reader) get(ctx context.Context, ref name.Digest) (*remote.Descriptor, error) {
	d, err := r.puller.Get(r.transport.inTime(ctx), ref)
	if err != nil {
		return nil, fromLibrary{err}
	}
	return d, nil
}

func (r *Reader) readManifest(ctx context.Context, ref name.Digest) (*entry, error) {
	d, err := r.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	switch {
	case d.MediaType.IsIndex():
		return r.readIndex(ctx, ref, d)
	case d.MediaType.IsSchema1():
		return nil, errSchema1
	case !d.MediaType.IsImage():
		return nil, problem(fmt.Sprintf("what is there is no image but %s", printable.Name(string(d.MediaType))))
	}
	e, platform, err := r.readImage(ctx, ref, d.Manifest)
	if err != nil {
		return nil, err
	}
	if !r.wants(platform) {
		return nil, r.noPlatform([]string{platform.String()})
	}
	return e, nil
}

// readIndex reads the images of an index for Linux, until one is as strict as
// can be.
func (r *Reader) readIndex(ctx context.Context, ref name.Digest, d *remote.Descriptor) (*entry, error) {
	index, err := parsed(d.Manifest, v1.ParseIndexManifest)
	if err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	if len(index.Manifests) > maxPlatforms {
		return nil, problem(fmt.Sprintf("its index has more than %d entries", maxPlatforms))
	}
	e := &entry{}
	var others []string
	read := 0
	for _, child := range index.Manifests {
		e.Children = append(e.Children, child.Digest.String())
		if child.Digest == (v1.Hash{}) {
			return nil, problem("its index has an entry without a digest")
		}
		platform := v1.Platform{OS: linux}
		if child.Platform != nil {
			platform = spelled(*child.Platform)
		}
		switch {
		case platform.OS == "unknown" || child.ArtifactType != "" && !child.MediaType.IsImage(): // signatures and the like
			continue
		case platform.OS != linux || !r.wants(platform):
			others = append(others, platform.String())
			continue
		case !child.MediaType.IsImage():
			return nil, problem(fmt.Sprintf("its index has an entry that is no image but %s", printable.Name(string(child.MediaType))))
		}
		image, err := r.readChild(ctx, ref.Context().Digest(child.Digest.String()))
		if err != nil {
			if _, other := errors.AsType[otherPlatform](err); other && child.Platform == nil {
				continue
			}
			return nil, fmt.Errorf("of its platform %s, %w", printable.Name(platform.String()), err)
		}
		e.Configs = append(e.Configs, image.Configs...)
		if read++; read == 1 {
			e.Found = image.Found
		} else {
			e.Found = stricter(e.Found, image.Found)
		}
		if e.Found.Final() {
			return e, nil
		}
	}
	if read == 0 {
		return nil, r.noPlatform(others)
	}
	return e, nil
}

// readChild reads an image of an index.
func (r *Reader) readChild(ctx context.Context, ref name.Digest) (*entry, error) {
	key := ref.DigestStr()
	if known := r.known(key); known != nil {
		return known, nil
	}
	d, err := r.get(ctx, ref)
	if err != nil {
		return nil, err
	}
	e, _, err := r.readImage(ctx, ref, d.Manifest)
	if err == nil {
		r.keep(key, e)
	}
	return e, err
}

// readImage reads an image for one platform.
func (r *Reader) readImage(ctx context.Context, ref name.Digest, text []byte) (e *entry, platform v1.Platform, err error) {
	manifest, err := parsed(text, v1.ParseManifest)
	if err != nil {
		return nil, platform, fmt.Errorf("its manifest: %w", err)
	}
	if !manifest.Config.MediaType.IsConfig() {
		return nil, platform, problem(fmt.Sprintf("what is there is no image of a container but has a configuration of type %s", printable.Name(string(manifest.Config.MediaType))))
	}
	if len(manifest.Layers) > maxLayers {
		return nil, platform, problem(fmt.Sprintf("it has more than %d layers", maxLayers))
	}
	config, err := r.readConfig(ctx, ref, &manifest.Config)
	if err != nil {
		return nil, platform, fmt.Errorf("its configuration: %w", err)
	}
	platform = spelled(v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant})
	if platform.OS != linux {
		return nil, platform, otherPlatform(platform.String())
	}
	files := rootfs.NewImage()
	for i, layer := range slices.Backward(manifest.Layers) {
		if err := r.readLayer(ctx, ref, files, &layer); err != nil {
			return nil, platform, fmt.Errorf("its layer %d of %d: %w", i+1, len(manifest.Layers), err)
		}
		if v := files.Verdict(); v.Final() {
			break
		}
	}
	found := Found{Verdict: files.Verdict(), Platforms: []string{printable.Cut(platform.String(), maxVariable)}, Env: resolverEnv(config.Config.Env)}
	return &entry{Found: found, Configs: []string{manifest.Config.Digest.String()}}, platform, nil
}

// resolverEnv are the variables that matter of an image's.
func resolverEnv(env []string) map[string]string {
	var found map[string]string
	for _, variable := range env {
		if name, value, _ := strings.Cut(variable, "="); slices.Contains(resolverVariables, name) {
			if found == nil {
				found = map[string]string{}
			}
			found[name] = printable.Cut(value, maxVariable)
		}
	}
	return found
}

func (r *Reader) readConfig(ctx context.Context, ref name.Digest, d *v1.Descriptor) (*v1.ConfigFile, error) {
	if d.Size > maxDocument {
		return nil, errLongDocument
	}
	body, err := r.blob(ctx, ref, d)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	return parsed(data, v1.ParseConfigFile)
}

func (r *Reader) readLayer(ctx context.Context, ref name.Digest, files *rootfs.Image, d *v1.Descriptor) error {
	if !d.MediaType.IsLayer() {
		return problem(fmt.Sprintf("it is of type %s, which is not a layer's that can be read", printable.Name(string(d.MediaType))))
	}
	if !d.MediaType.IsDistributable() {
		return problem("it is not in the registry, by its type")
	}
	body, err := r.blob(context.WithValue(ctx, layerKey{}, true), ref, d)
	if err != nil {
		return err
	}
	defer body.Close()
	return files.ReadLayer(body, d.Size)
}

// blob reads a blob by its digest, which its end is compared with: addresses
// elsewhere that a manifest gives for it are not asked.
func (r *Reader) blob(ctx context.Context, ref name.Digest, d *v1.Descriptor) (io.ReadCloser, error) {
	if d.Digest == (v1.Hash{}) {
		return nil, problem("the manifest has no digest of it")
	}
	if d.Size < 0 {
		return nil, problem(fmt.Sprintf("the manifest says that it has %d bytes", d.Size))
	}
	blob, err := r.puller.Layer(r.transport.inTime(ctx), ref.Context().Digest(d.Digest.String()))
	if err != nil {
		return nil, fromLibrary{err}
	}
	body, err := blob.Compressed() // as it is
	if err != nil {
		return nil, fromLibrary{err}
	}
	return verified{body}, nil
}

// verified tells, of the errors of a blob, that of its verification, for which
// the library has no exported type.
type verified struct{ io.ReadCloser }

func (v verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	if err != nil && strings.HasPrefix(err.Error(), "error verifying ") {
		err = rootfs.ErrDigest
	}
	return n, err
}
