package rootfs

import (
	"fmt"
	"hash/maphash"
	"path"
	"strings"
)

// maxPaths bounds the files and folders of an image. Each takes about 20 bytes.
const maxPaths = 3_000_000

// maxPath is Linux's PATH_MAX: no container runtime makes a file with a longer
// name.
const maxPath = 4096

// mark is what a layer says of a path. A layer may say several things of one.
type mark uint8

const (
	isNamed    mark = 1 << iota // by an entry, and not only as the folder of others
	isFolder                    // a folder: an entry says so, or others are in it
	isEmptied                   // an opaque folder
	isFile                      // anything but a folder
	isGone                      // a whiteout
	isReplaced                  // what is no folder in lower layers is not there any more
	isLink                      // a symbolic link
	holdsLink                   // a folder with a symbolic link in it, however deep

	// hidesBelow is said of a folder of lower layers none of whose files is there any
	// more.
	hidesBelow = isEmptied | isFile | isGone
	// neverHides is what is known of a layer that is taken to hide nothing.
	neverHides = isNamed | isLink | holdsLink
)

const (
	whiteout     = ".wh."
	opaque       = ".wh..wh..opq"
	whiteoutMeta = ".wh..wh." // what AUFS kept for itself
)

// paths are what is said of paths, by hash: names are as long as whoever made the
// image wants.
type paths map[uint64]mark

// upper knows the paths of the layers that have been read. The seed of the hash is
// drawn, so that nobody can make two names of one hash.
type upper struct {
	seed    maphash.Seed
	paths   paths
	folders []uint64 // for places
}

func newUpper() *upper { return &upper{seed: maphash.MakeSeed(), paths: paths{}} }

// places returns the hashes of a path and of its folders but for the root, the
// uppermost first. The folders are valid until the next call.
func (u *upper) places(name string) (folders []uint64, itself uint64) {
	var hash maphash.Hash
	hash.SetSeed(u.seed)
	folders = u.folders[:0]
	for rest := name[1:]; ; {
		base, below, inside := strings.Cut(rest, "/")
		_ = hash.WriteByte('/')
		_, _ = hash.WriteString(base)
		if !inside {
			u.folders = folders
			return folders, hash.Sum64()
		}
		folders, rest = append(folders, hash.Sum64()), below
	}
}

// base is the hash of the last part of a path.
func (u *upper) base(name string) uint64 { return maphash.String(u.seed, path.Base(name)) }

var errTooManyPaths = tooMuch(fmt.Sprintf("it has more than %d files", maxPaths))

// add adds the paths of the next lower layer.
func (u *upper) add(layer paths, hides bool) error {
	if len(u.paths)+len(layer) > maxPaths {
		return errTooManyPaths
	}
	for place, m := range layer {
		if !hides {
			m &= neverHides
		}
		u.paths[place] |= m
	}
	return nil
}

// hides reports whether a file of a lower layer is not there any more; and whether,
// if one of its folders is a symbolic link, it may still be where that has led.
func (u *upper) hides(name string) (hidden, unlessLinked bool) {
	if len(u.paths) == 0 {
		return false, false
	}
	folders, itself := u.places(name)
	hidden = u.paths[itself]&isReplaced != 0
	for _, folder := range folders {
		m := u.paths[folder]
		hidden = hidden || m&hidesBelow != 0
		unlessLinked = unlessLinked || m&isNamed != 0
	}
	return hidden, hidden && unlessLinked
}

// anyIs reports whether one of some places has a mark.
func (p paths) anyIs(places []uint64, m mark) bool {
	for _, place := range places {
		if p[place]&m != 0 {
			return true
		}
	}
	return false
}

// contradict reports whether something is said to be a folder and not to be one:
// which of them it is depends on who unpacks the layer. What is in a folder that is a
// symbolic link of the same layer is somewhere else.
func (p paths) contradict() bool {
	for _, m := range p {
		if m&isFolder != 0 && m&(isFile|isGone) != 0 {
			return true
		}
	}
	return false
}

// linksInLinks reports whether the layer of some paths, or one above, has symbolic
// links that it names through one of the layer: these have names that nobody knows.
func (u *upper) linksInLinks(layer paths) bool {
	for place, m := range layer {
		if m&isLink != 0 && (m|u.paths[place])&holdsLink != 0 {
			return true
		}
	}
	return false
}

// removes returns what a name in a layer takes away from lower layers, and "/" for
// nothing: the root, runtimes leave as it is. A name that begins as whiteouts do is
// never a file.
func removes(name string) (removed string, m mark, is bool) {
	dir, base := path.Split(name)
	removed, is = strings.CutPrefix(base, whiteout)
	switch {
	case !is:
		return "", 0, false
	case base == opaque:
		return path.Clean(dir), isNamed | isFolder | isEmptied, true
	case strings.HasPrefix(base, whiteoutMeta), removed == "", removed == ".", removed == "..":
		return "/", 0, true
	}
	return path.Join(dir, removed), isNamed | isGone | isReplaced, true
}

// clean is the path of a file in the image, however the archive writes it.
func clean(name string) string { return path.Clean("/" + name) }
