package rootfs

import (
	"debug/elf"
	"encoding/binary"
	"runtime/debug"
)

// Go's linker writes the version and the settings of a build into every program
// (cmd/link/internal/ld, buildinfo; debug/buildinfo reads it).
const (
	buildInfoMagic  = "\xff Go buildinf:"
	buildInfoAlign  = 16
	buildInfoHeader = 32
	// moduleFrame is what frames the settings on each side.
	moduleFrame = 16
)

// goBuild is what a Go program says of its build.
type goBuild struct {
	// withoutCgo is true where the build says that cgo was off. Builds before Go
	// 1.18 say nothing.
	withoutCgo bool
}

// goBuild returns nil for a program that is not Go's.
func (e *executable) goBuild() *goBuild {
	for _, info := range e.buildInfos {
		if e.hasOwnBuildInfo(info.at) {
			if build := parseBuildInfo(info.data); build != nil {
				return build
			}
		}
	}
	return nil
}

// hasOwnBuildInfo tells a program's own build information from one of a program
// that it carries in its data: a section begins with it.
func (e *executable) hasOwnBuildInfo(at int64) bool {
	own := false
	if e.sectionTable.whole() {
		e.eachSection(func(kind elf.SectionType, start, _ int64) {
			own = own || kind == elf.SHT_PROGBITS && start == at
		})
		return own
	}
	for _, segment := range e.writable {
		own = own || segment.at <= at && at < segment.at+segment.size
	}
	return own
}

// linkedByGo reports whether Go's own linker made the program.
func (e *executable) linkedByGo() bool {
	return e.sectionTable.whole() && !e.found[textFrames] && !e.found[textInit] && !e.found[textFini] && !e.found[textARM]
}

func parseBuildInfo(data []byte) *goBuild {
	const inline = 2
	if len(data) < buildInfoHeader {
		return nil
	}
	if data[15]&inline == 0 { // before Go 1.18: addresses of what is elsewhere
		if data[14] == 4 || data[14] == 8 {
			return &goBuild{}
		}
		return nil
	}
	version, rest, ok := prefixed(data[buildInfoHeader:])
	if !ok || version == "" {
		return nil
	}
	build := &goBuild{}
	settings, _, ok := prefixed(rest)
	if !ok || len(settings) < 2*moduleFrame {
		return build
	}
	info, err := debug.ParseBuildInfo(settings[moduleFrame : len(settings)-moduleFrame])
	if err != nil {
		return build
	}
	for _, setting := range info.Settings {
		if setting.Key == "CGO_ENABLED" {
			build.withoutCgo = setting.Value == "0"
		}
	}
	return build
}

// prefixed takes a string off that has its length before it.
func prefixed(data []byte) (s string, rest []byte, ok bool) {
	length, n := binary.Uvarint(data)
	if n <= 0 || length > uint64(len(data)-n) {
		return "", nil, false
	}
	end := n + int(length) //nolint:gosec // within the data
	return string(data[n:end]), data[end:], true
}
