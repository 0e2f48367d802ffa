// Package policytypes reads the types of the policy's document (types.go and
// types_*.go in pkg/policy), of which the chart's schema and the page about the
// policy are generated.
package policytypes

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
)

// Types are those of the policy document, by name.
type Types struct {
	Structs map[string]Struct
	// Enums are the string types with their constants.
	Enums map[string][]Value
}

// Struct is an object of the document.
type Struct struct {
	Doc    string
	Fields []Field
}

// Field is a field of an object.
type Field struct {
	// Name in Go, and in the document.
	Name, Key string
	Type      ast.Expr
	Doc       string
	// Required is true for a field that a policy must have: its tag has no omitzero.
	Required bool
}

// Value is one value of an enumeration.
type Value struct {
	// Name in Go.
	Name string
	Text string
	Doc  string
}

// Parse reads a file such as types.go, and the files beside it that continue it
// (types_*.go).
func Parse(file string) (*Types, error) {
	more, err := filepath.Glob(strings.TrimSuffix(file, ".go") + "_*.go")
	if err != nil {
		return nil, fmt.Errorf("parse the policy's types: %w", err)
	}
	types := &Types{Structs: map[string]Struct{}, Enums: map[string][]Value{}}
	for _, file := range append([]string{file}, more...) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err == nil {
			err = types.addFile(parsed)
		}
		if err != nil {
			return nil, fmt.Errorf("parse the policy's types: %w", err)
		}
	}
	return types, nil
}

func (types *Types) addFile(parsed *ast.File) error {
	for _, declaration := range parsed.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range general.Specs {
			var err error
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				err = types.addType(spec, oneLine(general.Doc))
			case *ast.ValueSpec:
				doc := spec.Doc
				if doc == nil && !general.Lparen.IsValid() {
					doc = general.Doc
				}
				err = types.addValue(spec, oneLine(doc))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (types *Types) addType(spec *ast.TypeSpec, doc string) error {
	name := spec.Name.Name
	structure, ok := spec.Type.(*ast.StructType)
	if !ok {
		types.Enums[name] = nil
		return nil
	}
	s := Struct{Doc: doc}
	for _, field := range structure.Fields.List {
		tag, err := strconv.Unquote(field.Tag.Value)
		if err != nil {
			return err
		}
		key, options, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
		if key == "" { // inlined
			continue
		}
		s.Fields = append(s.Fields, Field{
			Name: field.Names[0].Name, Key: key, Type: field.Type, Doc: oneLine(field.Doc), Required: options == "",
		})
	}
	types.Structs[name] = s
	return nil
}

func (types *Types) addValue(spec *ast.ValueSpec, doc string) error {
	enum, ok := spec.Type.(*ast.Ident)
	if !ok {
		return nil // of no type of the document
	}
	text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
	if err != nil {
		return err
	}
	types.Enums[enum.Name] = append(types.Enums[enum.Name], Value{spec.Names[0].Name, text, doc})
	return nil
}

func oneLine(comment *ast.CommentGroup) string {
	return strings.Join(strings.Fields(comment.Text()), " ")
}
