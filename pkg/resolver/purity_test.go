package resolver_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPackageIsPure holds the package to its promise: nothing but the standard
// library, nothing of it that reaches outside the process or logs, no clock and
// no package variables.
func TestPackageIsPure(t *testing.T) {
	t.Parallel()
	impure := []string{
		"context", "embed", "io/ioutil", "log", "log/slog", "math/rand", "math/rand/v2", "net", "net/http",
		"os", "os/exec", "os/signal", "os/user", "plugin", "runtime", "sync", "syscall", "unsafe",
	}
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := token.NewFileSet()
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(path, "/")
			if strings.Contains(first, ".") || slices.Contains(impure, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
		for _, declaration := range file.Decls {
			if d, ok := declaration.(*ast.GenDecl); ok && d.Tok == token.VAR {
				t.Errorf("%s: package variable", files.Position(d.Pos()))
			}
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if s, ok := node.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "time" &&
					slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "NewTimer", "NewTicker"}, s.Sel.Name) {
					t.Errorf("%s: time.%s", files.Position(s.Pos()), s.Sel.Name)
				}
			}
			return true
		})
	}
}
