package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of what is read of an image, whoever made it.
const (
	// maxUnpacked bounds the unpacked bytes of an image.
	maxUnpacked = 64 << 30
	// maxRatio is how many times its packed size a layer may have when unpacked.
	// Files of zeros exceed that, programs do not. It applies to layers that unpack to
	// more than maxSmall bytes.
	maxRatio = 100
	maxSmall = 1 << 30
	// maxFindings bounds the executables of a layer, and its hard links to files
	// of others.
	maxFindings = 200_000
)

// Image is the file system of an image while its layers go by, from the
// uppermost to the lowest. Which files count is in the package's comment.
type Image struct {
	upper *upper
	// kept are the last parts of the names by which hard links call files that their
	// layer does not have under that very name, by hash.
	kept map[uint64]struct{}
	// unlessLinked is what was found in files that are hidden unless one of their folders is
	// a symbolic link in a lower layer, by the hash of the folder; hidden is all of it.
	unlessLinked map[uint64]*tally
	hidden       tally
	// linksInLinks is whether a layer has named a symbolic link through another.
	linksInLinks bool
	tally        tally
	unpacked     int64 // bytes of archives
	judged       int64 // bytes of executables; with sparse files, more than their archives have
	buffer       []byte
}

// NewImage returns an image of which nothing has been read.
func NewImage() *Image {
	return &Image{upper: newUpper(), kept: map[uint64]struct{}{}, unlessLinked: map[uint64]*tally{}, buffer: make([]byte, chunk)}
}

// Verdict judges what has been read. Once it is final, further layers change
// nothing.
func (i *Image) Verdict() Verdict { return i.tally.verdict() }

// ReadLayer reads the next lower layer, plain or compressed by gzip or zstd. size is
// its size in bytes as it is stored. ReadLayer ends early once the verdict is final.
// An error says what is wrong with the layer.
func (i *Image) ReadLayer(r io.Reader, size int64) error {
	packed := &source{Reader: r, limit: size}
	unpacked, end, err := unpack(packed)
	if err == nil {
		defer end()
		err = i.readUnpacked(&meter{Reader: unpacked, image: i, size: size})
	}
	if v := i.Verdict(); err == nil && !v.Final() {
		// To the end, where the reader compares the layer's digest.
		_, err = io.Copy(io.Discard, packed)
	}
	return packed.explain(err)
}

// readUnpacked reads an unpacked layer to its end, or until the verdict is final.
func (i *Image) readUnpacked(r io.Reader) error {
	l := layer{image: i, found: map[string]finding{}, own: paths{}}
	if err := l.read(tar.NewReader(r)); err != nil {
		return err
	}
	if l.final {
		return nil
	}
	if err := l.join(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r) // what is behind the archive belongs to the layer
	return err
}

// layer is a layer that is being read.
type layer struct {
	image *Image
	// found are the findings of the layer, by the name of their file. They are counted
	// at its end (join), as a hard link that comes later may give another name to a
	// file that an upper layer hides.
	found map[string]finding
	names []string // of found, in the order of the layer
	own   paths
	final bool
}

func (l *layer) read(archive *tar.Reader) error {
	for !l.final {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = l.readEntry(header, archive)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *layer) readEntry(header *tar.Header, content io.Reader) error {
	if len(header.Name) > maxPath {
		return tooMuch(fmt.Sprintf("it has a file whose name has more than %d bytes", maxPath))
	}
	name := clean(header.Name)
	m := isNamed | isFile | isReplaced
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse, tar.TypeLink, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	case tar.TypeSymlink:
		m |= isLink
	case tar.TypeDir:
		m = isNamed | isFolder | isReplaced
	case tar.TypeXGlobalHeader:
		return nil // its name is no file's
	default:
		f := judgeName(name)
		f.traits |= traitUnclear
		f.why = fmt.Sprintf("an entry of type %q in a layer, for which containerd refuses to unpack the image", header.Typeflag)
		l.image.tally.add(name, f)
		return nil
	}
	if removed, m, is := removes(name); is {
		if header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeLink { // as AUFS had them
			m &= isNamed
		}
		return l.mark(removed, m)
	}
	// A hard link is judged by what was there before it.
	f, err := l.judge(header, name, content)
	if err == nil {
		err = l.mark(name, m)
	}
	if err != nil || f.traits == 0 || header.Typeflag == tar.TypeDir {
		return err
	}
	before, again := l.found[name]
	if !again {
		l.names = append(l.names, name)
	}
	if len(l.names) > maxFindings {
		return tooMuch(fmt.Sprintf("it has more than %d executables", maxFindings))
	}
	f.add(before.traits, before.why)
	l.found[name] = f
	if hidden, _ := l.image.hides(name); !hidden && f.traits&traitMusl != 0 {
		l.image.tally.add(name, f)
		l.final = true
	}
	return nil
}

