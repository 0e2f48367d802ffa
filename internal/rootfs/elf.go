package rootfs

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"path"
	"strings"
)

// Bounds of what is kept of an executable. What has more than fits is judged
// as if it were not known.
const (
	maxSegments  = 256
	maxInterp    = 4 << 10
	maxDynamic   = 64 << 10
	maxNote      = 4 << 10
	maxSections  = 4 << 20 // 65,535 section headers
	maxBuildInfo = 256 << 10
	// maxBuildInfos is how many places that look like Go's build information are
	// looked at: programs that search for it have its mark as well.
	maxBuildInfos = 8
)

// chunk is how much of a file is looked at at once.
const chunk = 256 << 10

// overlap is how much of a chunk is looked at again with the next, so that no
// text is missed between them. Build information begins on a multiple of 16.
const overlap = 64

// text is what is looked for anywhere in an executable.
type text int

const (
	textResolvConf text = iota
	textResOptions
	textLoaderCache // of glibc's loader
	textBuildInfo   // of Go
	textGoRuntime   // a function that every program of Go has, stripped ones too
	textGetaddrinfo // called from Go
	textGccgo       // GCC's Go, whose programs have libc beside Go's resolver
	textUPX
	textMuslLoader
	// What other linkers than Go's leave in every program: names of sections of C's
	// start code or for unwinding.
	textFrames
	textInit
	textFini
	textARM
	texts
)

var searched = [texts][]byte{
	textResolvConf:  []byte("resolv.conf"), // "/etc/" may be put before it at run time
	textResOptions:  []byte("RES_OPTIONS"),
	textLoaderCache: []byte("glibc-ld.so.cache"),
	textBuildInfo:   []byte(buildInfoMagic),
	textGoRuntime:   []byte("runtime.goexit"),
	textGetaddrinfo: []byte("_C2func_getaddrinfo"),
	textGccgo:       []byte("gccgo"),
	textUPX:         []byte("UPX!"),
	textMuslLoader:  []byte("/ld-musl-"),
	textFrames:      []byte(".eh_frame"),
	textInit:        []byte(".init_array"),
	textFini:        []byte(".fini\x00"),
	textARM:         []byte(".ARM.ex"),
}

// part is a piece of a file that is kept while the file goes by.
type part struct {
	at, size int64
	data     []byte
}

// take keeps what a chunk has of the part.
func (p *part) take(at int64, data []byte) {
	next := p.at + int64(len(p.data))
	if len(p.data) >= int(p.size) || next < at || next >= at+int64(len(data)) {
		return
	}
	rest := data[next-at:]
	p.data = append(p.data, rest[:min(int64(len(rest)), p.size-int64(len(p.data)))]...)
}

func (p *part) whole() bool { return p != nil && int64(len(p.data)) == p.size }

// executable is an ELF file that has gone by.
type executable struct {
	order    binary.ByteOrder
	wide     bool // 64 bits
	typ      elf.Type
	appImage bool
	size     int64 // of the file
	read     int64
	found    [texts]bool

	segmentTable, sectionTable         *part
	interp, dynamic                    *part
	notes                              []*part
	buildInfos                         []*part
	hasInterp, hasDynamic, tableBehind bool
	writable                           []part // loaded segments that are written to
	end                                int64  // of what the headers tell of
	parts                              []*part
}

// isELF reports whether a file that begins so is an ELF file.
func isELF(head []byte) bool { return bytes.HasPrefix(head, []byte(elf.ELFMAG)) }

// readExecutable reads an ELF file to its end. A file that breaks off is an
// error of the stream, never of the format: what the headers say wrongly is
// left out.
func readExecutable(r io.Reader, size int64, buffer []byte) (*executable, error) {
	e := &executable{size: size}
	kept, at := 0, int64(0) // what of the buffer is of the chunk before, and where it begins in the file
	for first := true; ; first = false {
		n, err := io.ReadFull(r, buffer[kept:])
		data := buffer[:kept+n]
		if first {
			e.readHeader(data)
		}
		e.look(at, data)
		e.read += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			if err == io.ErrUnexpectedEOF && e.read < size { // of the archive
				return nil, io.ErrUnexpectedEOF
			}
			e.readTables()
			return e, nil
		}
		if err != nil {
			return nil, err
		}
		kept = copy(buffer, data[len(data)-overlap:])
		at += int64(len(data) - overlap)
	}
}

