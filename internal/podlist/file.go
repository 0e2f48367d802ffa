package podlist

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/shorthop/shorthop/pkg/yamlstream"
)

// Decode calls each for every object of a file, in whatever shape people keep them. JSON
// is read as it comes in, and not held. On an error some objects have been read.
//
//	JSON                                  each
//	{"items": [...]}                      item, and theirs if they are lists; those without
//	                                      a kind are of the list's, which stands before them
//	[...]                                 element, and theirs
//	any other object                      itself
//	several, with or without line breaks  of all of them
//	YAML, in one document or several      the same
func Decode[P any](r io.Reader, each func(*P)) error {
	b := bufio.NewReader(r)
	for {
		start, err := b.Peek(1)
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		switch start[0] {
		case ' ', '\t', '\r', '\n':
			_, _ = b.ReadByte()
			continue
		case 0xef: // a byte order mark
			if mark, _ := b.Peek(3); string(mark) == "\xef\xbb\xbf" {
				_, _ = b.Discard(3)
				continue
			}
		case '{', '[':
			return decodeJSON(b, each)
		}
		return decodeYAML(b, each)
	}
}

func decodeJSON[P any](r io.Reader, each func(*P)) error {
	decoder := newDecoder(r)
	for {
		err := value(decoder, each, "", 0)
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("behind byte %d: %w", decoder.InputOffset(), err)
		}
	}
}

func newDecoder(r io.Reader) *jsontext.Decoder {
	return jsontext.NewDecoder(r, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

func decodeYAML[P any](r io.Reader, each func(*P)) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	for _, d := range yamlstream.SplitManifests(data) {
		asJSON, err := d.ToJSON()
		if err != nil {
			if asJSON, err = d.ToJSONLastCounts(); err != nil {
				return fmt.Errorf("line %d: %w", d.Line, err)
			}
		}
		if string(asJSON) == "null" {
			continue
		}
		if err := value(newDecoder(bytes.NewReader(kindFirst(asJSON))), each, "", 0); err != nil {
			return fmt.Errorf("line %d: %w", d.Line, err)
		}
	}
	return nil
}

// kindFirst lets the kind of an object that YAML has stand before its items: its keys are
// sorted.
func kindFirst(object []byte) []byte {
	var of struct {
		Kind string `json:"kind"`
	}
	if json.Unmarshal(object, &of) != nil || itemKind(jsontext.Value(of.Kind)) == "" {
		return object
	}
	return slices.Concat([]byte(`{"kind":"`+of.Kind+`",`), object[1:])
}

var (
	errKindBehind = errors.New("a list of one kind that stands behind its items: let the kind stand first")
	errNoObject   = errors.New("want objects")
	errTooDeep    = errors.New("lists in lists in lists")
)

// maxLists is how often lists may be in lists.
const maxLists = 8

// value reads an object, or a list of some. kind is that of objects that have none.
func value[P any](d *jsontext.Decoder, each func(*P), kind string, depth int) error {
	switch next := d.PeekKind(); {
	case depth > maxLists:
		return errTooDeep
	case next == jsontext.KindBeginArray:
		return elements(d, each, kind, depth)
	case next == jsontext.KindBeginObject:
		return object(d, each, kind, depth)
	case next == jsontext.KindInvalid: // or the end
		_, err := d.ReadToken()
		return err
	}
	return errNoObject
}

func elements[P any](d *jsontext.Decoder, each func(*P), kind string, depth int) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() != jsontext.KindEndArray {
		if err := value(d, each, kind, depth+1); err != nil {
			return unexpectedEnd(err)
		}
	}
	_, err := d.ReadToken()
	return err
}

// object reads an object of which it is not known yet whether it is a list. What comes
// before its items is kept; items before the rest are handed on as they come.
func object[P any](d *jsontext.Decoder, each func(*P), kind string, depth int) error {
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	text := []byte("{")
	isList, hasKind, handedOn := false, false, 0
	ofItems := "" // the kind of items that have none, where it is known before them
	for d.PeekKind() != jsontext.KindEndObject {
		name, err := d.ReadValue()
		if err != nil {
			return unexpectedEnd(err)
		}
		name = name.Clone()
		if string(name) == `"items"` && d.PeekKind() == jsontext.KindBeginArray {
			isList = true
			if err := elements(d, func(p *P) { handedOn++; each(p) }, ofItems, depth); err != nil {
				return unexpectedEnd(err)
			}
			continue
		}
		member, err := d.ReadValue()
		if err != nil {
			return unexpectedEnd(err)
		}
		if string(name) == `"kind"` {
			hasKind = true
			if of := itemKind(member); of != "" && of != ofItems {
				if handedOn > 0 && of != podKind {
					return errKindBehind
				}
				ofItems = of
			}
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(append(append(text, name...), ':'), member...)
	}
	if _, err := d.ReadToken(); err != nil || isList {
		return err
	}
	if !hasKind && kind != "" {
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(append(append(text, `"kind":"`...), kind...), '"')
	}
	p := new(P)
	if err := json.Unmarshal(append(text, '}'), p, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
		return err
	}
	each(p)
	return nil
}

const podKind = "Pod"

// itemKind is the kind of the items of a list, by the list's: the API server leaves it out
// of each item where one kind is asked for. It is "" for a list of several kinds, and where
// it is no plain word.
func itemKind(member jsontext.Value) string {
	of, is := strings.CutSuffix(string(bytes.Trim(member, `"`)), "List")
	if !is || strings.IndexFunc(of, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) >= 0 {
		return ""
	}
	return of
}

// unexpectedEnd tells the end in the middle of something from that of a file.
func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
