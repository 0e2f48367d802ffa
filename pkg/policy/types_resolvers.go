package policy

// ImageResolver says which resolver the images of some containers contain.
type ImageResolver struct {
	// Images are patterns for a container's image as the pod names it. * stands
	// for any characters, / among them, and ? for one. "alpine*" does not match
	// "registry.example.com/library/alpine:3.22", "*/alpine:*" does. At least one.
	// A reference without * and ? is found at once, however many there are.
	Images []string `json:"images"`
	// Resolver that looks up names there. go: Go programs without cgo and
	// nothing else.
	Resolver Resolver `json:"resolver"`
	// Beside lists what else looks up names there: go-cgo, net-dns. Defaults to
	// nothing.
	Beside []ResolverBeside `json:"beside,omitzero"`
	// ResOptions is RES_OPTIONS in the image's ENV, at most 256 characters. Left
	// out: it is not there.
	ResOptions *string `json:"resOptions,omitzero"`
	// LocalDomain is LOCALDOMAIN in the image's ENV, at most 256 characters. Left
	// out: it is not there.
	LocalDomain *string `json:"localDomain,omitzero"`
}

// ResolverBeside names what looks up names in an image beside its C library.
type ResolverBeside string

const (
	// BesideGoCgo is a Go program built with cgo: under RES_OPTIONS it leaves
	// Go's resolver for the C library's.
	BesideGoCgo ResolverBeside = "go-cgo"
	// BesideNetDNS is Perl's Net::DNS or PHP's amphp/dns, which never try the
	// search list for a name with ndots dots, and read RES_OPTIONS.
	BesideNetDNS ResolverBeside = "net-dns"
)

// Resolver names an implementation of name lookups that pkg/resolver models.
type Resolver string

const (
	// ResolverGlibc is in Debian, Ubuntu, Red Hat and distroless/base images.
	ResolverGlibc Resolver = "glibc"
	// ResolverMusl is in Alpine 3.18 and later.
	ResolverMusl Resolver = "musl"
	// ResolverMuslBefore124 is in Alpine 3.15 to 3.17.
	ResolverMuslBefore124 Resolver = "musl-1.2.3"
	// ResolverGo is in static Go binaries.
	ResolverGo Resolver = "go"
	// ResolverCAres is in Envoy and some builds of curl.
	ResolverCAres Resolver = "c-ares"
)
