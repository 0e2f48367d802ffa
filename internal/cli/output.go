package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/pkg/yamlstream"
)

// Values of -o. Not every command has all of them.
const (
	outputText      = "text"
	outputTable     = "table"
	outputJSON      = "json"
	outputYAML      = "yaml"
	outputPolicy    = "policy"    // rules
	outputResolvers = "resolvers" // comments for a policy
	outputHTML      = "html"
	outputAdvice    = "advice" // a DNSAdvice
)

// outputFlag adds -o, whose first value is the default.
func outputFlag(command *cobra.Command, allowed ...string) *choice {
	output := &choice{value: allowed[0], allowed: allowed}
	command.Flags().VarP(output, "output", "o", "output format: "+strings.Join(allowed, ", "))
	complete(command, "output", cobra.FixedCompletions(allowed, cobra.ShellCompDirectiveNoFileComp))
	return output
}

// writeJSON is for people too: indented, with <, > and & as they are, and in
// ASCII.
func writeJSON(b *bytes.Buffer, value any) error {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	b.Write(printable.JSON(encoded.Bytes()))
	return nil
}

// readsBack reports whether explain reads what it prints.
func readsBack(text []byte) bool {
	documents := yamlstream.Split(text)
	if len(documents) != 1 {
		return false
	}
	_, err := documents[0].ToJSON()
	return err == nil
}

// writeYAML writes an object as YAML. YAML has characters as they are that a
// terminal does not print, directions for example; an object with any of them
// is written in the other notation of YAML, which is JSON's, with the escapes
// of YAML. So is one that would be read as something else, for a key such as <<.
func writeYAML(b *bytes.Buffer, object []byte) error {
	prints := func(r rune) bool { return r == '\n' || unicode.IsPrint(r) }
	text, err := yaml.JSONToYAML(object) // refuses some of them itself
	if err == nil && !bytes.ContainsFunc(text, func(r rune) bool { return !prints(r) }) && readsBack(text) {
		b.Write(text)
		return nil
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, object, "", "  "); err != nil {
		return err
	}
	for _, r := range indented.String() {
		switch {
		case prints(r):
			b.WriteRune(r)
		case r > 0xffff: // not as two, as in JSON
			fmt.Fprintf(b, `\U%08x`, r)
		default:
			fmt.Fprintf(b, `\u%04x`, r)
		}
	}
	b.WriteByte('\n')
	return nil
}

// onTerminal reports whether a person sees the result as it is written.
func (s *Streams) onTerminal() bool {
	file, isFile := s.Out.(interface{ Stat() (fs.FileInfo, error) })
	if !isFile {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
