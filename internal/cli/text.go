package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

// textWidth is the number of columns that text fills.
const textWidth = 100

// text is a text for a person being written, line by line. There is no other
// way to write into it than its methods, which let nothing but printable ASCII
// through, and bound lines, cells and words: whatever is in a string, it stays
// on its line and in its cell. A name that the API server does not validate goes through printable.Name
// besides, so that it is told from the words around it.
type text struct{ b *bytes.Buffer }

// line writes a line.
func (t text) line(line string) {
	t.b.WriteString(strings.TrimRight(bounded(line), " ") + "\n")
}

// bounded is what a line or a cell shows of a string.
func bounded(s string) string { return printable.Line(printable.Cut(s, printable.MaxLine)) }

// section begins a new section.
func (t text) section(title string) {
	t.line("")
	t.line(title)
}

// labelWidth is how wide the labels of labelled lines are, with their indent.
const labelWidth = 14

// labelled writes "  label   value", the value broken between words.
func (t text) labelled(label, value string) {
	t.wrapped(fmt.Sprintf("  %-*s", labelWidth-2, label), value)
}

// wrapped writes words after a prefix, and breaks lines between them. What
// follows a break is indented as the first word is. A prefix that leaves less
// than half of the line has a line of its own.
func (t text) wrapped(prefix, words string) {
	prefix = printable.Line(prefix)
	if len(prefix) > textWidth/2 {
		t.line(prefix)
		prefix = "    "
	}
	indent := strings.Repeat(" ", len(prefix))
	line := prefix
	// Only spaces part words: a line break is escaped by line.
	for i, word := range strings.FieldsFunc(printable.Line(words), func(r rune) bool { return r == ' ' }) {
		word = printable.Cut(word, printable.MaxName)
		if i > 0 && len(line)+1+len(word) > textWidth {
			t.line(line)
			line = indent + word
			continue
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	t.line(line)
}

// table is a table being written.
type table struct{ w *tabwriter.Writer }

// table begins a table, which is there after its end only.
func (t text) table(header ...string) table {
	rows := table{tabwriter.NewWriter(t.b, 0, 0, 2, ' ', 0)}
	rows.row(header...)
	return rows
}

// row writes a row.
func (r table) row(cells ...string) {
	for i, cell := range cells {
		if i > 0 {
			_, _ = r.w.Write([]byte{'\t'}) // into a buffer
		}
		_, _ = io.WriteString(r.w, bounded(cell))
	}
	_, _ = r.w.Write([]byte{'\n'})
}

func (r table) end() { _ = r.w.Flush() } // into a buffer

// workloadCell is workloadName for a table.
func workloadCell(kind, name string) string {
	return printable.Cell(strings.ToLower(kind)) + "/" + printable.Cell(name)
}

// workloadName is how a workload is called in texts: kind/name. Both come from
// an owner reference, where they may be anything.
func workloadName(kind, name string) string {
	return printable.Name(strings.ToLower(kind)) + "/" + printable.Name(name)
}

// names are printable.Name of several.
func names(list []string) []string {
	quoted := make([]string, 0, len(list))
	for _, name := range list {
		quoted = append(quoted, printable.Name(name))
	}
	return quoted
}

// shellCommand is a command as a shell reads it.
func shellCommand(arguments []string) string {
	words := make([]string, 0, len(arguments))
	for _, argument := range arguments {
		if printable.Name(argument) != argument { // not a plain word, but for quotes
			argument = "'" + strings.ReplaceAll(argument, "'", `'\''`) + "'"
		}
		words = append(words, argument)
	}
	return strings.Join(words, " ")
}

// messages is standard error: one line each, and nothing on it but printable
// ASCII, whoever writes to it. Tabs are cobra's.
type messages struct{ io.Writer }

func (m messages) Write(p []byte) (int, error) {
	escaped := make([]byte, 0, len(p))
	for at := 0; at < len(p); {
		_, size := utf8.DecodeRune(p[at:])
		if c := p[at : at+size]; c[0] == '\n' || c[0] == '\t' {
			escaped = append(escaped, c...)
		} else {
			escaped = append(escaped, printable.Line(string(c))...)
		}
		at += size
	}
	if _, err := m.Writer.Write(escaped); err != nil {
		return 0, err
	}
	return len(p), nil
}

// remark writes a line to standard error beside a command's result. What it
// repeats may be of any length, and hold anything.
func (s *Streams) remark(format string, args ...any) {
	fmt.Fprintf(s.Err, "%s: %s\n", programName, printable.Clip(fmt.Sprintf(format, args...)))
}

// ofWorkload is the qualified kind and the name of a workload in a sentence.
func ofWorkload(w policy.Workload) string {
	return printable.Name(w.QualifiedKind()) + " " + printable.Name(w.Name)
}
