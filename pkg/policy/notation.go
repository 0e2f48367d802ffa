package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kyaml "sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/pkg/shape"
	"github.com/shorthop/shorthop/pkg/yamlstream"
)

// notation finds what the YAML library takes for something else than a person
// who reads the policy does. Each is an error:
//
//	line breaks that editors do not show     # reviewed<CR>  mode: Off
//	characters that turn the direction of text
//	keys that are no strings                 on, 1, null, {{ x }}
//	keys that are there twice                "a" and a
//	merge keys                               <<: *base
//	tags                                     !!binary T2Zm
//	numbers that are not plain decimal       010, 0x1f, 1_000, 1e3, .inf
//	words in the place of strings that YAML takes for true or false
//	                                         on, y, no; but for mode: Off
//	aliases that expand to more than a policy can have
//
// Aliases as such are taken. Of JSON only the direction of text is asked about:
// the rest is no JSON.
type notation struct {
	*faults
	// first is the line of the file that the document begins on.
	first   int
	fields  map[reflect.Type]map[string]reflect.Type
	decoded map[string]string // see asJSON
}

// oddBreaks end a line, and with it a comment, for the YAML library.
var oddBreaks = map[rune]string{
	'\r': "a carriage return without a line feed", '\u0085': "U+0085", '\u2028': "U+2028", '\u2029': "U+2029",
}

// turns reports whether what follows a character is shown in another order.
func turns(r rune) bool { return '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069' }

// checkNotation reports whether the document can be read all the same: its text
// is what it seems, and its size is bounded.
func (f *faults) checkNotation(d yamlstream.Document) (readable bool) {
	n := &notation{faults: f, first: d.Line, fields: map[reflect.Type]map[string]reflect.Type{}, decoded: map[string]string{}}
	if n.text(d); len(n.errs) > 0 || d.JSON {
		return len(n.errs) == 0
	}
	var root yaml.Node
	if err := yaml.Unmarshal(d.Text, &root); err != nil || len(root.Content) == 0 {
		return true // the conversion says why
	}
	if size := (expansion{nodes: map[*yaml.Node]int{}, limit: f.limit}).of(&root); size > f.limit {
		n.add("", fmt.Errorf("too large: its aliases expand to more than the %d bytes that %s %s has at most", f.limit, f.a, f.what))
		return false
	}
	n.node(root.Content[0], f.document, nil)
	return true
}

// text looks at characters. What it finds once it does not look for again.
func (n *notation) text(d yamlstream.Document) {
	line, brk, turn := d.Line, false, false
	for i := 0; i < len(d.Text); {
		r, size := utf8.DecodeRune(d.Text[i:])
		i += size
		switch name, odd := oddBreaks[r]; {
		case r == '\n':
			line++
		case r == '\r' && i < len(d.Text) && d.Text[i] == '\n':
		case odd && !brk && !d.JSON:
			brk = true
			n.add("", fmt.Errorf("line %d: %s ends the line for YAML and not for who reads it: what follows a comment would be policy; use line feeds (in quotes, an escape)", line, name))
		case turns(r) && !turn:
			turn = true
			n.add("", fmt.Errorf("line %d: U+%04X changes the order in which text is shown: what is read is not what is seen; remove it", line, r))
		}
	}
}

func (n *notation) invalid(at *field.Path, node *yaml.Node, value, why string) {
	n.add(orDocument(at), fmt.Errorf("%s: Invalid value: %q: on line %d: %s", orDocument(at), printable.Cut(value, maxWritten), n.line(node), why))
}

// maxWritten is how much of a value an error repeats.
const maxWritten = 64

func (n *notation) line(node *yaml.Node) int { return n.first + node.Line - 1 }

// node walks through a value that is to become a t, which is nil where nothing
// is known of it. Aliases are not followed: what they stand for is met where it
// stands.
func (n *notation) node(node *yaml.Node, t reflect.Type, at *field.Path) {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if node.Style&yaml.TaggedStyle != 0 {
		n.invalid(at, node, node.Tag, "tags are not allowed: they make something else of what is written")
	}
	switch node.Kind {
	case yaml.MappingNode:
		n.mapping(node, t, at)
	case yaml.SequenceNode:
		var element reflect.Type
		if t != nil && t.Kind() == reflect.Slice {
			element = t.Elem()
		}
		for i, item := range node.Content {
			n.node(item, element, at.Index(i))
		}
	case yaml.ScalarNode:
		if isPlain(node) && node.Style&yaml.TaggedStyle == 0 {
			n.plain(node, t, at)
		}
	case yaml.DocumentNode, yaml.AliasNode:
	}
}

