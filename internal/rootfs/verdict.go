package rootfs

import (
	"slices"

	"github.com/shorthop/shorthop/pkg/printable"
)

// Resolver is the kind of resolver in an image.
type Resolver string

// Resolvers. The names are API.
const (
	Unknown Resolver = ""
	Glibc   Resolver = "glibc"
	Go      Resolver = "go"
	Musl    Resolver = "musl"
)

// strictness orders resolvers by what they allow: what is safe with one is safe
// with those before it. musl is stricter than unknown, which other evidence may
// overrule.
var strictness = map[Resolver]int{Go: 1, Glibc: 2, Unknown: 3, Musl: 4}

// Beside is what else looks up names in an image.
type Beside string

// What may be beside a C library's resolver. The names are API.
const (
	// GoCgo is a Go program with cgo: it takes the C library's resolver where
	// RES_OPTIONS is set, and Go's where not.
	GoCgo Beside = "go-cgo"
	// NetDNS is Perl's Net::DNS or PHP's amphp/dns, which like musl ask for a name
	// with ndots dots as it is and for nothing else.
	NetDNS Beside = "net-dns"
)

// Verdict is what an image says about its resolver.
type Verdict struct {
	// Resolver is empty where it is not known.
	Resolver Resolver `json:"resolver"`
	Beside   []Beside `json:"beside,omitzero"`
	// Because is why, in words.
	Because string `json:"because"`
	// File is a file that says so, "" where none does.
	File string `json:"file,omitzero"`
	// Executables counts executables and libraries that were judged; those of
	// layers that did not matter any more are not among them.
	Executables int `json:"executables"`
}

// Stricter returns the stricter of two verdicts, with what is beside in either.
func Stricter(a, b Verdict) Verdict {
	if strictness[b.Resolver] > strictness[a.Resolver] {
		a, b = b, a
	}
	a.Beside = slices.Concat(a.Beside, b.Beside)
	slices.Sort(a.Beside)
	a.Beside = slices.Compact(a.Beside)
	a.Executables += b.Executables
	return a
}

// Final reports whether nothing that could be found besides would make it
// stricter.
func (v *Verdict) Final() bool { return v.Resolver == Musl }

// Valid is false for what no image comes to.
func (v *Verdict) Valid() bool { return strictness[v.Resolver] > 0 }

// example is a file with a trait.
type example struct{ file, why string }

// tally is what has been found in an image so far.
type tally struct {
	traits      trait
	examples    map[trait]example
	executables int
}

// maxFile is how much is kept of a file's name.
const maxFile = 512

func (t *tally) add(file string, f finding) {
	if f.traits&(traitGo|traitCgo|traitOther|traitGlibc) != 0 {
		t.executables++
	}
	if t.examples == nil {
		t.examples = map[trait]example{}
	}
	for _, one := range [...]trait{traitMusl, traitNetDNS, traitUnclear, traitCgo, traitGo, traitGlibc, traitOther} {
		if f.traits&one != 0 && t.traits&one == 0 {
			t.examples[one] = example{printable.Cut(file, maxFile), f.why}
		}
	}
	t.traits |= f.traits
}

// merge adds what another tally has.
func (t *tally) merge(other *tally) {
	for one, e := range other.examples {
		if t.traits&one == 0 {
			if t.examples == nil {
				t.examples = map[trait]example{}
			}
			t.examples[one] = e
		}
	}
	t.traits |= other.traits
	t.executables += other.executables
}

// verdict judges what has been found.
func (t *tally) verdict() Verdict {
	v := Verdict{Executables: t.executables}
	if t.traits&traitCgo != 0 {
		v.Beside = append(v.Beside, GoCgo)
	}
	if t.traits&traitNetDNS != 0 {
		v.Beside = append(v.Beside, NetDNS)
	}
	say := func(resolver Resolver, of trait) {
		v.Resolver, v.File, v.Because = resolver, t.examples[of].file, t.examples[of].why
	}
	switch {
	case t.traits&traitMusl != 0:
		say(Musl, traitMusl)
	case t.traits&traitUnclear != 0:
		say(Unknown, traitUnclear)
	case t.traits&traitGlibc != 0:
		say(Glibc, traitGlibc)
	case t.traits == traitGo:
		v.Resolver, v.Because = Go, "nothing but Go programs without cgo"
	case t.traits&traitCgo != 0:
		say(Unknown, traitCgo)
		v.Because += ", and no C library's loader"
	case t.traits&traitOther != 0:
		say(Unknown, traitOther)
		v.Because = "an executable that is not Go's, and no loader of glibc or musl"
	case t.traits&traitNetDNS != 0:
		say(Unknown, traitNetDNS)
	default:
		v.Because = "no executable"
	}
	return v
}
