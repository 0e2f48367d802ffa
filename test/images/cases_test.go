package images

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// imageCase is an image and what is to be found in it.
type imageCase struct {
	what     remote.Taggable
	resolver string // "" for unknown; "glibc go-cgo" with what is beside, "go-cgo" for unknown with it
	env      map[string]string
	because  string // a part of it
}

// tryCases pushes and reads images.
func tryCases(t *testing.T, host string, cases map[string]imageCase) {
	t.Helper()
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			reference := host + "/cases/" + strings.Trim(strings.Map(func(r rune) rune {
				if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
					return r
				}
				return '-'
			}, strings.ToLower(what)), "-") + ":1"
			reference = strings.ReplaceAll(strings.ReplaceAll(reference, "--", "-"), "--", "-")
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
	perl := file{path: "usr/share/perl5/Net/DNS/Resolver.pm", content: []byte("package Net::DNS::Resolver;\n")}
	fatpacked := []byte("#!/usr/bin/env perl\nBEGIN {\nmy %fatpacked;\n$fatpacked{\"Net/DNS/Resolver.pm\"} = <<'NET_DNS_RESOLVER';\n  package Net::DNS::Resolver;\n")
	attestation := image(t, "unknown/unknown", nil, layer{files: []file{{path: "ld-musl-x86_64.so.1", content: []byte("no layer of it is read")}}})

	tryCases(t, host, map[string]imageCase{
		"a static Go program":                 {linux(t, static), "go", nil, "nothing but Go"},
		"a stripped Go program":               {linux(t, file{path: "usr/bin/app", content: stripped}), "go", nil, ""},
		"a Go program that is a PIE":          {linux(t, file{path: "app", content: buildGo(t, goLookup, "CGO_ENABLED=0", "-buildmode=pie")}), "go", nil, ""},
		"two Go programs, scripts and data":   {linux(t, static, file{path: "b", content: arm.content}, file{path: "run.sh", content: []byte("#!/bin/sh\nexec /app\n")}, file{path: "etc/passwd", content: []byte("root")}), "go", nil, ""},
		"nothing at all":                      {image(t, amd64, nil), "", nil, "no executable"},
		"scripts only":                        {linux(t, file{path: "run.sh", content: []byte("#!/bin/sh\n")}), "", nil, "no executable"},
		"Go with LOCALDOMAIN":                 {image(t, amd64, []string{"PATH=/bin", "LOCALDOMAIN=a.example b.example"}, layer{files: []file{static}}), "go", map[string]string{"LOCALDOMAIN": "a.example b.example"}, ""},
		"Go with an empty RES_OPTIONS":        {image(t, amd64, []string{"RES_OPTIONS"}, layer{files: []file{static}}), "go", map[string]string{"RES_OPTIONS": ""}, ""},
		"Go and gcompat":                      {linux(t, static, file{path: "lib/libgcompat.so.0", content: []byte("\x7fELF")}), "musl", nil, "gcompat"},
		"Go and a package that names gcompat": {linux(t, static, file{path: "var/lib/info/libgcompat0.list", content: []byte("x")}), "go", nil, ""},
		"musl's loader as a link":             {linux(t, static, file{path: "lib/ld-musl-x86_64.so.1", symlink: "libc.so"}), "musl", nil, "musl's loader"},
		"musl's loader in the Nix store":      {linux(t, static, file{path: "nix/store/abc-musl-1.2.5/lib/ld-musl-x86_64.so.1", content: []byte("x")}), "musl", nil, "musl's loader"},
		"amphp/dns beside Go":                 {linux(t, static, file{path: "app/vendor/amphp/dns/src/Rfc1035StubDnsResolver.php", content: []byte("<?php\n")}), "net-dns", nil, "amphp/dns"},
		"amphp/dns of version 1":              {linux(t, static, file{path: "app/vendor/amphp/dns/lib/Rfc1035StubResolver.php", content: []byte("<?php\n")}), "net-dns", nil, "amphp/dns"},
		"what amphp/dns is documented by":     {linux(t, static, file{path: "app/vendor/amphp/dns/README.md", content: []byte("x")}), "go", nil, ""},
		"Net::DNS beside Go":                  {linux(t, static, perl), "net-dns", nil, "Net::DNS"},
		"Net::DNS in another folder":          {linux(t, static, file{path: "opt/MyNet/DNS/Resolver.pm", content: perl.content}), "net-dns", nil, "Net::DNS"},
		"Net::DNS without its first file":     {linux(t, static, file{path: "opt/x/UNIX.pm", content: []byte("# A comment.\npackage Net::DNS::Resolver::UNIX;\n")}), "net-dns", nil, "Net::DNS"},
		"Net::DNS in a fatpacked script":      {linux(t, static, file{path: "usr/bin/x", content: fatpacked}), "net-dns", nil, "Net::DNS"},
		"Net::DNS far behind in such a one":   {linux(t, static, file{path: "usr/bin/x", content: slices.Concat([]byte("#!/bin/sh\n"), bytes.Repeat([]byte("#\n"), 128<<10-20), fatpacked)}), "net-dns", nil, "Net::DNS"},
		"Net::DNS in a script without a name": {linux(t, static, file{path: "usr/lib/x.pl", content: fatpacked[len("#!/usr/bin/env perl\n"):]}), "net-dns", nil, "Net::DNS"},
		"Net::DNS in an archive behind one":   {linux(t, static, file{path: "usr/bin/x", content: []byte("#!/usr/bin/perl\n__END__\nPK\x03\x04lib/Net/DNS/Resolver.pm")}), "net-dns", nil, "Net::DNS"},
		"a script that uses Net::DNS":         {linux(t, static, file{path: "usr/bin/x", content: []byte("#!/usr/bin/perl\nuse Net::DNS;\nNet::DNS::Resolver->new->search($ARGV[0]);\n")}), "go", nil, ""},
		"a module of Perl that is another":    {linux(t, static, file{path: "opt/x/Resolver.pm", content: []byte("package Net::LDAP;\n" + strings.Repeat("#", 5000) + "\npackage Net::DNS::Resolver;\n")}, file{path: "opt/x/Empty.pm"}), "go", nil, ""},
		"a packed program":                    {linux(t, file{path: "app", content: packed}), "", nil, "packed"},
		"data behind a program":               {linux(t, file{path: "app", content: slices.Concat(static.content, make([]byte, 100_000))}), "", nil, "behind its end"},
		"a signature behind a program":        {linux(t, file{path: "app", content: slices.Concat(static.content, make([]byte, 1000))}), "go", nil, ""},
		"an AppImage":                         {linux(t, file{path: "app", content: slices.Concat(static.content[:8], []byte("AI\x02"), static.content[11:])}), "", nil, "behind its end"},
		"squashfs":                            {linux(t, static, file{path: "root.sfs", content: []byte("hsqs, and more than a header")}), "", nil, "squashfs"},
		"squashfs called as a module is":      {linux(t, static, file{path: "root.pm", content: []byte("hsqs, and more than a header")}), "", nil, "squashfs"},
		"a program for any system":            {linux(t, static, file{path: "app.com", content: []byte("MZqFpD='\n...............")}), "", nil, "APE"},
		"an empty and a short file":           {linux(t, static, file{path: "a"}, file{path: "b", content: []byte("\x7fELF")}), "go", nil, ""},
		"layers by zstd and without":          {image(t, amd64, nil, layer{[]file{static}, types.OCILayerZStd}, layer{[]file{{path: "b", content: arm.content}}, types.OCIUncompressedLayer}), "go", nil, ""},
		"a mistaken media type":               {image(t, amd64, nil, layer{[]file{static}, types.OCIUncompressedLayer}), "go", nil, ""},

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
		{path: strings.TrimPrefix(loader, "/"), content: contentOf(t, loader)},
		{path: strings.TrimPrefix(library, "/"), content: contentOf(t, library)},
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
	output := filepath.Join(folder, "libc.debug")
	if said, err := exec.CommandContext(t.Context(), "objcopy", "--only-keep-debug", filepath.Join(folder, "libc.so"), output).CombinedOutput(); err != nil {
		t.Fatalf("objcopy: %v\n%s", err, said)
	}
	return contentOf(t, output)
}

// TestWhatLayersHide builds on musl's loader, which any file with its name is.
func TestWhatLayersHide(t *testing.T) {
	goStatic := file{path: "app", content: buildGo(t, goLookup, "CGO_ENABLED=0")}
	musl := file{path: "usr/lib/ld-musl-x86_64.so.1", content: []byte("musl")}
	base := layer{files: []file{{path: "usr/"}, {path: "usr/lib/"}, musl, goStatic}}
	over := func(files ...file) v1.Image { return image(t, amd64, nil, base, layer{files: files}) }
	// A layer's files may be named through a link of a lower one, as where /lib is usr/lib.
	usr := layer{files: []file{goStatic, {path: "usr/lib/"}, {path: "lib", symlink: "usr/lib"}}}
	behind := layer{files: []file{{path: "lib/ld-musl-x86_64.so.1", content: musl.content}}}
	deleted, through := file{path: "usr/lib/.wh.ld-musl-x86_64.so.1"}, file{path: "lib/.wh.ld-musl-x86_64.so.1"}
	// on is what upper layers leave of one with a link, and with more files.
	on := func(more []file, upper ...file) v1.Image {
		return image(t, amd64, nil, layer{files: slices.Concat(usr.files, more)}, layer{files: upper})
	}
	tryCases(t, server(t, nil), map[string]imageCase{
		"it is there":                          {over(file{path: "etc/x", content: []byte("x")}), "musl", nil, ""},
		"it was deleted":                       {over(file{path: "usr/lib/.wh.ld-musl-x86_64.so.1"}), "go", nil, ""},
		"its folder was deleted":               {over(file{path: "usr/.wh.lib"}), "go", nil, ""},
		"its folder was emptied":               {over(file{path: "usr/lib/"}, file{path: "usr/lib/.wh..wh..opq"}), "go", nil, ""},
		"a folder above was emptied":           {over(file{path: "./usr/.wh..wh..opq"}), "go", nil, ""},
		"everything was deleted":               {over(file{path: ".wh..wh..opq"}), "musl", nil, ""},
		"a link took the place of its folder":  {over(file{path: "usr/lib", symlink: "lib64"}), "go", nil, ""},
		"its folder is there again":            {over(file{path: "usr/"}, file{path: "usr/lib/"}), "musl", nil, ""},
		"a folder took its place":              {over(file{path: "usr/lib/ld-musl-x86_64.so.1/"}, file{path: "usr/lib/ld-musl-x86_64.so.1/x"}), "go", nil, ""},
		"another file was deleted":             {over(file{path: "usr/lib/.wh.ld-musl-x86_64.so"}), "musl", nil, ""},
		"it was deleted and came back":         {image(t, amd64, nil, base, layer{files: []file{{path: "usr/lib/.wh.ld-musl-x86_64.so.1"}}}, layer{files: []file{musl}}), "musl", nil, ""},
		"it was emptied and put there at once": {over(file{path: "usr/lib/.wh..wh..opq"}, musl), "musl", nil, ""},
		"what AUFS kept":                       {over(file{path: ".wh..wh.plnk/"}, file{path: ".wh..wh.aufs", content: []byte("x")}), "musl", nil, ""},
		"behind a link that is stated again":   {image(t, amd64, nil, usr, behind, usr), "musl", nil, ""},
		"behind a link that was deleted":       {image(t, amd64, nil, usr, behind, layer{files: []file{{path: ".wh.lib"}}}), "musl", nil, ""},
		"behind a link in a deleted folder":    {image(t, amd64, nil, layer{files: []file{goStatic, {path: "a/lib", symlink: "../usr/lib"}}}, layer{files: []file{{path: "a/lib/ld-musl-x86_64.so.1", content: musl.content}}}, layer{files: []file{{path: ".wh.a"}}}), "musl", nil, ""},
		"behind a link of its own layer":       {image(t, amd64, nil, layer{files: slices.Concat(usr.files, behind.files)}, usr), "musl", nil, ""},
		"behind a link, deleted through it":    {image(t, amd64, nil, usr, behind, layer{files: []file{{path: "lib/.wh.ld-musl-x86_64.so.1"}}}), "go", nil, ""},
		"Go behind a link":                     {image(t, amd64, nil, layer{files: []file{{path: "lib", symlink: "usr/lib"}}}, layer{files: []file{{path: "lib/app", content: goStatic.content}}}, layer{files: []file{{path: "lib", symlink: "usr/lib"}}}), "go", nil, ""},
		"a folder, and then a link there":      {image(t, amd64, nil, layer{files: []file{goStatic, {path: "lib/"}}}, behind, layer{files: []file{{path: "lib", symlink: "usr/lib"}}}), "go", nil, ""},
		"a program took Go's place":            {over(file{path: "usr/.wh.lib"}, file{path: "app", content: []byte("#!/bin/sh\n")}), "", nil, "no executable"},

		"a hard link calls it through a link":               {on([]file{musl, {path: "kept", hardlink: "lib/ld-musl-x86_64.so.1"}}, deleted), "musl", nil, ""},
		"a hard link calls it through two links":            {on([]file{musl, {path: "a", symlink: "b"}, {path: "b", symlink: "usr"}, {path: "kept", hardlink: "a/lib/ld-musl-x86_64.so.1"}}, deleted), "musl", nil, ""},
		"a hard link calls it with dots after a link":       {on([]file{musl, {path: "usr/lib/x/"}, {path: "a", symlink: "usr/lib/x"}, {path: "kept", hardlink: "a/../ld-musl-x86_64.so.1"}}, deleted), "musl", nil, ""},
		"a hard link through a link is kept by another":     {on([]file{musl, {path: "lib/a", hardlink: "lib/ld-musl-x86_64.so.1"}, {path: "kept", hardlink: "usr/lib/a"}}, deleted, file{path: "usr/lib/.wh.a"}), "musl", nil, ""},
		"a hard link behind a link, deleted through it":     {on([]file{musl, {path: "lib/kept", hardlink: "lib/ld-musl-x86_64.so.1"}}, deleted, file{path: "lib/.wh.kept"}), "musl", nil, ""},
		"a hard link of an upper layer through a link":      {image(t, amd64, nil, layer{files: append(slices.Clone(usr.files), musl)}, layer{files: []file{{path: "kept", hardlink: "lib/ld-musl-x86_64.so.1"}}}, layer{files: []file{deleted}}), "musl", nil, ""},
		"a hard link to what its layer has deleted":         {over(deleted, file{path: "kept", hardlink: musl.path}), "musl", nil, ""},
		"a hard link to it with its own name":               {over(file{path: musl.path, hardlink: musl.path}), "musl", nil, ""},
		"a hard link was deleted with it":                   {on([]file{musl, {path: "kept", hardlink: musl.path}}, deleted, file{path: ".wh.kept"}), "go", nil, ""},
		"behind a link of its layer, deleted through it":    {on(behind.files, through), "musl", nil, ""},
		"behind a link of its layer, replaced through it":   {on(behind.files, file{path: behind.files[0].path + "/"}), "musl", nil, ""},
		"behind two links of its layer, deleted through":    {on([]file{{path: "a", symlink: "b"}, {path: "b/c", symlink: "../usr/lib"}, {path: "a/c/ld-musl-x86_64.so.1"}}, file{path: "a/c/.wh.ld-musl-x86_64.so.1"}), "musl", nil, ""},
		"behind a link that was named through another":      {on([]file{{path: "a", symlink: "usr"}, {path: "a/c", symlink: "lib"}, {path: "usr/c/ld-musl-x86_64.so.1"}}, file{path: "usr/c/.wh.ld-musl-x86_64.so.1"}), "musl", nil, ""},
		"behind a link that a folder replaced":              {image(t, amd64, nil, usr, behind, layer{files: []file{{path: "lib/"}, through}}), "musl", nil, ""},
		"behind a link that has changed since":              {image(t, amd64, nil, usr, behind, layer{files: []file{{path: "lib", symlink: "lib64"}}}, layer{files: []file{through}}), "musl", nil, ""},
		"its folder was deleted and made again":             {over(file{path: "usr/.wh.lib"}, file{path: "usr/lib/"}), "musl", nil, ""},
		"its folder was made again and deleted":             {over(file{path: "usr/lib/"}, file{path: "usr/.wh.lib"}), "musl", nil, ""},
		"its folder was deleted and has a file again":       {over(file{path: "usr/.wh.lib"}, file{path: "usr/lib/x", content: []byte("x")}), "musl", nil, ""},
		"a folder above was deleted and made again":         {over(file{path: ".wh.usr"}, file{path: "usr/"}), "musl", nil, ""},
		"a file and a folder took the place of its folder":  {over(file{path: "usr/lib", content: []byte("x")}, file{path: "usr/lib/"}), "musl", nil, ""},
		"a link and a folder took the place of its folder":  {over(file{path: "usr/lib", symlink: "lib64"}, file{path: "usr/lib/"}), "musl", nil, ""},
		"its folder was emptied, then a link, then there":   {over(file{path: "usr/lib/"}, file{path: "usr/lib/.wh..wh..opq"}, file{path: "usr/lib", symlink: "lib64"}, file{path: "usr/lib/"}), "musl", nil, ""},
		"its folder was made again after it was deleted":    {over(deleted, file{path: "usr/lib", symlink: "lib64"}, file{path: "usr/lib/"}), "musl", nil, ""},
		"its folder was made again through a link":          {over(file{path: "a", symlink: "usr"}, file{path: "usr/.wh.lib"}, file{path: "a/lib/"}), "musl", nil, ""},
		"a folder that is called as a whiteout is":          {over(file{path: deleted.path + "/"}), "musl", nil, ""},
		"whiteouts of a folder and of the one above":        {over(file{path: "usr/lib/.wh.."}, file{path: "usr/lib/x/.wh..."}), "musl", nil, ""},
		"a header for the whole archive has its name":       {over(file{path: musl.path, kind: tar.TypeXGlobalHeader}), "musl", nil, ""},
		"an entry of a type that is none has its name":      {over(file{path: "usr/lib/ld-musl-x86_64.so.1", kind: 'Z'}), "musl", nil, ""},
		"an entry of a type that is none":                   {on(nil, file{path: "x", kind: 'Z'}), "", nil, "an entry of type 'Z' in a layer, for which containerd refuses to unpack the image"},
		"an entry of a type that is none, and then deleted": {image(t, amd64, nil, usr, layer{files: []file{{path: "x", kind: 'Z'}}}, layer{files: []file{{path: ".wh.x"}}}), "", nil, "refuses to unpack"},
	})
}
