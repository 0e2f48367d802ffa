package doctor

import (
	"fmt"
	"strings"

	"github.com/shorthop/shorthop/pkg/printable"
)

// oneLine makes one line of a text, as of an error with line breaks. What it
// repeats of objects, certificates and answers may be anything.
func oneLine(s string) string { return printable.Clip(strings.Join(strings.Fields(s), " ")) }

// joinSentences joins imperatives that begin in lower case.
func joinSentences(sentences []string) string { return strings.Join(sentences, "; ") }

// counted is "1 pod", "2 pods".
func counted(n int, one string) string { return plural(n, one, one+"s") }

// plural is counted for words with a plural of their own.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// some names the first few of a list.
func some(names []string) string {
	const shown = 3
	if len(names) <= shown {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
}