// look searches a chunk at an offset of the file.
func (e *executable) look(at int64, data []byte) {
	for t, s := range searched {
		if !e.found[t] && text(t) != textBuildInfo {
			e.found[t] = bytes.Contains(data, s)
		}
	}
	for from := 0; len(e.buildInfos) < maxBuildInfos; {
		i := bytes.Index(data[from:], searched[textBuildInfo])
		if i < 0 {
			break
		}
		i += from
		from = i + 1
		known := len(e.buildInfos) > 0 && e.buildInfos[len(e.buildInfos)-1].at >= at+int64(i)
		if !known && (at+int64(i))%buildInfoAlign == 0 {
			if p := e.keptPart(at+int64(i), maxBuildInfo, maxBuildInfo); p != nil {
				e.buildInfos = append(e.buildInfos, p)
			}
		}
	}
	for _, p := range e.parts {
		p.take(at, data)
	}
}

// keptPart has a part kept, or what the file has of it, if it has at most so
// many bytes; nil for any other.
func (e *executable) keptPart(at, size, most int64) *part {
	if at < 0 || size <= 0 || size > most || at > e.size {
		return nil
	}
	p := &part{at: at, size: min(size, e.size-at)}
	e.parts = append(e.parts, p)
	return p
}

// word reads an address or an offset, which has the width of the file.
func (e *executable) word(data []byte, at32, at64 int) int64 {
	if e.wide {
		return int64(min(e.order.Uint64(data[at64:]), 1<<62)) //nolint:gosec // bounded
	}
	return int64(e.order.Uint32(data[at32:]))
}

// readHeader reads the file header and, if they are in the first chunk, the
// program headers.
func (e *executable) readHeader(data []byte) {
	const header32, header64 = 52, 64
	if len(data) < header32 {
		return
	}
	e.order = byteOrder(data)
	e.wide = elf.Class(data[elf.EI_CLASS]) == elf.ELFCLASS64
	if e.wide && len(data) < header64 {
		return
	}
	e.appImage = data[8] == 'A' && data[9] == 'I'
	e.typ = elf.Type(e.order.Uint16(data[16:]))
	sizes := data[40:] // from e_ehsize on
	if e.wide {
		sizes = data[52:]
	}
	segmentsAt, sectionsAt := e.word(data, 28, 32), e.word(data, 32, 40)
	segmentSize, segments := int64(e.order.Uint16(sizes[2:])), int64(e.order.Uint16(sizes[4:]))
	sectionSize, sections := int64(e.order.Uint16(sizes[6:])), int64(e.order.Uint16(sizes[8:]))
	if segmentSize == e.segmentSize() {
		e.segmentTable = e.keptPart(segmentsAt, segments*segmentSize, maxSegments*segmentSize)
	}
	if sectionsAt > 0 && sectionSize == e.sectionSize() {
		e.sectionTable = e.keptPart(sectionsAt, sections*sectionSize, maxSections)
	}
	if e.segmentTable != nil {
		e.segmentTable.take(0, data)
		e.tableBehind = !e.segmentTable.whole()
		if !e.tableBehind {
			e.readSegments()
		}
	}
}