// judge judges an entry: a file by its content and its name, a hard link by its name
// and what was found in its target, anything else by its name.
func (l *layer) judge(header *tar.Header, name string, content io.Reader) (finding, error) {
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		limited := &judging{content, l.image}
		return judgeFile(name, header.Size, limited, l.image.buffer)
	case tar.TypeLink:
		f, target := judgeName(name), clean(header.Linkname)
		linked := l.found[target]
		f.add(linked.traits, linked.why)
		if l.hasPlain(target) && !strings.Contains(header.Linkname, "..") {
			return f, nil
		}
		l.image.kept[l.image.upper.base(target)] = struct{}{}
		if len(l.image.kept) > maxFindings {
			return f, tooMuch(fmt.Sprintf("it has more than %d hard links to files of other layers", maxFindings))
		}
		return f, nil
	}
	return judgeName(name), nil
}

// hasPlain reports whether the layer has had a file, and not through a link.
func (l *layer) hasPlain(name string) bool {
	folders, itself := l.image.upper.places(name)
	return l.own[itself]&isFile != 0 && !l.own.anyIs(folders, isLink)
}

// mark notes what the layer says of a path, and of the folders it is in.
func (l *layer) mark(name string, m mark) error {
	if name == "/" {
		return nil
	}
	if len(l.own) >= maxPaths {
		return errTooManyPaths
	}
	folders, itself := l.image.upper.places(name)
	l.own[itself] |= m
	inside := isFolder
	if m&isLink != 0 {
		inside |= holdsLink
	}
	for _, folder := range folders {
		l.own[folder] |= inside
	}
	return nil
}

// join counts the findings of a layer that has been read, and adds its paths to those
// that hide files of the layers below.
func (l *layer) join() error {
	i := l.image
	i.linksInLinks = i.linksInLinks || i.upper.linksInLinks(l.own)
	for _, name := range l.names {
		f := l.found[name]
		folders, _ := i.upper.places(name)
		linked := l.own.anyIs(folders, isLink)
		if hidden, unlessLinked := i.hides(name); !hidden || linked {
			i.tally.add(name, f)
		} else if unlessLinked {
			if err := i.keepHidden(name, f); err != nil {
				return err
			}
		}
	}
	i.countHidden(l.own)
	return i.upper.add(l.own, !l.own.contradict())
}

// hides reports whether a file of the layer that is being read is hidden, as far as is
// known of upper layers and of hard links; and whether a lower one may tell otherwise.
func (i *Image) hides(name string) (hidden, unlessLinked bool) {
	if hidden, unlessLinked = i.upper.hides(name); !hidden || i.linksInLinks {
		return false, false
	}
	if _, kept := i.kept[i.upper.base(name)]; kept {
		return false, false
	}
	return hidden, unlessLinked
}

// keepHidden keeps what was found in a file that is hidden, until a lower layer says
// that one of its folders is a symbolic link.
func (i *Image) keepHidden(name string, f finding) error {
	i.hidden.add(name, f)
	folders, _ := i.upper.places(name)
	for _, folder := range folders {
		if i.unlessLinked[folder] == nil {
			i.unlessLinked[folder] = &tally{}
		}
		i.unlessLinked[folder].add(name, f)
	}
	if len(i.unlessLinked) > maxFindings {
		return tooMuch(fmt.Sprintf("upper layers hide executables in more than %d folders of it", maxFindings))
	}
	return nil
}

// countHidden counts what keepHidden has kept for those folders that are symbolic
// links among the paths of a layer.
func (i *Image) countHidden(layer paths) {
	if i.linksInLinks {
		i.tally.merge(&i.hidden)
		i.hidden = tally{}
		clear(i.unlessLinked)
	}
	for folder, found := range i.unlessLinked {
		if layer[folder]&isLink != 0 {
			i.tally.merge(found)
			delete(i.unlessLinked, folder)
		}
	}
}
