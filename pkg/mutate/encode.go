package mutate

import (
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"gomodules.xyz/jsonpatch/v2"
)

// AppendJSON appends the operations as a JSON Patch document (RFC 6902). The
// same operations give the same bytes.
func AppendJSON(dst []byte, ops []jsonpatch.Operation) ([]byte, error) {
	dst = append(dst, '[')
	for i := range ops {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendOperation(dst, &ops[i]); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func appendOperation(dst []byte, op *jsonpatch.Operation) ([]byte, error) {
	dst = append(dst, `{"op":"`...)
	dst = append(dst, op.Operation...) // one of add, replace, remove
	dst = append(dst, `","path":`...)
	dst, err := jsontext.AppendQuote(dst, op.Path)
	if err != nil {
		return nil, err
	}
	if op.Value != nil {
		dst = append(dst, `,"value":`...)
		// The record is the longest value, and a string as most are.
		if text, ok := op.Value.(string); ok && utf8.ValidString(text) {
			if dst, err = jsontext.AppendQuote(dst, text); err != nil {
				return nil, err
			}
			return append(dst, '}'), nil
		}
		value, err := json.Marshal(op.Value, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
		if err != nil {
			return nil, err
		}
		dst = append(dst, value...)
	}
	return append(dst, '}'), nil
}