// byteOrder goes by the type of a program, which the kernel looks at, as it does not at
// what the file says of its order; by that for what is no program.
func byteOrder(header []byte) binary.ByteOrder {
	isProgram := func(low, high byte) bool { return high == 0 && (low == byte(elf.ET_EXEC) || low == byte(elf.ET_DYN)) }
	switch low, high := header[16], header[17]; {
	case isProgram(low, high):
		return binary.LittleEndian
	case isProgram(high, low), elf.Data(header[elf.EI_DATA]) == elf.ELFDATA2MSB:
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func (e *executable) segmentSize() int64 {
	if e.wide {
		return 56
	}
	return 32
}

func (e *executable) sectionSize() int64 {
	if e.wide {
		return 64
	}
	return 40
}

// readSegments reads the program headers, and has kept what they point at.
func (e *executable) readSegments() {
	for data := e.segmentTable.data; int64(len(data)) >= e.segmentSize(); data = data[e.segmentSize():] {
		at, size := e.word(data, 4, 8), e.word(data, 16, 32)
		flags := elf.ProgFlag(e.order.Uint32(data[4:]))
		if !e.wide {
			flags = elf.ProgFlag(e.order.Uint32(data[24:]))
		}
		switch elf.ProgType(e.order.Uint32(data)) {
		case elf.PT_INTERP:
			e.hasInterp = true
			e.interp = e.keptPart(at, size, maxInterp)
		case elf.PT_DYNAMIC:
			e.hasDynamic = true
			e.dynamic = e.keptPart(at, size, maxDynamic)
		case elf.PT_NOTE:
			if note := e.keptPart(at, min(size, maxNote), maxNote); note != nil {
				e.notes = append(e.notes, note)
			}
		case elf.PT_LOAD:
			if flags&(elf.PF_W|elf.PF_X) == elf.PF_W {
				e.writable = append(e.writable, part{at: at, size: size})
			}
		default: // nothing that is asked for
		}
		if at+size > e.end {
			e.end = at + size
		}
	}
}

// readTables reads what came behind what it tells of.
func (e *executable) readTables() {
	if e.order == nil {
		return
	}
	if e.tableBehind && e.segmentTable.whole() {
		e.readSegments()
	}
	for _, table := range []*part{e.segmentTable, e.sectionTable} {
		if table != nil && table.at+table.size > e.end {
			e.end = table.at + table.size
		}
	}
	e.eachSection(func(kind elf.SectionType, at, size int64) {
		if kind != elf.SHT_NOBITS && at+size > e.end {
			e.end = at + size
		}
	})
}

func (e *executable) eachSection(each func(kind elf.SectionType, at, size int64)) {
	if !e.sectionTable.whole() {
		return
	}
	for data := e.sectionTable.data; int64(len(data)) >= e.sectionSize(); data = data[e.sectionSize():] {
		each(elf.SectionType(e.order.Uint32(data[4:])), e.word(data, 16, 24), e.word(data, 20, 32))
	}
}

// isProgram is false for what is linked into programs, and for what is left of
// one that ended.
func (e *executable) isProgram() bool { return e.typ == elf.ET_EXEC || e.typ == elf.ET_DYN }

// loader is the base name of the loader that the file asks for, "" for none.
// known is false where it asks for one that cannot be read.
func (e *executable) loader() (name string, known bool) {
	if !e.hasInterp {
		return "", true
	}
	if e.interp.whole() {
		if text, _, _ := strings.Cut(string(e.interp.data), "\x00"); strings.HasPrefix(text, "/") {
			return path.Base(text), true
		}
	}
	return "", e.debugOnly()
}

// debugOnly reports whether nothing is left of the program but what a debugger
// wants: its segments are not in the file.
func (e *executable) debugOnly() bool {
	symbols := false
	e.eachSection(func(kind elf.SectionType, _, _ int64) { symbols = symbols || kind == elf.SHT_DYNSYM })
	return e.sectionTable.whole() && !symbols
}

// needsLibraries reports whether the file names a library that it needs. One
// whose names cannot be read may be static.
func (e *executable) needsLibraries() bool {
	if e.dynamic == nil {
		return false
	}
	entry := 8
	if e.wide {
		entry = 16
	}
	for data := e.dynamic.data; len(data) >= entry; data = data[entry:] {
		switch elf.DynTag(e.word(data, 0, 0)) {
		case elf.DT_NEEDED:
			return true
		case elf.DT_NULL:
			return false
		default: // nothing that is asked for
		}
	}
	return false
}

// startedByGlibc reports whether the file has the note that glibc's start code
// puts into every program (csu/abi-note.c), static ones too.
func (e *executable) startedByGlibc() bool {
	const abiTag = 1
	for _, note := range e.notes {
		for data := note.data; len(data) >= 16; {
			nameSize, size, kind := e.order.Uint32(data), e.order.Uint32(data[4:]), e.order.Uint32(data[8:])
			if kind == abiTag && nameSize == 4 && string(data[12:16]) == "GNU\x00" {
				return true
			}
			next := 12 + (uint64(nameSize)+3)&^3 + (uint64(size)+3)&^3
			if next > uint64(len(data)) {
				break
			}
			data = data[next:]
		}
	}
	return false
}
