package images

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/shorthop/shorthop/test/testfile"
)

// imageCase is an image and what is to be found in it.
type imageCase struct {
	what     remote.Taggable
	resolver string // "" for unknown; "glibc go-cgo" with what is beside, "go-cgo" for unknown with it
	env      map[string]string
	because  string // a part of it
}

var notInNames = regexp.MustCompile("[^a-z0-9]+")

// tryCases pushes and reads images.
func tryCases(t *testing.T, host string, cases map[string]imageCase) {
	t.Helper()
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			reference := host + "/cases/" + strings.Trim(notInNames.ReplaceAllString(strings.ToLower(what), "-"), "-") + ":1"
			push(t, reference, c.what)
			got := read(t, reference)
			if got.Error != "" {
				t.Fatalf("it cannot be read: %s", got.Error)
			}
			resolver := string(got.Resolver)
			for _, beside := range got.Beside {
				resolver += " " + string(beside)
			}
			if resolver = strings.TrimSpace(resolver); resolver != c.resolver || !strings.Contains(got.Because, c.because) {
				t.Errorf("it has %q (%s, %s), want %q (%s)", resolver, got.Because, got.File, c.resolver, c.because)
			}
			if diff := cmp.Diff(c.env, got.Env); diff != "" {
				t.Errorf("ENV (-want +got):\n%s", diff)
			}
		})
	}
}

const amd64 = "linux/amd64"

// linux is an image for one platform.
func linux(t *testing.T, files ...file) v1.Image {
	t.Helper()
	return image(t, amd64, nil, layer{files: files})
}

func TestWhatGoBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("four programs are compiled")
	}
	static := file{path: "app", content: buildGo(t, goLookup, "CGO_ENABLED=0")}
	stripped := buildGo(t, goLookup, "CGO_ENABLED=0", "-ldflags=-s -w", "-trimpath")
	arm := file{path: "app", content: buildGo(t, goHello, "CGO_ENABLED=0", "GOARCH=arm64")}
	host := server(t, nil)
	packed := bytes.Clone(static.content)
	clear(packed[40:48]) // e_shoff: packers leave no sections
	before, _, _ := bytes.Cut(packed, []byte("\xff Go buildinf:"))
	clear(packed[len(before):][:14])
	fatpacked := []byte("#!/usr/bin/env perl\nBEGIN {\nmy %fatpacked;\n$fatpacked{\"Net/DNS/Resolver.pm\"} = <<'NET_DNS_RESOLVER';\n  package Net::DNS::Resolver;\n")
	attestation := image(t, "unknown/unknown", nil, layer{files: []file{{path: "ld-musl-x86_64.so.1", content: []byte("no layer of it is read")}}})

	tryCases(t, host, map[string]imageCase{
		"a static Go program":               {linux(t, static), "go", nil, "nothing but Go"},
		"a stripped Go program":             {linux(t, file{path: "usr/bin/app", content: stripped}), "go", nil, ""},
		"a Go program that is a PIE":        {linux(t, file{path: "app", content: buildGo(t, goLookup, "CGO_ENABLED=0", "-buildmode=pie")}), "go", nil, ""},
		"two Go programs, scripts and data": {linux(t, static, file{path: "b", content: arm.content}, file{path: "run.sh", content: []byte("#!/bin/sh\nexec /app\n")}, file{path: "etc/passwd", content: []byte("root")}), "go", nil, ""},
		"nothing at all":                    {image(t, amd64, nil), "", nil, "no executable"},
		"Go with LOCALDOMAIN":               {image(t, amd64, []string{"PATH=/bin", "LOCALDOMAIN=a.example b.example"}, layer{files: []file{static}}), "go", map[string]string{"LOCALDOMAIN": "a.example b.example"}, ""},
		"Go with an empty RES_OPTIONS":      {image(t, amd64, []string{"RES_OPTIONS"}, layer{files: []file{static}}), "go", map[string]string{"RES_OPTIONS": ""}, ""},
		"Net::DNS far behind in such a one": {linux(t, static, file{path: "usr/bin/x", content: slices.Concat([]byte("#!/bin/sh\n"), bytes.Repeat([]byte("#\n"), 128<<10-20), fatpacked)}), "net-dns", nil, "Net::DNS"},
		"a module of Perl that is another":  {linux(t, static, file{path: "opt/x/Resolver.pm", content: []byte("package Net::LDAP;\n" + strings.Repeat("#", 5000) + "\npackage Net::DNS::Resolver;\n")}, file{path: "opt/x/Empty.pm"}), "go", nil, ""},
		"a packed program":                  {linux(t, file{path: "app", content: packed}), "", nil, "packed"},
		"data behind a program":             {linux(t, file{path: "app", content: slices.Concat(static.content, make([]byte, 100_000))}), "", nil, "behind its end"},
		"a signature behind a program":      {linux(t, file{path: "app", content: slices.Concat(static.content, make([]byte, 1000))}), "go", nil, ""},
		"an AppImage":                       {linux(t, file{path: "app", content: slices.Concat(static.content[:8], []byte("AI\x02"), static.content[11:])}), "", nil, "behind its end"},
		"layers by zstd and without":        {image(t, amd64, nil, layer{[]file{static}, types.OCILayerZStd}, layer{[]file{{path: "b", content: arm.content}}, types.OCIUncompressedLayer}), "go", nil, ""},
		"a mistaken media type":             {image(t, amd64, nil, layer{[]file{static}, types.OCIUncompressedLayer}), "go", nil, ""},

		"for two platforms":             {index(t, image(t, amd64, nil, layer{files: []file{static}}), image(t, "linux/arm64", nil, layer{files: []file{arm}})), "go", nil, ""},
		"with musl on one platform":     {index(t, image(t, amd64, nil, layer{files: []file{static}}), image(t, "linux/arm64", nil, layer{files: []file{{path: "lib/ld-musl-aarch64.so.1", content: []byte("x")}}})), "musl", nil, ""},
		"with ENV on one platform":      {index(t, image(t, amd64, nil, layer{files: []file{static}}), image(t, "linux/arm64", []string{"RES_OPTIONS=ndots:2"}, layer{files: []file{arm}})), "go", map[string]string{"RES_OPTIONS": "ndots:2"}, ""},
		"with attestations and Windows": {index(t, image(t, amd64, nil, layer{files: []file{static}}), attestation, image(t, "windows/amd64", nil)), "go", nil, ""},
	})
}

