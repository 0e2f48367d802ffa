package rootfs

import (
	"bytes"
	"debug/elf"
	"io"
	"path"
	"regexp"
	"strings"
)

// trait is what a file says about the resolvers in an image. The table is in
// the package's comment.
type trait uint16

const (
	traitMusl trait = 1 << iota
	traitNetDNS
	traitUnclear
	traitCgo
	traitGo
	traitGlibc
	traitOther
)

// finding is what is found in one file.
type finding struct {
	traits trait
	why    string // in words; of an executable of which nothing is to be said, empty
}

func (f *finding) add(t trait, why string) {
	f.traits |= t
	if f.why == "" {
		f.why = why
	}
}

// Names of loaders, as PT_INTERP has them and as they are called in a file
// system. Debian's before 12 is called ld-2.31.so, those of PowerPC and IBM Z
// ld64.so.1 and ld64.so.2, MIPS's ld.so.1.
var (
	muslLoader  = regexp.MustCompile(`^ld-musl-[-a-z0-9_]+\.so`)
	gcompat     = regexp.MustCompile(`^libgcompat[-.0-9]*\.so`)
	amphpDNS    = regexp.MustCompile(`/amphp/dns/(src|lib)/[A-Za-z0-9]*Resolver\.php$`)
	glibcLoader = regexp.MustCompile(`^ld(64|-linux[-a-z0-9_]*|-[0-9.]+)?\.so(\.[0-9]+)?$`)
)

// judgeName judges what a file is called: a link says as much.
func judgeName(name string) (f finding) {
	base := path.Base(name)
	switch {
	case muslLoader.MatchString(base):
		f.add(traitMusl, "musl's loader")
	case gcompat.MatchString(base):
		f.add(traitMusl, "gcompat, which lets glibc's programs run on musl")
	case strings.HasSuffix(name, "/Net/DNS/Resolver.pm"):
		f.add(traitNetDNS, becauseNetDNS)
	case amphpDNS.MatchString(name):
		f.add(traitNetDNS, "PHP's amphp/dns, which does not search for names with ndots dots either")
	}
	return f
}

// maxExecutable bounds what is read of one.
const maxExecutable = 16 << 30

// headSize is enough to tell what a file is, and moduleHeadSize to tell which of
// Perl's modules it is.
const (
	headSize       = 16
	moduleHeadSize = 4096
)

const becauseNetDNS = "Perl's Net::DNS, which does not search for names with ndots dots either"

// judgeFile judges a file by its name and content. It reads executables to
// their end and nothing else. An error is one of the stream.
func judgeFile(name string, size int64, r io.Reader, buffer []byte) (finding, error) {
	f := judgeName(name)
	var head [headSize]byte
	n, err := io.ReadFull(r, head[:min(size, headSize)])
	if err == io.EOF && size > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		return f, err
	}
	switch begin := head[:n]; {
	case isELF(begin) && size > maxExecutable:
		f.add(traitUnclear|traitOther, "an executable of more than 16 GiB")
	case isELF(begin):
		e, err := readExecutable(io.MultiReader(bytes.NewReader(begin), r), size, buffer)
		if err != nil {
			return f, err
		}
		e.judge(path.Base(name), &f)
	case bytes.HasPrefix(begin, []byte("hsqs")), bytes.HasPrefix(begin, []byte("sqsh")):
		f.add(traitUnclear, "a file system in a file (squashfs), which is not looked into")
	case bytes.HasPrefix(begin, []byte("MZqFpD")), bytes.HasPrefix(begin, []byte("jartsr='")), bytes.HasPrefix(begin, []byte("APEDBG='")):
		f.add(traitUnclear|traitOther, "a program for any system (APE), whose C library is not known")
	case bytes.HasPrefix(begin, []byte("#!")), strings.HasSuffix(name, ".pl"):
		carries, err := carriesNetDNS(io.MultiReader(bytes.NewReader(begin), r), size, buffer)
		if err != nil {
			return f, err
		}
		if carries {
			f.add(traitNetDNS, becauseNetDNS)
		}
	case strings.HasSuffix(name, ".pm"):
		rest, err := io.ReadFull(r, buffer[copy(buffer, begin):min(size, moduleHeadSize)])
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return f, err
		}
		if bytes.Contains(buffer[:n+rest], packageNetDNS) {
			f.add(traitNetDNS, becauseNetDNS)
		}
	}
	return f, nil
}

