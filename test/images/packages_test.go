//go:build e2e

package images

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/shorthop/shorthop/test/testfile"
)

// packages are those that hack/image-packages.sh has unpacked.
func packages(t *testing.T) (folder string) {
	t.Helper()
	if folder = os.Getenv("IMAGE_PACKAGES"); folder == "" || !hasCompiler() {
		t.Fatal("IMAGE_PACKAGES does not say where Debian's packages are, or there is no gcc: run make test-images")
	}
	return folder
}

// packageFiles are the files and links of a package, as they are in an image.
func packageFiles(t *testing.T, name string) (files []file) {
	t.Helper()
	root := filepath.Join(packages(t), name)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside := strings.TrimPrefix(path, root+"/")
		switch {
		case entry.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			files = append(files, file{path: inside, symlink: target})
			return err
		case entry.Type().IsRegular():
			files = append(files, file{path: inside, content: testfile.Read(t, path)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// buildMusl builds a C program with Debian's musl, which is not installed.
func buildMusl(t *testing.T, source string, static, pie bool) []byte {
	t.Helper()
	library := filepath.Join(packages(t), "musl-dev", "usr", "lib", "x86_64-linux-musl")
	include := filepath.Join(packages(t), "musl-dev", "usr", "include", "x86_64-linux-musl")
	folder := writeSource(t, "main.c", source)
	output := filepath.Join(folder, "program")
	command := []string{"gcc", "-w", "-nostdinc", "-isystem", include, "-nostdlib", "-o", output}
	start := "crt1.o"
	switch {
	case pie:
		start = "rcrt1.o"
		command = append(command, "-static-pie", "-fPIE")
	case static:
		command = append(command, "-static", "-no-pie", "-fno-pie")
	default:
		command = append(command, "-no-pie", "-fno-pie", "-Wl,-dynamic-linker,/lib/ld-musl-x86_64.so.1")
	}
	libraries := []string{"-L" + library, "-l:libc.a"}
	if !static && !pie {
		libraries = []string{filepath.Join(packages(t), "musl", "lib", "x86_64-linux-musl", "libc.so")}
	}
	command = append(command, filepath.Join(library, start), filepath.Join(library, "crti.o"), "main.c")
	command = append(append(command, libraries...), "-lgcc", filepath.Join(library, "crtn.o"))
	return build(t, nil, output, command...)
}

func withByte(content []byte, at int, value byte) []byte {
	content = bytes.Clone(content)
	content[at] = value
	return content
}

// withBuildInfo gives a program the section that says how another was built by Go.
func withBuildInfo(t *testing.T, program, other []byte) []byte {
	t.Helper()
	const name = ".go.buildinfo"
	dir := t.TempDir()
	section, input, output := filepath.Join(dir, "section"), filepath.Join(dir, "input"), filepath.Join(dir, "output")
	run := func(content []byte, arguments ...string) {
		t.Helper()
		testfile.Write(t, input, content)
		if text, err := exec.CommandContext(t.Context(), "objcopy", append(arguments, input, output)...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	run(other, "--dump-section="+name+"="+section)
	run(program, "--add-section="+name+"="+section, "--set-section-flags="+name+"=alloc,data", "--set-section-alignment="+name+"=16")
	return testfile.Read(t, output)
}

func TestWhatDebianPackages(t *testing.T) {
	glibc := layer{files: glibcFiles(t)}
	musl := packageFiles(t, "musl")
	dynamic := file{path: "bin/app", content: buildMusl(t, cLookup, false, false)}
	static := file{path: "bin/app", content: buildMusl(t, cLookup, true, false)}
	staticPIE := file{path: "bin/app", content: buildMusl(t, cLookup, true, true)}
	withCAres := file{path: "bin/node", content: buildMusl(t, cAres, true, false)}
	init := file{path: "sbin/init", content: buildMusl(t, cHello, true, false)}
	goStatic := file{path: "usr/bin/app", content: buildGo(t, goLookup, "CGO_ENABLED=0")}
	busyboxStatic, busybox := packageFiles(t, "busybox-static"), packageFiles(t, "busybox")
	perl, tini := packageFiles(t, "libnet-dns-perl"), packageFiles(t, "tini")
	libc := slices.IndexFunc(musl, func(f file) bool { return strings.HasSuffix(f.path, "/libc.so") })
	over := func(files ...file) v1.Image { return image(t, amd64, nil, glibc, layer{files: files}) }
	const library = "lib/x86_64-linux-musl/"
	linked := slices.Concat(musl, []file{{path: "opt/kept", hardlink: musl[libc].path}})
	deleted := []file{{path: "lib/.wh.ld-musl-x86_64.so.1"}, {path: library + ".wh.libc.so"}, {path: "usr/lib/.wh.x86_64-linux-musl"}}

	if loader := slices.IndexFunc(musl, func(f file) bool { return strings.Contains(f.path, "ld-musl-") }); loader < 0 || libc < 0 {
		t.Fatal("the package of musl has no loader")
	}
	tryCases(t, server(t, nil), map[string]imageCase{
		"musl alone":                            {linux(t, append(slices.Clone(musl), dynamic)...), "musl", nil, ""},
		"musl's program without its loader":     {linux(t, dynamic), "musl", nil, "asks for musl's loader"},
		"Debian and its package of musl":        {over(musl...), "musl", nil, ""},
		"Debian and a static program of musl":   {over(static), "musl", nil, "as musl does"},
		"Debian and a static PIE of musl":       {over(staticPIE), "musl", nil, "as musl does"},
		"Debian and musl with c-ares, static":   {over(withCAres), "", nil, "not glibc's"},
		"Debian and a static init":              {over(init), "glibc", nil, ""},
		"a static program of musl alone":        {linux(t, static), "musl", nil, ""},
		"musl with c-ares, static, alone":       {linux(t, withCAres), "", nil, ""},
		"musl's program with another order":     {over(file{path: "bin/app", content: withByte(static.content, 5, 2)}), "musl", nil, "as musl does"},
		"musl's program with Go's information":  {over(file{path: "bin/app", content: withBuildInfo(t, static.content, goStatic.content)}), "go-cgo", nil, "does not have Go's runtime"},
		"a static program that joins the name":  {over(file{path: "bin/app", content: bytes.ReplaceAll(static.content, []byte("/etc/resolv.conf"), []byte("/xyz/resolv.conf"))}), "musl", nil, "as musl does"},
		"a packed program of musl beside":       {over(file{path: "bin/app", content: withoutSections(static.content)}), "", nil, "packed"},
		"Go beside a static program of musl":    {linux(t, goStatic, static), "musl", nil, ""},
		"Go and a static init of musl":          {linux(t, goStatic, init), "", nil, "not Go's"},
		"musl was deleted":                      {image(t, amd64, nil, glibc, layer{files: musl}, layer{files: deleted}), "glibc", nil, ""},
		"musl was deleted but for a hard link":  {image(t, amd64, nil, glibc, layer{files: linked}, layer{files: deleted}), "musl", nil, ""},
		"musl was linked by an upper layer":     {image(t, amd64, nil, glibc, layer{files: musl}, layer{files: []file{{path: "opt/kept", hardlink: musl[libc].path}}}, layer{files: deleted}), "musl", nil, ""},
		"musl under another name":               {over(file{path: "opt/lib/libc.so", content: musl[libc].content}), "musl", nil, ""},
		"BusyBox of glibc, static":              {linux(t, busyboxStatic...), "", nil, "not Go's"},
		"Debian and BusyBox, static":            {over(busyboxStatic...), "glibc", nil, ""},
		"Debian and BusyBox":                    {over(busybox...), "glibc", nil, ""},
		"Debian and tini, static and not":       {over(tini...), "glibc", nil, ""},
		"Go and tini":                           {linux(t, append(slices.Clone(tini), goStatic)...), "", nil, ""},
		"Debian and Net::DNS":                   {over(perl...), "glibc net-dns", nil, ""},
		"musl and Net::DNS":                     {image(t, amd64, nil, layer{files: musl}, layer{files: perl}), "musl net-dns", nil, ""},
		"Debian on one platform, musl on other": {index(t, image(t, amd64, nil, glibc), image(t, "linux/arm64", nil, layer{files: musl})), "musl", nil, ""},
		"for 32 bits":                           {linux(t, file{path: "app", content: buildGo(t, goHello, "CGO_ENABLED=0", "GOARCH=386")}), "go", nil, ""},
		"big-endian":                            {linux(t, file{path: "app", content: buildGo(t, goHello, "CGO_ENABLED=0", "GOARCH=s390x")}), "go", nil, ""},
	})
}
