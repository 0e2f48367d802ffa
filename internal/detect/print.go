package detect

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/printable"
)

// commentWidth is the number of columns that comments fill.
const commentWidth = 120

// Document is what detect prints as JSON. Fields are only ever added.
type Document struct {
	Server  string         `json:"server"`
	Flavour string         `json:"flavour"`
	Values  map[string]any `json:"values"`
	// Reasons has why, by the path of a value as --set takes it.
	Reasons  map[string]string `json:"reasons"`
	Findings []Finding         `json:"findings"`
	Unknown  []Unknown         `json:"unknown"`
}

// Document returns a result as data.
func (r *Result) Document() *Document {
	d := &Document{r.Server, r.Flavour, map[string]any{}, map[string]string{}, r.Findings, r.Unknown}
	for i := range r.Settings {
		s := &r.Settings[i]
		at := d.Values
		for _, key := range s.Path[:len(s.Path)-1] {
			next, isMap := at[key].(map[string]any)
			if !isMap {
				next = map[string]any{}
				at[key] = next
			}
			at = next
		}
		at[s.Path[len(s.Path)-1]] = s.Value
		d.Reasons[strings.Join(s.Path, ".")] = s.Why
	}
	return d
}

// YAML returns a result as a file of values: a reason above every value, and what
// was found and could not be found out as comments. Values are written as JSON,
// which is YAML, so that nothing in them is read as anything else.
func (r *Result) YAML() ([]byte, error) {
	p := &printer{}
	p.comment("", "Values for the chart of Shorthop, for the cluster at "+r.Server+", by `kubectl shorthop detect`.")
	p.line("#")
	for _, f := range r.Findings {
		mark := ""
		if f.Problem {
			mark = "PROBLEM: "
		}
		p.comment("", "- "+f.About+": "+mark+f.Found)
		if f.Set != "" {
			p.comment("", "  not set, as it is yours to decide: --set "+f.Set)
		}
		for _, line := range f.Block {
			p.line("#       " + line)
		}
	}
	if len(r.Unknown) > 0 {
		p.line("#")
		p.line("# Could not be found out:")
		for _, u := range r.Unknown {
			p.comment("", "- "+u.About+": "+u.Why+"; to find out: "+u.How)
		}
	}
	if err := p.settings(r.Settings, 0); err != nil {
		return nil, err
	}
	if len(r.Settings) == 0 {
		p.line("{}")
	}
	return []byte(p.b.String()), nil
}

type printer struct{ b strings.Builder }

func (p *printer) line(text string) { p.b.WriteString(text + "\n") }

// settings prints those that have the same first keys, in the order in which keys
// come first.
func (p *printer) settings(settings []Setting, depth int) error {
	indent := strings.Repeat("  ", depth)
	var keys []string
	for i := range settings {
		if key := settings[i].Path[depth]; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		var below []Setting
		for i := range settings {
			s := &settings[i]
			if s.Path[depth] != key {
				continue
			}
			if len(s.Path) > depth+1 {
				below = append(below, *s)
				continue
			}
			value, err := json.Marshal(s.Value)
			if err != nil {
				return err
			}
			p.comment(indent, s.Why)
			p.line(indent + key + ": " + string(printable.JSON(value)))
		}
		if len(below) > 0 {
			p.line(indent + key + ":")
			if err := p.settings(below, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// comment prints a text, which is on lines of comments whatever is in it.
func (p *printer) comment(indent, text string) {
	prefix := indent + "# "
	line := prefix
	list := ""
	if strings.HasPrefix(text, "- ") || strings.HasPrefix(text, "  ") {
		list, line = "  ", prefix+text[:2]
		text = text[2:]
	}
	started := false
	for word := range strings.FieldsSeq(printable.Clip(text)) {
		if started && len(line)+1+len(word) > commentWidth {
			p.line(line)
			line, started = prefix+list, false
		}
		if started {
			line += " "
		}
		line += word
		started = true
	}
	p.line(line)
}
