package images

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/shorthop/shorthop/internal/images"
	"github.com/shorthop/shorthop/internal/rootfs"
)

// TestPlatformsAsTheyAreSpelled has musl on one platform of an index beside another
// that has no program.
func TestPlatformsAsTheyAreSpelled(t *testing.T) {
	t.Parallel()
	host := server(t, nil)
	musl := linux(t, file{path: "lib/ld-musl-x86_64.so.1", content: []byte("x")})
	none := linux(t, script)
	number := 0
	for _, c := range []struct{ platforms, read, left string }{
		{"", "linux/arm64 Linux/arm64 LINUX/ARM64 /arm64 /", "windows/amd64 Windows/amd64 unknown/unknown"},
		{"linux/amd64", "/ linux/ linux/x86_64 linux/X86-64 Linux/AMD64/V1", "linux/s390x /arm64"},
		{"linux/amd64/v3", "linux/amd64/v1", "linux/amd64/v2"},
		{"linux/x86_64", "linux/amd64", ""},
		{"linux/arm64 linux/s390x", "linux/aarch64", ""},
		{"linux/arm64/v8", "linux/arm64/8 linux/arm64", ""},
		{"linux/arm/v7", "linux/arm linux/arm/7 linux/armhf", "linux/armel"},
		{"linux/arm", "linux/arm/v6", "linux/arm64"},
		{"linux/386", "linux/i386", ""},
	} {
		platforms := strings.Fields(c.platforms)
		wanted := must(images.ParsePlatforms(append(platforms, amd64))) // of all of them, if none is asked for
		of := func(p v1.Platform) v1.Descriptor { return v1.Descriptor{Platform: &p} }
		for i, platform := range strings.Fields(c.read + " " + c.left) {
			t.Run(platform+" for "+c.platforms, func(t *testing.T) {
				number++
				reference := fmt.Sprintf("%s/platforms:%d", host, number)
				parts := append(strings.Split(platform, "/"), "")
				push(t, reference, mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
					mutate.IndexAddendum{Add: none, Descriptor: of(wanted[0])},
					mutate.IndexAddendum{Add: musl, Descriptor: of(v1.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]})}))
				got, want := read(t, reference, platforms...), i < len(strings.Fields(c.read))
				if found := got.Resolver == rootfs.Musl; found != want || got.Error != "" {
					t.Errorf("%+v, want musl: %t", got, want)
				}
			})
		}
	}
}

// TestASystemOfAConfiguration is about images whose index does not say what they are
// for: their configuration does.
func TestASystemOfAConfiguration(t *testing.T) {
	t.Parallel()
	host := server(t, nil)
	for system, musl := range map[string]bool{"linux": true, "Linux": true, "": true, "windows": false} {
		built := image(t, system+"/amd64", nil, layer{files: []file{{path: "lib/ld-musl-x86_64.so.1", content: []byte("x")}}})
		reference := fmt.Sprintf("%s/systems:a%s", host, system)
		push(t, reference, mutate.AppendManifests(index(t, linux(t, script)), mutate.IndexAddendum{Add: built}))
		if got := read(t, reference); got.Error != "" || (got.Resolver == rootfs.Musl) != musl {
			t.Errorf("%q: %+v, want musl: %t", system, got, musl)
		}
	}
}
