// Package test_test holds what no package can say about itself.
package test_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/shorthop/shorthop"

// layers says for every part of the repository what it may import of the
// others. A path stands for itself and everything below it; the longest one
// that fits a package is its layer. Imports of test files do not count.
//
//	cmd -> internal -> pkg/mutate -> pkg/policy -> pkg/printable
var layers = map[string][]string{
	"cmd":              {"internal", "pkg"},
	"internal":         {"internal", "pkg"},
	"pkg/advisor":      {"pkg/policy", "pkg/printable", "pkg/resolver", "pkg/resolverhint"},
	"pkg/mutate":       {"pkg/policy"},
	"pkg/policy":       {"pkg/printable", "pkg/shape", "pkg/yamlstream"},
	"pkg/printable":    nil,
	"pkg/resolver":     nil,
	"pkg/resolverhint": nil,
	"pkg/shape":        {"pkg/printable", "pkg/yamlstream"},
	"pkg/yamlstream":   nil,
	"test":             {"test", "internal", "pkg"},
}

// Packages that pkg/ must not import: not even through others, and not itself.
var (
	neverBehindPkg = []string{
		module + "/internal", module + "/cmd", module + "/test",
		"sigs.k8s.io/controller-runtime", "k8s.io/client-go", "go.uber.org/zap",
	}
	neverInPkg = []string{"net/http", "os", "os/exec", "os/signal", "log", "log/slog", "k8s.io/klog"}
)

type goPackage struct {
	ImportPath string
	Standard   bool
	Module     *struct{ Path string }
	Imports    []string
	Deps       []string
}

// packages lists the packages of the repository and all that they need, by
// import path.
func packages(t *testing.T) map[string]goPackage {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Standard,Module,Imports,Deps", module+"/...")
	out, err := command.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("%v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	all := map[string]goPackage{}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// inside reports whether a package is path or below it.
func inside(importPath, path string) bool {
	return importPath == path || strings.HasPrefix(importPath, path+"/")
}

// layerOf finds a package's layer. ok is false for one outside the repository
// and for one that the table above does not know.
func layerOf(importPath string) (layer string, ok bool) {
	for path := range layers {
		if inside(importPath, module+"/"+path) && len(path) > len(layer) {
			layer = path
		}
	}
	return layer, layer != ""
}

func TestArrows(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range packages(t) {
		if !inside(p.ImportPath, module) {
			continue
		}
		layer, ok := layerOf(p.ImportPath)
		if !ok {
			t.Errorf("%s is in no layer: add it to the table", p.ImportPath)
			continue
		}
		seen[layer] = true
		for _, imported := range p.Imports {
			if !inside(imported, module) {
				continue
			}
			to, _ := layerOf(imported)
			allowed := slices.ContainsFunc(layers[layer], func(path string) bool { return inside(imported, module+"/"+path) })
			if !allowed && to != layer {
				t.Errorf("%s imports %s: %s may import %v", p.ImportPath, imported, layer, layers[layer])
			}
		}
	}
	for _, layer := range []string{"internal", "pkg/mutate", "pkg/policy", "pkg/resolver", "test"} {
		if !seen[layer] {
			t.Errorf("no package in %s", layer)
		}
	}
}

func TestPkgIsPure(t *testing.T) {
	t.Parallel()
	found := 0
	for _, p := range packages(t) {
		if !inside(p.ImportPath, module+"/pkg") {
			continue
		}
		found++
		for _, path := range neverBehindPkg {
			for _, dependency := range p.Deps {
				if inside(dependency, path) {
					t.Errorf("%s needs %s", p.ImportPath, dependency)
				}
			}
		}
		for _, imported := range p.Imports {
			if slices.ContainsFunc(neverInPkg, func(path string) bool { return inside(imported, path) }) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
	if found == 0 {
		t.Error("no package in pkg/")
	}
}

// rooms are packages of internal/ that keep to one thing: what each must not
// need, not even through others, and what it must not import itself.
var rooms = map[string]struct{ need, imports []string }{
	// Data in, data out: flags, files and text are internal/cli's.
	"internal/explain":  {roomsOfData, neverInPkg},
	"internal/manifest": {roomsOfData, neverInPkg},
	// Streams in, a verdict out.
	"internal/rootfs": {append([]string{"github.com/google/go-containerregistry", "net"}, roomsOfData...), neverInPkg},
	// It decides nothing.
	"internal/cli": {nil, []string{module + "/pkg/mutate"}},
	// Images are the operator's to read.
	"cmd/webhook": {[]string{module + "/internal/images", "github.com/google/go-containerregistry", "github.com/docker"}, nil},
}

var roomsOfData = []string{
	module + "/internal/cli", "github.com/spf13/cobra", "sigs.k8s.io/controller-runtime", "k8s.io/client-go", "go.uber.org/zap",
}

func TestRoomsKeepToOneThing(t *testing.T) {
	t.Parallel()
	all := packages(t)
	for path, never := range rooms {
		room, ok := all[module+"/"+path]
		if !ok {
			t.Errorf("no package %s", path)
		}
		for _, dependency := range room.Deps {
			if slices.ContainsFunc(never.need, func(path string) bool { return inside(dependency, path) }) {
				t.Errorf("%s needs %s", path, dependency)
			}
		}
		for _, imported := range room.Imports {
			if slices.ContainsFunc(never.imports, func(path string) bool { return inside(imported, path) }) {
				t.Errorf("%s imports %s", path, imported)
			}
		}
	}
}

func TestResolverNeedsOnlyTheStandardLibrary(t *testing.T) {
	t.Parallel()
	all := packages(t)
	resolver, ok := all[module+"/pkg/resolver"]
	if !ok {
		t.Fatal("no package pkg/resolver")
	}
	for _, dependency := range resolver.Deps {
		if !all[dependency].Standard {
			t.Errorf("pkg/resolver needs %s", dependency)
		}
	}
}

// The test of the tests: the table tells right from wrong.
func TestLayerOf(t *testing.T) {
	t.Parallel()
	for importPath, want := range map[string]string{
		module + "/pkg/mutate":          "pkg/mutate",
		module + "/pkg/mutate/deeper":   "pkg/mutate",
		module + "/internal/admission":  "internal",
		module + "/pkg/policyfile":      "",
		module + "/cmd/webhook":         "cmd",
		module:                          "",
		"example.com/pkg/policy":        "",
		module + "-fork/pkg/policy":     "",
		module + "/test/cluster/deeper": "test",
	} {
		if got, ok := layerOf(importPath); got != want || ok != (want != "") {
			t.Errorf("layerOf(%s) is %q, %t; want %q", importPath, got, ok, want)
		}
	}
}
