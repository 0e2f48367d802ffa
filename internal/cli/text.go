package cli

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"golang.org/x/term"

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
type text struct {
	b *bytes.Buffer
	// width is that of the terminal, into which tables are fitted; 0: there is none,
	// and what is written may be searched by line.
	width int
}

// text begins a text for standard output.
func (s *Streams) text(b *bytes.Buffer) text { return text{b, s.width()} }

// width is that of the terminal that shows the result, 0 where none does.
func (s *Streams) width() int {
	file, isFile := s.Out.(interface{ Fd() uintptr })
	if !isFile {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

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
type table struct {
	text
	rows [][]string
}

// table begins a table, which is there after its end only.
func (t text) table(header ...string) *table {
	rows := &table{text: t}
	rows.row(header...)
	return rows
}

// row adds a row.
func (r *table) row(cells ...string) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = bounded(cell)
	}
	r.rows = append(r.rows, row)
}

// end writes the table. One that is wider than the terminal has its widest columns
// broken between words, so that each stays below its header.
func (r *table) end() {
	rows := r.rows
	if widths := naturalWidths(rows); r.width > 0 && totalWidth(widths) > r.width {
		rows = broken(rows, fitted(rows, widths, r.width))
	}
	w := tabwriter.NewWriter(r.b, 0, 0, columnGap, ' ', 0)
	for _, row := range rows {
		_, _ = io.WriteString(w, strings.Join(row, "\t")+"\n") // into a buffer
	}
	_ = w.Flush()
}

// columnGap is between two columns.
const columnGap = 2

func naturalWidths(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len(cell))
		}
	}
	return widths
}

func totalWidth(widths []int) int {
	total := columnGap * (len(widths) - 1)
	for _, width := range widths {
		total += width
	}
	return total
}

// fitted takes columns away from the widest ones, down to their longest words.
func fitted(rows [][]string, widths []int, total int) []int {
	least := make([]int, len(widths))
	for _, row := range rows {
		for i, cell := range row {
			for _, word := range breakable(cell) {
				least[i] = max(least[i], len(strings.TrimRight(word, " ")))
			}
		}
	}
	widths = slices.Clone(widths)
	for totalWidth(widths) > total {
		widest := -1
		for i, width := range widths {
			if width > least[i] && (widest < 0 || width > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break // names are never broken, so that they can be copied
		}
		widths[widest]--
	}
	return widths
}

// breakable are the parts of a cell between which it may be broken: behind blanks,
// and behind the commas of a list.
func breakable(cell string) []string {
	var parts []string
	from := 0
	for i := range len(cell) {
		if c := cell[i]; c == ' ' || c == ',' && i+1 < len(cell) && cell[i+1] != ' ' {
			parts = append(parts, cell[from:i+1])
			from = i + 1
		}
	}
	return append(parts, cell[from:])
}

// broken has a row more for each line of the cells that do not fit.
func broken(rows [][]string, widths []int) [][]string {
	var all [][]string
	for _, row := range rows {
		var lines [][]string
		for i, cell := range row {
			at, line := 0, ""
			put := func() {
				if at == len(lines) {
					lines = append(lines, make([]string, len(row)))
				}
				lines[at][i] = strings.TrimRight(line, " ")
				at, line = at+1, ""
			}
			for _, part := range breakable(cell) {
				if line != "" && len(line)+len(strings.TrimRight(part, " ")) > widths[i] {
					put()
				}
				line += part
			}
			put()
		}
		all = append(all, lines...)
	}
	return all
}

// plural is a number with its noun.
func plural(n int, one, many string) string { return countOf(int64(n), one, many) }

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