// glibcFiles are the loader and the library of this machine, where they are in
// Debian.
func glibcFiles(t *testing.T) []file {
	t.Helper()
	loader := glibcLoaderPath()
	library := filepath.Join(filepath.Dir(loader), "libc.so.6")
	return []file{
		{path: strings.TrimPrefix(loader, "/"), content: testfile.Read(t, loader)},
		{path: strings.TrimPrefix(library, "/"), content: testfile.Read(t, library)},
		{path: "bin/lookup", content: buildC(t, cLookup)},
	}
}

func TestWhatGlibcIsIn(t *testing.T) {
	if !hasCompiler() {
		t.Log("without gcc and glibc nothing of C is built: the images with glibc are not tried (the others are, by TestWhatGoBuilds)")
		return
	}
	glibc := glibcFiles(t)
	debian := layer{files: glibc}
	goStatic := file{path: "usr/bin/app", content: buildGo(t, goLookup, "CGO_ENABLED=0")}
	goCgo := file{path: "usr/bin/app", content: buildGo(t, goLookup, "CGO_ENABLED=1")}
	goCgoStatic := file{path: "usr/bin/app", content: buildGo(t, goLookup, "CGO_ENABLED=1", "-ldflags=-linkmode=external -extldflags=-static")}
	goWithoutC := file{path: "usr/bin/app", content: buildGo(t, goHello, "CGO_ENABLED=1")}
	shared := file{path: "usr/lib/lookup.so", content: buildGo(t, goLibrary, "CGO_ENABLED=1", "-buildmode=c-shared")}
	cStatic := file{path: "usr/bin/lookup", content: buildC(t, cLookup, "-static")}
	perl := file{path: "usr/share/perl5/Net/DNS/Resolver.pm", content: []byte("package Net::DNS::Resolver;\n")}
	carrier := writeSource(t, "go.bin", string(goStatic.content))
	carrying := buildC(t, cLookup+`__asm__(".section .data\n.balign 16\n.incbin \"`+filepath.Join(carrier, "go.bin")+`\"\n.text\n");`)
	uclibc := bytes.Replace(glibc[2].content, []byte("/lib64/ld-linux-x86-64.so.2"), []byte("/lib/ld-uClibc.so.0\x00\x00\x00\x00\x00\x00\x00\x00"), 1)
	host := server(t, nil)
	on := func(files ...file) v1.Image { return image(t, amd64, nil, debian, layer{files: files}) }
	nix := slices.Clone(glibc)
	nix[0].path, nix[1].path = "nix/store/abc-glibc-2.40/lib/ld-linux-x86-64.so.2", "nix/store/abc-glibc-2.40/lib/libc.so.6"

	tryCases(t, host, map[string]imageCase{
		"glibc":                                   {image(t, amd64, nil, debian), "glibc", nil, "glibc's loader"},
		"glibc in the Nix store":                  {linux(t, nix...), "glibc", nil, "glibc's loader"},
		"glibc and static Go":                     {on(goStatic), "glibc", nil, ""},
		"glibc and Go with cgo":                   {on(goCgo), "glibc go-cgo", nil, ""},
		"glibc and static Go with cgo":            {on(goCgoStatic), "glibc go-cgo", nil, ""},
		"glibc and a Go library":                  {on(shared), "glibc go-cgo", nil, ""},
		"glibc and Go that could have had cgo":    {on(goWithoutC), "glibc", nil, ""},
		"glibc and a program of GCC's Go":         {on(file{path: "app", content: slices.Concat(glibc[2].content, []byte("\x00go1.18 gccgo (GCC) 12.2.0\x00"))}), "glibc go-cgo", nil, ""},
		"glibc and a static program of it":        {on(cStatic), "glibc", nil, ""},
		"glibc, RES_OPTIONS and LOCALDOMAIN":      {image(t, amd64, []string{"RES_OPTIONS=ndots:1", "LOCALDOMAIN=x.example"}, debian), "glibc", map[string]string{"RES_OPTIONS": "ndots:1", "LOCALDOMAIN": "x.example"}, ""},
		"glibc and Net::DNS":                      {on(perl), "glibc net-dns", nil, ""},
		"glibc and Net::DNS that was removed":     {image(t, amd64, nil, debian, layer{files: []file{perl}}, layer{files: []file{{path: "usr/share/perl5/Net/.wh.DNS"}}}), "glibc", nil, ""},
		"glibc and a loader that is not known":    {on(file{path: "bin/ping", content: uclibc}), "", nil, "neither glibc's nor musl's"},
		"glibc and a PIE without a loader":        {on(file{path: "bin/x", content: buildC(t, cNamesResolvConf, "-pie", "-Wl,--no-dynamic-linker")}), "glibc", nil, ""},
		"glibc and a static PIE":                  {on(file{path: "bin/x", content: buildC(t, cNamesResolvConf, "-static-pie", "-nostdlib", "-nostartfiles", "-Wl,-e,main")}), "musl", nil, "a static executable"},
		"glibc and debug information":             {on(file{path: "usr/lib/debug/libc.debug", content: debugOf(t, glibc[1].content)}), "glibc", nil, ""},
		"glibc and gcompat":                       {on(file{path: "lib/libgcompat.so.0", content: []byte("x")}), "musl", nil, "gcompat"},
		"Go with cgo alone":                       {linux(t, goCgo), "go-cgo", nil, "a Go program with cgo, and no C library's loader"},
		"static Go with cgo alone":                {linux(t, goCgoStatic), "go-cgo", nil, ""},
		"Go that could have had cgo alone":        {linux(t, goWithoutC), "go", nil, ""},
		"Go and a static C program":               {linux(t, goStatic, file{path: "bin/tini", content: buildC(t, cHello, "-static")}), "", nil, "not Go's"},
		"Go and an object file":                   {linux(t, goStatic, file{path: "lib/module.ko", content: buildC(t, cHello, "-c")}), "go", nil, ""},
		"a C program that carries one of Go":      {linux(t, file{path: "app", content: carrying}), "", nil, "not Go's"},
		"a file called as glibc's loader is":      {linux(t, goStatic, file{path: "lib64/ld-linux-x86-64.so.2", content: cStatic.content}), "", nil, ""},
		"glibc on one platform and Go on another": {index(t, image(t, amd64, nil, debian), image(t, "linux/arm64", nil, layer{files: []file{goStatic}})), "glibc", nil, ""},
		"cgo on one platform":                     {index(t, image(t, amd64, nil, debian), image(t, "linux/arm64", nil, debian, layer{files: []file{goCgo}})), "glibc go-cgo", nil, ""},
		"musl on one platform":                    {index(t, image(t, amd64, nil, debian), image(t, "linux/arm64", nil, layer{files: []file{{path: "lib/ld-musl-aarch64.so.1", content: []byte("x")}}})), "musl", nil, ""},
		"a packed program on one platform":        {index(t, image(t, amd64, nil, debian), image(t, "linux/arm64", nil, layer{files: []file{{path: "bin/tini", content: withoutSections(cStatic.content)}}})), "", nil, "packed"},
	})
}

