package yamlstream

import (
	"bytes"
	"fmt"
	"regexp"
)

// RenderFirst is what to do with a template.
const RenderFirst = "render it first"

// marks begin what template engines replace: Helm, Go, Jinja, Mustache; Jinja;
// ERB.
var marks = []string{"{{", "{%", "<%"}

// Template says that a document looks like a template, for one that cannot be
// read. Empty where it does not: no mark of a template engine is in it but in
// quotes, where YAML and JSON have texts, and in comments.
func (d Document) Template() string {
	line := d.Line
	for text := range bytes.Lines(d.Text) {
		if trimmed := bytes.TrimLeft(text, " \t"); len(trimmed) == 0 || trimmed[0] != '#' {
			for _, mark := range marks {
				at := bytes.Index(text, []byte(mark))
				if at >= 0 && bytes.Count(text[:at], []byte(`"`))%2 == 0 && bytes.Count(text[:at], []byte(`'`))%2 == 0 {
					return fmt.Sprintf("looks like a template: %s (%s on line %d)", RenderFirst, mark, line)
				}
			}
		}
		line++
	}
	return ""
}

// placeholder matches what envsubst, Flux, OpenShift and template engines
// replace in a value.
var placeholder = regexp.MustCompile(`\{\{.*\}\}|\$\{+[A-Za-z_][^}]*\}|\{%.*%\}|<%.*%>`)

// TemplateHint is the end of a message about a value that is no valid one; empty
// where it does not look like what a template engine replaces.
func TemplateHint(value string) string {
	if placeholder.MatchString(value) {
		return "; it looks like a template: " + RenderFirst
	}
	return ""
}
