// Package measured has what pages of measured figures share: tables, and where it was measured.
package measured

import (
	"fmt"
	"strings"
)

// Table is a Markdown table whose columns line up, as it is read on a terminal too.
type Table struct{ rows [][]string }

// NewTable returns a table without rows. The first column is aligned to the left, the others to the right.
func NewTable(header ...string) *Table { return &Table{rows: [][]string{header}} }

// Row adds a row, which has a cell for every column.
func (t *Table) Row(cells ...string) { t.rows = append(t.rows, cells) }

// Write writes the table.
func (t *Table) Write(b *strings.Builder) {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for n, row := range t.rows {
		for i, cell := range row {
			if fill := strings.Repeat(" ", widths[i]-len([]rune(cell))); i == 0 {
				b.WriteString("| " + cell + fill + " |")
			} else {
				b.WriteString(" " + fill + cell + " |")
			}
		}
		b.WriteByte('\n')
		if n > 0 {
			continue
		}
		for i, width := range widths {
			if i == 0 {
				b.WriteString("|" + strings.Repeat("-", width+2) + "|")
			} else {
				b.WriteString(strings.Repeat("-", width+1) + ":|")
			}
		}
		b.WriteByte('\n')
	}
}

// Thousands writes 12345 as 12,345.
func Thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
