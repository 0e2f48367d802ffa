// Package images builds the images of the probes: docker-archive files, without a container engine and a registry.
package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// The probes, named by the resolver that they use; API is the one that calls the API server.
const (
	Glibc = "glibc"
	Musl  = "musl"
	Go    = "go"
	// Cgo is Go's probe with cgo, dynamically linked: it leaves Go's resolver for glibc's where RES_OPTIONS is set.
	Cgo = "cgo"
	// Own is glibc's probe in an image whose ENV has OwnResOptions.
	Own = "own"
	API = "api"
)

// All lists them.
var All = []string{Glibc, Musl, Go, Cgo, Own, API}

// OwnResOptions is RES_OPTIONS in the ENV of the image Own.
const OwnResOptions = "ndots:3 attempts:3"

// DefaultPrefix is what the names of the images begin with. A registry's name can take its place.
const DefaultPrefix = "localhost/shorthop-probe-"

// Name is the image of a probe.
func Name(prefix, probe string) string { return prefix + probe + ":e2e" }

// Known is another name of the same image: one that the policy's spec.resolvers knows.
func Known(prefix, probe string) string { return prefix + probe + ":known" }

// Build builds all probes from the folder with their sources and writes PROBE.tar to dir. The result is one path for each
// of All.
func Build(ctx context.Context, sources, dir, prefix string) ([]string, error) {
	dir, err := filepath.Abs(dir) // go build runs in the folder of the sources
	if err != nil {
		return nil, fmt.Errorf("finding the folder of images: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("creating the folder of images: %w", err)
	}
	var archives []string
	for _, probe := range All {
		binary := filepath.Join(dir, probe)
		if err := compile(ctx, sources, probe, binary); err != nil {
			return nil, err
		}
		files := map[string]string{"probe": binary}
		if probe == Glibc || probe == Cgo || probe == Own {
			if err := addLibraries(ctx, files, binary); err != nil {
				return nil, err
			}
		}
		archive := binary + ".tar"
		config := map[string]any{"Entrypoint": []string{"/probe"}}
		if probe == Own {
			config["Env"] = []string{"RES_OPTIONS=" + OwnResOptions}
		}
		if err := write(archive, []string{Name(prefix, probe), Known(prefix, probe)}, config, files); err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// HastyRepository and HastyTag name the image of the product whose advisor is content with less than a week.
const (
	HastyRepository = "localhost/shorthop-hasty"
	HastyTag        = "e2e"
)

// BuildHasty packages the webhook of bin with an advisor in which a file takes the place of pkg/advisor/enough.go, and
// writes the archive to dir.
func BuildHasty(ctx context.Context, root, enough, dir string) (archive string, err error) {
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "pkg", "advisor", "enough.go"): enough}})
	if err != nil {
		return "", fmt.Errorf("encoding what is replaced: %w", err)
	}
	replaced, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "kubectl-shorthop-hasty")
	if err := os.WriteFile(replaced, overlay, 0o600); err != nil {
		return "", fmt.Errorf("writing what is replaced: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-overlay", replaced, "-o", binary, "./cmd/kubectl-shorthop")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the advisor: %w\n%s", err, output)
	}
	archive = filepath.Join(dir, "hasty.tar")
	return archive, write(archive, []string{HastyRepository + ":" + HastyTag},
		map[string]any{"Entrypoint": []string{"/webhook"}, "User": "65532:65532"}, // as the Dockerfile has it
		map[string]string{"webhook": filepath.Join(root, "bin", "webhook"), "kubectl-shorthop": binary})
}

func compile(ctx context.Context, sources, probe, binary string) error {
	var cmd *exec.Cmd
	cgo := "0"
	source := filepath.Join(sources, "c", "probe.c")
	switch probe {
	case Glibc, Own: // dynamic: a static glibc loads parts of its resolver at run time anyway
		cmd = exec.CommandContext(ctx, "gcc", "-O2", "-Wall", "-Wextra", "-o", binary, source)
	case Musl:
		cmd = exec.CommandContext(ctx, "musl-gcc", "-O2", "-Wall", "-Wextra", "-static", "-o", binary, source)
	case Go, Cgo:
		if probe == Cgo {
			cgo = "1"
		}
		cmd = exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, ".")
		cmd.Dir = filepath.Join(sources, "golang")
	default:
		cmd = exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, ".")
		cmd.Dir = filepath.Join(sources, "api")
	}
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOWORK=off")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the probe for %s: %w\n%s", probe, err, output)
	}
	return nil
}

var libraryLine = regexp.MustCompile(`(/\S+) \(0x`)

// addLibraries adds what a dynamic program needs, at the same paths.
func addLibraries(ctx context.Context, files map[string]string, binary string) error {
	output, err := exec.CommandContext(ctx, "ldd", binary).Output()
	if err != nil {
		return fmt.Errorf("listing the libraries of %s: %w", binary, err)
	}
	for _, match := range libraryLine.FindAllStringSubmatch(string(output), -1) {
		files[strings.TrimPrefix(match[1], "/")] = match[1]
	}
	return nil
}

// nsswitch is the line that distributions ship: /etc/hosts, then DNS. musl does not read it.
const nsswitch = "hosts: files dns\n"

// write writes a docker-archive with one layer.
func write(archive string, names []string, container map[string]any, files map[string]string) error {
	layer, err := layerOf(files)
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       container,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
		"history":      []map[string]any{{"created_by": "shorthop e2e"}},
	})
	if err != nil {
		return fmt.Errorf("encoding an image's configuration: %w", err)
	}
	configFile := digest(config) + ".json"
	manifest, err := json.Marshal([]map[string]any{{"Config": configFile, "RepoTags": names, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return fmt.Errorf("encoding an image's manifest: %w", err)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, file := range []struct {
		name    string
		content []byte
	}{{"layer.tar", layer}, {configFile, config}, {"manifest.json", manifest}} {
		if err := add(w, file.name, 0o644, file.content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	// Another run may read the archive of before at this moment.
	if err := os.WriteFile(archive+".new", out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	if err := os.Rename(archive+".new", archive); err != nil {
		return fmt.Errorf("writing an image: %w", err)
	}
	return nil
}

func layerOf(files map[string]string) ([]byte, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	made := map[string]bool{".": true}
	var folder func(name string) error
	folder = func(name string) error {
		if made[name] {
			return nil
		}
		if err := folder(path.Dir(name)); err != nil {
			return err
		}
		made[name] = true
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}); err != nil {
			return fmt.Errorf("writing a layer: %w", err)
		}
		return nil
	}
	for name, source := range files {
		content, err := os.ReadFile(source)
		if err != nil {
			return nil, fmt.Errorf("reading a file for an image: %w", err)
		}
		if err := folder(path.Dir(name)); err != nil {
			return nil, err
		}
		if err := add(w, name, 0o755, content); err != nil {
			return nil, err
		}
	}
	if err := folder("etc"); err != nil {
		return nil, err
	}
	if err := add(w, "etc/nsswitch.conf", 0o644, []byte(nsswitch)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("writing a layer: %w", err)
	}
	return layer.Bytes(), nil
}

func add(w *tar.Writer, name string, mode int64, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))}); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if _, err := w.Write(content); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
