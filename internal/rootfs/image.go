package rootfs

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

// Bounds of what is read of an image, whoever made it.
const (
	// maxUnpacked bounds the unpacked bytes of an image.
	maxUnpacked = 64 << 30
	// maxRatio is how many times its size a layer may have unpacked, once that is
	// more than maxSmall. Files of zeros get there, programs do not.
	maxRatio = 100
	maxSmall = 1 << 30
	// maxFindings bounds the executables of a layer, and its hard links to files
	// of others.
	maxFindings = 200_000
)

// Image is the file system of an image while its layers go by, from the
// uppermost to the lowest.
type Image struct {
	upper *upper
	// links are other names, of upper layers, for files of lower ones.
	links map[string]string
	// behindLinks are the findings whose files were taken away with a folder, by
	// the hash of the folder: if that is a symbolic link, they are still there.
	behindLinks map[uint64][]named
	behind      int // of them, bounded as findings are
	tally       tally
	unpacked    int64 // bytes of archives
	judged      int64 // bytes of executables: sparse ones are more than their archive
	buffer      []byte
}

// named is a finding in a file.
type named struct {
	name string
	finding
}

// NewImage returns an image of which nothing has been read.
func NewImage() *Image {
	return &Image{upper: newUpper(), links: map[string]string{}, behindLinks: map[uint64][]named{}, buffer: make([]byte, chunk)}
}

// Verdict judges what has been read. Once it is final, further layers change
// nothing.
func (i *Image) Verdict() Verdict { return i.tally.verdict() }

// ReadLayer reads the next lower layer, plain or compressed by gzip or zstd, of
// so many bytes. It ends early once the verdict is final. An error says what is
// wrong with the layer.
func (i *Image) ReadLayer(r io.Reader, size int64) error {
	packed := &source{Reader: r, limit: size}
	unpacked, end, err := unpack(packed)
	if err == nil {
		defer end()
		err = i.readUnpacked(&meter{Reader: unpacked, image: i, size: size})
	}
	if v := i.Verdict(); err == nil && !v.Final() {
		// At its end its digest is compared.
		_, err = io.Copy(io.Discard, packed)
	}
	return packed.explain(err)
}

// readUnpacked reads a layer to its end.
func (i *Image) readUnpacked(r io.Reader) error {
	l := layer{image: i, found: map[string]finding{}, own: map[uint64]hides{}}
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
	// found counts at the end: a hard link gives a file that an upper layer takes
	// away another name.
	found map[string]finding
	names []string // of what is found, in order
	// own are the paths that hide those of lower layers, by hash.
	own   map[uint64]hides
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
	if removed, h, is := removes(name); is {
		return l.hide(removed, h)
	}
	if header.Typeflag == tar.TypeDir {
		return l.hide(name, hidesItself)
	}
	h := hidesAll
	if header.Typeflag == tar.TypeSymlink {
		h |= isLink
	}
	if err := l.hide(name, h); err != nil {
		return err
	}
	f, err := l.judge(header, name, content)
	if err != nil || f.traits == 0 {
		return err
	}
	if _, again := l.found[name]; !again {
		l.names = append(l.names, name)
	}
	if len(l.names) > maxFindings {
		return tooMuch(fmt.Sprintf("it has more than %d executables", maxFindings))
	}
	l.found[name] = f
	if f.traits&traitMusl != 0 {
		l.final = l.image.count(name, f)
	}
	return nil
}

func (l *layer) judge(header *tar.Header, name string, content io.Reader) (finding, error) {
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		limited := &judging{content, l.image}
		return judgeFile(name, header.Size, limited, l.image.buffer)
	case tar.TypeLink:
		f, target := judgeName(name), clean(header.Linkname)
		linked := l.found[target]
		if _, here := l.own[l.image.upper.hash(target)]; !here && !l.image.upper.hidden(name) {
			if len(l.image.links) >= maxFindings {
				return f, tooMuch(fmt.Sprintf("it has more than %d hard links to files of other layers", maxFindings))
			}
			l.image.links[target] = name
		}
		f.add(linked.traits, linked.why)
		return f, nil
	}
	return judgeName(name), nil
}

func (l *layer) hide(name string, h hides) error {
	if name == "" {
		return nil
	}
	if len(l.own) >= maxPaths {
		return errTooManyPaths
	}
	l.own[l.image.upper.hash(name)] |= h
	return nil
}

// join makes the layer one of those above the next.
func (l *layer) join() error {
	for _, name := range l.names {
		if f := l.found[name]; !l.image.count(name, f) {
			if err := l.image.keepBehind(name, f); err != nil {
				return err
			}
		}
	}
	l.image.countBehind(l.own)
	return l.image.upper.add(l.own)
}

// count counts a finding if the file, or a hard link to it, is still there, and
// reports whether it is.
func (i *Image) count(name string, f finding) bool {
	if link, linked := i.links[name]; linked {
		name = link
	} else if i.upper.hidden(name) {
		return false
	}
	i.tally.add(name, f)
	return true
}

// keepBehind keeps a finding that is hidden with a folder, until a lower layer
// or its own says that the folder was a symbolic link.
func (i *Image) keepBehind(name string, f finding) error {
	for _, folder := range i.upper.hiddenFolders(name) {
		if i.behind++; i.behind > maxFindings {
			return tooMuch(fmt.Sprintf("it has more than %d executables that may be behind a link", maxFindings))
		}
		i.behindLinks[folder] = append(i.behindLinks[folder], named{name, f})
	}
	return nil
}

// countBehind counts what was put behind the symbolic links of a layer.
func (i *Image) countBehind(paths map[uint64]hides) {
	for folder, list := range i.behindLinks {
		if paths[folder]&isLink == 0 {
			continue
		}
		for _, kept := range list {
			i.tally.add(kept.name, kept.finding)
		}
		delete(i.behindLinks, folder)
	}
}
