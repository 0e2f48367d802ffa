package mutate

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"gomodules.xyz/jsonpatch/v2"
)

// AppendJSON appends the operations as a JSON Patch document (RFC 6902). The
// same operations give the same bytes.
func AppendJSON(dst []byte, ops []jsonpatch.Operation) ([]byte, error) {
	buffer := bytes.NewBuffer(append(dst, '['))
	for i := range ops {
		if i > 0 {
			buffer.WriteByte(',')
		}
		if err := writeOperation(buffer, &ops[i]); err != nil {
			return nil, err
		}
	}
	buffer.WriteByte(']')
	return buffer.Bytes(), nil
}

func writeOperation(buffer *bytes.Buffer, op *jsonpatch.Operation) error {
	buffer.WriteString(`{"op":"`)
	buffer.WriteString(op.Operation) // one of add, replace, remove
	buffer.WriteString(`","path":`)
	if err := writeString(buffer, op.Path); err != nil {
		return err
	}
	if op.Value != nil {
		buffer.WriteString(`,"value":`)
		// Most values are strings, the record, which is the longest, among them: they
		// need no reflection.
		text, ok := op.Value.(string)
		if ok && utf8.ValidString(text) {
			if err := writeString(buffer, text); err != nil {
				return err
			}
		} else if err := json.MarshalWrite(buffer, op.Value, json.Deterministic(true), jsontext.AllowInvalidUTF8(true)); err != nil {
			return err
		}
	}
	buffer.WriteByte('}')
	return nil
}

func writeString(buffer *bytes.Buffer, text string) error {
	quoted, err := jsontext.AppendQuote(buffer.AvailableBuffer(), text)
	buffer.Write(quoted)
	return err
}
