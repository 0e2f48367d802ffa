package images

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/shorthop/shorthop/pkg/printable"
)

// parsed is a manifest, an index or a configuration as the library's function
// reads it. The error names what is wrong in it, where the library's names the
// types of its program.
func parsed[T any](text []byte, parse func(io.Reader) (*T, error)) (*T, error) {
	document, err := parse(bytes.NewReader(text))
	if err != nil {
		return nil, problem(fault(text, err))
	}
	return document, nil
}

// fault is what is wrong with a document, in a sentence about it.
func fault(text []byte, err error) string {
	wrong, kind := errors.AsType[*json.UnmarshalTypeError](err)
	if kind && !digests(wrong.Field[strings.LastIndexByte(wrong.Field, '.')+1:]) {
		found, _ := find(text, func(_ string, _ jsontext.Token, end int64) bool { return end >= wrong.Offset })
		return fmt.Sprintf("it has %s, where %s is due", found, due(wrong.Type))
	}
	if wrong, ok := errors.AsType[*json.SyntaxError](err); ok {
		const shown = 20
		rest := text[min(max(wrong.Offset-1, 0), int64(len(text))):]
		return fmt.Sprintf("it is not JSON from byte %d on: %s", len(text)-len(rest), printable.Quote(string(rest[:min(len(rest), shown+1)]), shown))
	}
	if wrong, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Sprintf("it has %s, where a time is due", printable.Quote(wrong.Value, printable.MaxCell))
	}
	if _, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return "it has data that is not base64"
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Sprintf("it is JSON that breaks off after %d bytes", len(text))
	}
	if found, ok := find(text, func(name string, token jsontext.Token, _ int64) bool {
		digest := ""
		switch token.Kind() {
		case '"':
			digest = token.String()
		case 'n': // which is read as no text
		default:
			return kind && digests(name) && token.Kind() != '['
		}
		_, same := v1.NewHash(digest)
		return digests(name) && same != nil && same.Error() == err.Error()
	}); ok {
		return fmt.Sprintf("it has %s, where a digest by sha256 or sha512 is due", found)
	}
	if strings.HasPrefix(err.Error(), "Time.") {
		return "it has something else than text, where a time is due"
	}
	return "it has what cannot be read: " + quoted(err.Error())
}

// digests reports whether what has a name is a digest, or a list of them.
func digests(name string) bool {
	return strings.EqualFold(name, "digest") || strings.EqualFold(name, "diff_ids")
}

// readable reports whether a digest is one that content can be compared with.
func readable(digest string) bool {
	_, err := v1.NewHash(digest)
	return err == nil
}

// value is a value in a document, and where it is.
type value struct {
	at   jsontext.Pointer
	kind jsontext.Kind
	text string
}

func (v value) String() string {
	text := printable.Cell(v.text)
	if v.kind == '"' {
		text = printable.Quote(v.text, printable.MaxCell)
	} else if whole, known := map[jsontext.Kind]string{'{': "an object", '[': "a list"}[v.kind]; known {
		text = whole
	}
	if v.at == "" {
		return text
	}
	return text + " at " + printable.Name(string(v.at))
}

// find returns the first value of a document that is the one, by the last name
// before it and where it ends: lists and objects, by where they begin.
func find(text []byte, is func(name string, token jsontext.Token, end int64) bool) (found value, ok bool) {
	decoder := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	name := ""
	for {
		token, err := decoder.ReadToken()
		if err != nil {
			return value{}, false
		}
		in, length := decoder.StackIndex(decoder.StackDepth())
		switch kind := token.Kind(); {
		case in == '{' && length%2 == 1:
			name = token.String()
			continue
		case kind != '}' && kind != ']' && is(name, token, decoder.InputOffset()):
			return value{decoder.StackPointer(), kind, token.String()}, true
		}
		if in == '{' { // in a list, the name before it is that of all its values
			name = ""
		}
	}
}

// due is what a value should have been.
func due(t reflect.Type) string {
	const number = "a whole number below 2^63"
	kinds := map[reflect.Kind]string{reflect.String: "text", reflect.Slice: "a list", reflect.Bool: "true or false", reflect.Int: number, reflect.Int64: number}
	return cmp.Or(kinds[t.Kind()], "an object")
}