// What packers put into a script with a module: its text (App::FatPacker), or its path
// in an archive (PAR).
var (
	packageNetDNS = []byte("package Net::DNS::Resolver")
	pathNetDNS    = []byte("Net/DNS/Resolver.pm")
)

// carriesNetDNS looks through a script, of a shell too: one may hand itself on to Perl.
// One that only uses the module has it beside.
func carriesNetDNS(r io.Reader, size int64, buffer []byte) (bool, error) {
	kept, read := 0, int64(0)
	for {
		n, err := io.ReadFull(r, buffer[kept:])
		read += int64(n)
		data := buffer[:kept+n]
		if bytes.Contains(data, packageNetDNS) || bytes.Contains(data, pathNetDNS) {
			return true, nil
		}
		switch {
		case (err == io.EOF || err == io.ErrUnexpectedEOF) && read >= size:
			return false, nil
		case err == io.EOF: // of the archive
			return false, io.ErrUnexpectedEOF
		case err != nil:
			return false, err
		}
		kept = copy(buffer, data[len(data)-overlap:])
	}
}

// maxBehind is how much may stand behind what an executable's headers tell of:
// a signature, for example.
const maxBehind = 64 << 10

// judge says what is in an executable.
func (e *executable) judge(base string, f *finding) {
	if !e.isProgram() {
		return
	}
	static := !e.hasInterp && !e.needsLibraries()
	build := e.goBuild()
	switch {
	case build != nil:
		e.judgeGo(build, static, f)
	case static && e.typ == elf.ET_DYN && e.found[textLoaderCache] && !e.startedByGlibc() && glibcLoader.MatchString(base):
		f.add(traitGlibc|traitOther, "glibc's loader")
		return
	default:
		f.traits |= traitOther
		if e.found[textGccgo] {
			f.add(traitCgo, "a Go program of GCC's, or the library of such")
		}
		if static {
			e.judgeStatic(f)
		}
	}
	e.judgeLoader(f)
	if e.appImage || e.read > e.end+maxBehind {
		f.add(traitUnclear, "an executable with data behind its end, which is not looked into")
	}
}

// judgeLoader judges the loader that an executable asks for.
func (e *executable) judgeLoader(f *finding) {
	loader, known := e.loader()
	switch {
	case muslLoader.MatchString(loader):
		f.add(traitMusl, "an executable that asks for musl's loader")
	case !known && e.found[textMuslLoader]:
		f.add(traitMusl, "an executable that does not say clearly which loader it asks for, and names musl's")
	case !known:
		f.add(traitUnclear, "an executable that does not say clearly which loader it asks for")
	case loader != "" && !glibcLoader.MatchString(loader):
		f.add(traitUnclear, "an executable that asks for a loader that is neither glibc's nor musl's")
	}
}

// judgeStatic judges an executable that has its C library in it. Of those that
// look at RES_OPTIONS, c-ares may be the reason, beside any C library.
func (e *executable) judgeStatic(f *finding) {
	switch {
	case e.found[textUPX]:
		f.add(traitUnclear, "a packed executable, which is not looked into")
	case e.sectionTable == nil:
		f.add(traitUnclear, "an executable without sections, as packed ones are, which is not looked into")
	case !e.found[textResolvConf]:
	case !e.found[textResOptions]:
		f.add(traitMusl, "a static executable that looks up names and ignores RES_OPTIONS, as musl does")
	case !e.startedByGlibc():
		f.add(traitUnclear, "a static executable that looks up names, and is not glibc's")
	}
}

// judgeGo tells Go programs with cgo from those without. Which they are, they
// say since Go 1.18, unless Bazel builds them; of others it shows where Go's own
// linker has linked, which statically takes nothing of C. A program that needs a library has cgo whatever
// it says; one that could have it counts as one that has.
func (e *executable) judgeGo(build *goBuild, static bool, f *finding) {
	switch {
	case !e.found[textGoRuntime]:
		f.add(traitUnclear|traitCgo, "an executable that says it is Go's, and does not have Go's runtime")
	case (build.withoutCgo || static && e.linkedByGo()) && !e.needsLibraries() && !e.found[textGetaddrinfo]:
		f.add(traitGo, "")
	case static && !e.startedByGlibc():
		f.add(traitCgo|traitUnclear, "a static Go program that may have cgo, and a C library that is not glibc")
	default:
		f.add(traitCgo, "a Go program with cgo")
	}
}
