package images

import (
	"cmp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const linux = "linux"

// architectures are other spellings, with the variant that one of them means.
var architectures = map[string]v1.Platform{
	"i386":    {Architecture: "386"},
	"x86_64":  {Architecture: "amd64"},
	"x86-64":  {Architecture: "amd64"},
	"aarch64": {Architecture: "arm64"},
	"armhf":   {Architecture: "arm", Variant: "v7"},
	"armel":   {Architecture: "arm", Variant: "v6"},
}

// spelled is a platform as it is usually spelled. containerd takes the other
// spellings too, and no system at all for the node's.
func spelled(p v1.Platform) v1.Platform {
	p.OS = cmp.Or(strings.ToLower(p.OS), linux)
	p.Architecture, p.Variant = strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	if other, known := architectures[p.Architecture]; known {
		p.Architecture, p.Variant = other.Architecture, cmp.Or(other.Variant, p.Variant)
	}
	if p.Variant != "" && strings.Trim(p.Variant, "0123456789.") == "" {
		p.Variant = "v" + p.Variant
	}
	switch p.Architecture + "/" + p.Variant {
	case "amd64/v1", "arm64/v8": // what these are without a variant
		p.Variant = ""
	}
	return p
}

// wants reports whether a platform is to be read. One that does not say its
// architecture or variant may be any.
func (r *Reader) wants(platform v1.Platform) bool {
	maybe := func(want, have string) bool { return want == "" || have == "" || want == have }
	return len(r.options.Platforms) == 0 || slices.ContainsFunc(r.options.Platforms, func(want v1.Platform) bool {
		return want.OS == platform.OS && maybe(want.Architecture, platform.Architecture) && maybe(want.Variant, platform.Variant)
	})
}
