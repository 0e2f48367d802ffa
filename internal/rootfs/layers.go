package rootfs

import (
	"fmt"
	"hash/maphash"
	"path"
	"strings"
)

// maxPaths bounds the files of an image. Each takes about 20 bytes.
const maxPaths = 3_000_000

// maxPath is Linux's PATH_MAX: no container runtime makes a file with a longer
// name.
const maxPath = 4096

// hides is what a path of an upper layer does to lower ones.
type hides uint8

const (
	hidesItself  hides = 1 << iota // a file that a directory replaced
	hidesBelow                     // an opaque directory
	isLink                         // a symbolic link, which files below its name are not hidden with
	hidesAll     = hidesItself | hidesBelow
	whiteout     = ".wh."
	opaque       = ".wh..wh..opq"
	whiteoutMeta = ".wh..wh." // what AUFS kept for itself
)

// upper knows the paths of the layers that have been read, by hash: names are
// as long as whoever made the image wants. The seed is drawn, so that nobody
// can make two names of one hash.
type upper struct {
	seed  maphash.Seed
	paths map[uint64]hides
}

func newUpper() *upper { return &upper{maphash.MakeSeed(), map[uint64]hides{}} }

func (u *upper) hash(name string) uint64 { return maphash.String(u.seed, name) }

var errTooManyPaths = tooMuch(fmt.Sprintf("it has more than %d files", maxPaths))

// add adds the paths of the next lower layer.
func (u *upper) add(paths map[uint64]hides) error {
	if len(u.paths)+len(paths) > maxPaths {
		return errTooManyPaths
	}
	for hash, h := range paths {
		u.paths[hash] |= h
	}
	return nil
}

// hidden reports whether a file of a lower layer is not there any more.
func (u *upper) hidden(name string) bool {
	if len(u.paths) == 0 {
		return false
	}
	if u.paths[u.hash(name)]&hidesItself != 0 {
		return true
	}
	for name != "/" {
		name = path.Dir(name)
		if u.paths[u.hash(name)]&hidesBelow != 0 {
			return true
		}
	}
	return false
}

// hiddenFolders are the folders of a file that is hidden with one of them, by
// hash, up to the uppermost that is hidden. Where one of these is a symbolic
// link in the layers below, taking it away leaves the file where it really is.
func (u *upper) hiddenFolders(name string) (folders []uint64) {
	if u.paths[u.hash(name)]&hidesItself != 0 {
		return nil
	}
	var passed []uint64
	for name != "/" {
		name = path.Dir(name)
		hash := u.hash(name)
		passed = append(passed, hash)
		if u.paths[hash]&hidesBelow != 0 {
			folders = passed
		}
	}
	return folders
}

// removes returns what a name in a layer takes away from lower layers, "" for
// nothing. A name that begins as whiteouts do is never a file.
func removes(name string) (removed string, h hides, is bool) {
	dir, base := path.Split(name)
	switch {
	case !strings.HasPrefix(base, whiteout):
		return "", 0, false
	case base == opaque:
		return path.Clean(dir), hidesBelow, true
	case strings.HasPrefix(base, whiteoutMeta), base == whiteout:
		return "", 0, true
	}
	return path.Join(dir, strings.TrimPrefix(base, whiteout)), hidesAll, true
}

// clean is the path of a file in the image, however the archive writes it.
func clean(name string) string { return path.Clean("/" + name) }
