package images

import (
	"fmt"
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
	for i, c := range []struct {
		system, architecture, variant string
		platforms                     []string
		left                          bool
	}{
		{system: "linux", architecture: "arm64"},
		{system: "Linux", architecture: "arm64"},
		{system: "LINUX", architecture: "ARM64"},
		{system: "", architecture: "arm64"},
		{system: "", architecture: ""},
		{system: "windows", architecture: "amd64", left: true},
		{system: "Windows", architecture: "amd64", left: true},
		{system: "unknown", architecture: "unknown", left: true},
		{system: "linux", architecture: "s390x", platforms: []string{"linux/amd64"}, left: true},
		{system: "", architecture: "arm64", platforms: []string{"linux/amd64"}, left: true},
		{system: "", architecture: "", platforms: []string{"linux/amd64"}},
		{system: "linux", architecture: "", platforms: []string{"linux/amd64"}},
		{system: "linux", architecture: "x86_64", platforms: []string{"linux/amd64"}},
		{system: "linux", architecture: "X86-64", platforms: []string{"linux/amd64"}},
		{system: "Linux", architecture: "AMD64", variant: "V1", platforms: []string{"linux/amd64"}},
		{system: "linux", architecture: "amd64", variant: "v1", platforms: []string{"linux/amd64/v3"}},
		{system: "linux", architecture: "amd64", variant: "v2", platforms: []string{"linux/amd64/v3"}, left: true},
		{system: "linux", architecture: "amd64", platforms: []string{"linux/x86_64"}},
		{system: "linux", architecture: "aarch64", platforms: []string{"linux/arm64", "linux/s390x"}},
		{system: "linux", architecture: "arm64", variant: "8", platforms: []string{"linux/arm64/v8"}},
		{system: "linux", architecture: "arm64", platforms: []string{"linux/arm64/v8"}},
		{system: "linux", architecture: "arm", platforms: []string{"linux/arm/v7"}},
		{system: "linux", architecture: "arm", variant: "7", platforms: []string{"linux/arm/v7"}},
		{system: "linux", architecture: "arm", variant: "v6", platforms: []string{"linux/arm"}},
		{system: "linux", architecture: "armhf", platforms: []string{"linux/arm/v7"}},
		{system: "linux", architecture: "armel", platforms: []string{"linux/arm/v7"}, left: true},
		{system: "linux", architecture: "i386", platforms: []string{"linux/386"}},
		{system: "linux", architecture: "arm64", platforms: []string{"linux/arm"}, left: true},
	} {
		t.Run(fmt.Sprintf("%s-%s-%s for %s", c.system, c.architecture, c.variant, c.platforms), func(t *testing.T) {
			t.Parallel()
			reference := fmt.Sprintf("%s/platforms:%d", host, i)
			of := func(p v1.Platform) v1.Descriptor { return v1.Descriptor{Platform: &p} }
			wanted := []v1.Platform{{OS: "linux", Architecture: "amd64"}}
			if platforms, err := images.ParsePlatforms(c.platforms); err != nil {
				t.Fatal(err)
			} else if len(platforms) > 0 {
				wanted = platforms
			}
			push(t, reference, mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
				mutate.IndexAddendum{Add: none, Descriptor: of(wanted[0])},
				mutate.IndexAddendum{Add: musl, Descriptor: of(v1.Platform{OS: c.system, Architecture: c.architecture, Variant: c.variant})}))
			got := read(t, reference, c.platforms...)
			if found := got.Resolver == rootfs.Musl; found == c.left || got.Error != "" {
				t.Errorf("%+v, want musl: %t", got, !c.left)
			}
		})
	}
}

// TestASystemOfAConfiguration is about images whose index does not say what they are
// for: their configuration does.
func TestASystemOfAConfiguration(t *testing.T) {
	t.Parallel()
	host := server(t, nil)
	for system, musl := range map[string]bool{"linux": true, "Linux": true, "": true, "windows": false} {
		built := linux(t, file{path: "lib/ld-musl-x86_64.so.1", content: []byte("x")})
		config, err := built.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		config = config.DeepCopy()
		config.OS = system
		if built, err = mutate.ConfigFile(built, config); err != nil {
			t.Fatal(err)
		}
		reference := fmt.Sprintf("%s/systems:a%s", host, system)
		push(t, reference, mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
			mutate.IndexAddendum{Add: linux(t, script), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
			mutate.IndexAddendum{Add: built}))
		if got := read(t, reference); got.Error != "" || (got.Resolver == rootfs.Musl) != musl {
			t.Errorf("%q: %+v, want musl: %t", system, got, musl)
		}
	}
}