// withoutSections is what packers and sstrip leave of a program's headers.
func withoutSections(program []byte) []byte {
	program = bytes.Clone(program)
	binary.LittleEndian.PutUint64(program[40:], 0)
	return program
}

// debugOf is what strip --only-keep-debug leaves of a library.
func debugOf(t *testing.T, library []byte) []byte {
	t.Helper()
	folder := writeSource(t, "libc.so", string(library))
	return build(t, nil, filepath.Join(folder, "libc.debug"), "objcopy", "--only-keep-debug", "libc.so", "libc.debug")
}

// TestFiles has its cases in a file, which says how they are written.
func TestFiles(t *testing.T) {
	written := testfile.ReadCase(t, "testdata/files.txtar")
	beginnings := strings.NewReplacer("+ base\n", string(written.Section("base")), "+ linked\n", string(written.Section("linked")))
	program := buildGo(t, goLookup, "CGO_ENABLED=0")
	cases := map[string]imageCase{}
	for _, section := range written.Files {
		if section.Name == "base" || section.Name == "linked" {
			continue
		}
		text, found, whole := strings.Cut(beginnings.Replace(string(section.Data)), "\n= ")
		if !whole {
			t.Fatalf("%s: it does not say what is found", section.Name)
		}
		var layers []layer
		for entries := range strings.SplitSeq(text, "\n\n") {
			var l layer
			for line := range strings.Lines(entries) {
				l.files = append(l.files, entry(t, strings.TrimSpace(line), program))
			}
			layers = append(layers, l)
		}
		resolver, because, _ := strings.Cut(strings.TrimSpace(found), ": ")
		cases[section.Name] = imageCase{image(t, amd64, nil, layers...), strings.TrimPrefix(resolver, "unknown"), nil, because}
	}
	tryCases(t, server(t, nil), cases)
}

// entry reads an entry of a layer.
func entry(t *testing.T, line string, program []byte) file {
	t.Helper()
	path, rest, _ := strings.Cut(line, " ")
	mark, value, _ := strings.Cut(rest, " ")
	switch {
	case mark == "->":
		return file{path: path, symlink: value}
	case mark == "=>":
		return file{path: path, hardlink: value}
	case mark == "type" && len(value) == 1:
		return file{path: path, kind: value[0]}
	case mark == ":" && value == "GO":
		return file{path: path, content: program}
	case mark == ":":
		if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		return file{path: path, content: []byte(value)}
	case rest != "":
		t.Fatalf("%q is no entry", line)
	}
	return file{path: path}
}