// plain looks at a scalar without quotes.
func (n *notation) plain(node *yaml.Node, t reflect.Type, at *field.Path) {
	switch {
	case n.isOddNumber(node.Value):
		n.invalid(at, node, node.Value, "numbers must be plain decimal integers; put it in quotes if it is text")
	case t != nil && t.Kind() == reflect.String && hiddenBoolean.MatchString(node.Value):
		if value := n.asJSON(node.Value); t != reflect.TypeFor[Mode]() || value != "false" {
			n.invalid(at, node, node.Value, "YAML takes it for "+value+"; put it in quotes")
		}
	}
}

func (n *notation) mapping(node *yaml.Node, t reflect.Type, at *field.Path) {
	var element reflect.Type
	var fields map[string]reflect.Type
	isMap := t != nil && t.Kind() == reflect.Map
	if isMap {
		element = t.Elem()
	} else if t != nil {
		fields = n.fieldsOf(t)
	}
	lines := make(map[string]int, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			why := "keys must be strings, this is no scalar"
			if key.Kind == yaml.MappingNode && key.Style&yaml.FlowStyle != 0 {
				why = "looks like a template: " + yamlstream.RenderFirst
			}
			n.add(orDocument(at), fmt.Errorf("%s: on line %d: %s", orDocument(at), n.line(node.Content[i]), why))
			continue
		}
		name, why := n.key(key)
		child, childType := at.Child(name), fields[name]
		if isMap {
			child, childType = at.Key(name), element
		}
		if why != "" {
			n.add(child.String(), fmt.Errorf("%s: key %q on line %d: %s", orDocument(at), printable.Cut(key.Value, maxWritten), n.line(node.Content[i]), why))
		}
		if first, twice := lines[name]; twice {
			n.add(child.String(), fmt.Errorf("%s: there twice, on lines %d and %d", child, first, n.line(node.Content[i])))
		} else {
			lines[name] = n.line(node.Content[i])
		}
		n.node(value, childType, child)
	}
}

// key returns a key as the JSON has it, and why it cannot be one.
func (n *notation) key(key *yaml.Node) (name, why string) {
	switch {
	case key.Style&yaml.TaggedStyle != 0:
		return key.Value, "tags are not allowed: they make something else of what is written"
	case !isPlain(key):
	case key.Value == "<<":
		return key.Value, "merge keys are not allowed: write out what holds"
	default:
		if text := n.asJSON(key.Value); !strings.HasPrefix(text, `"`) {
			return text, "keys must be strings; put it in quotes"
		}
	}
	return key.Value, ""
}

func orDocument(at *field.Path) string {
	if at == nil {
		return "the document"
	}
	return at.String()
}

// isPlain reports whether a scalar is written without quotes.
func isPlain(node *yaml.Node) bool {
	return node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

var (
	plainDecimal = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	// hiddenBoolean is the booleans of YAML 1.1 that do not look like one.
	hiddenBoolean = regexp.MustCompile(`^(y|Y|yes|Yes|YES|n|N|no|No|NO|on|On|ON|off|Off|OFF)$`)
	// perhapsNumber has every number of YAML 1.1 and 1.2, and some words.
	perhapsNumber = regexp.MustCompile(`^[-+]?(\.?[0-9][-+0-9a-zA-Z_]*(\.[-+0-9a-zA-Z_]*)?|\.[iInN][a-zA-Z]*)$`)
)

// isOddNumber reports whether the library takes a plain scalar for a number that
// is not plain decimal.
func (n *notation) isOddNumber(value string) bool {
	if plainDecimal.MatchString(value) || !perhapsNumber.MatchString(value) {
		return false
	}
	text := n.asJSON(value)
	return text == "" || text[0] == '-' || '0' <= text[0] && text[0] <= '9'
}

// asJSON is what the library makes of a plain scalar; empty for what JSON does
// not have, such as infinity.
func (n *notation) asJSON(value string) string {
	text, found := n.decoded[value]
	if !found {
		asJSON, _ := kyaml.YAMLToJSON([]byte(value)) // nil where it fails
		text = string(bytes.TrimSpace(asJSON))
		n.decoded[value] = text
	}
	return text
}

func (n *notation) fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields, found := n.fields[t]
	if !found && !reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		fields = shape.Fields(t)
		n.fields[t] = fields
	}
	return fields
}

// expansion is how many bytes nodes have with their aliases expanded, counted
// once for each.
type expansion struct {
	nodes map[*yaml.Node]int
	limit int
}

// of counts up to a little more than the limit. What contains itself is left to
// the conversion.
func (e expansion) of(node *yaml.Node) int {
	size, known := e.nodes[node]
	if known {
		return size
	}
	e.nodes[node] = 0
	size = len(node.Value)
	if node.Alias != nil {
		size = e.of(node.Alias)
	}
	for _, child := range node.Content {
		if size += 1 + e.of(child); size > e.limit {
			break
		}
	}
	e.nodes[node] = size
	return size
}
