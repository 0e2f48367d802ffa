// Package corefile reads the configuration of CoreDNS and of node-local caches, as
// CoreDNS itself reads it.
package corefile

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"
)

// File is a Corefile (coredns.io/manual/configuration).
type File struct {
	// From says where it is from, for errors and findings.
	From string
	// Snippet is true where Text is only the inside of the server block of ".", as
	// in files that a Corefile imports.
	Snippet bool
	Text    string
}

// Block is a server block of a Corefile: the zones it is for, and its
// plugins.
type Block struct {
	From  string
	Zones []string

	plugins map[string][]caddyfile.Token
	// snippets are those of the file, by name.
	snippets map[string]*Block
}

// Read returns the server blocks of all files, as CoreDNS's own parser sees them.
// Of a file with an error, which CoreDNS would not load, it returns the blocks before
// the error; the errors of all files are joined.
//
// A block has the plugins of the snippets that it imports. Imported files are not
// read, and variables are not replaced: {$NAME} stays as it is.
func Read(files []File) (blocks []Block, err error) {
	var problems []error
	for _, f := range files {
		read, err := f.read()
		blocks = append(blocks, read...)
		problems = append(problems, err)
	}
	return blocks, errors.Join(problems...)
}

// Left to itself, the parser would open imported files and fill in variables, both
// of the machine that it runs on, and would expand snippets however often they
// import each other. None of that may happen with the text of a ConfigMap. So the
// words that ask for it are marked before parsing, which makes them words like any
// other. Carriage returns are taken out first: the parser skips them within a word,
// so that one could hide such a word from us.
const (
	marker       = "\x00"
	markedImport = marker + "import"
)

var marks = strings.NewReplacer(marker, "\uFFFD", "import", markedImport, "(", marker+"(", "{$", "{"+marker+"$", "{%", "{"+marker+"%")

// importLine matches a line that imports. Outside of server blocks the parser would
// take it for zones of the next block, so mark gives it a block of its own.
var importLine = regexp.MustCompile(`(?m)` + markedImport + `[ \t]+("[^"\n]*"|[^\s#"]+)[ \t]*(#.*)?$`)

func mark(text string) string {
	marked := marks.Replace(strings.ReplaceAll(text, "\r", ""))
	return importLine.ReplaceAllString(marked, markedImport+" $1 { }")
}

func unmark(text string) string { return strings.ReplaceAll(text, marker, "") }

func (f *File) read() ([]Block, error) {
	text := f.Text
	if f.Snippet {
		text = ". { " + text + "\n}" // on the same line, for the line numbers of errors
	}
	parsed, err := caddyfile.Parse(f.From, strings.NewReader(mark(text)), nil)
	if err != nil {
		err = errors.New(unmark(err.Error()))
	}
	var blocks []Block
	snippets := map[string]*Block{}
	for _, p := range parsed {
		block := Block{From: f.From, plugins: p.Tokens, snippets: snippets}
		if name, isSnippet := strings.CutPrefix(unmark(p.Keys[0]), "("); isSnippet && len(p.Keys) == 1 {
			snippets[strings.TrimSuffix(name, ")")] = &block
			continue
		}
		if p.Keys[0] == markedImport {
			continue
		}
		if p.Keys[0] == "}" { // the parser takes it for a zone; CoreDNS fails, as it finds no plugin of the name that follows
			return blocks, fmt.Errorf("%s: a closing brace too many", f.From)
		}
		for _, key := range p.Keys {
			if zone := ZoneOf(unmark(key)); zone != "" {
				block.Zones = append(block.Zones, zone)
			}
		}
		blocks = append(blocks, block)
	}
	return blocks, err
}

// All returns the arguments of every use of a plugin, in the block and in the
// snippets that it imports.
func (b *Block) All(plugin string) [][]string {
	var uses [][]string
	b.each(map[*Block]bool{}, func(each *Block) { uses = append(uses, argumentsOf(each.plugins[plugin])...) })
	return uses
}

// Plugins are the names of the plugins that are used in the block and in the
// snippets that it imports, sorted.
func (b *Block) Plugins() []string {
	used := map[string]bool{}
	for _, other := range append(slices.Collect(maps.Values(b.snippets)), b) {
		for name := range other.plugins {
			if name != markedImport && len(b.All(name)) > 0 {
				used[unmark(name)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(used))
}

// each visits the block and the snippets that it imports, directly or through other
// snippets. It leaves out the snippets in seen, and adds those that it visits, so
// that each counts once and circles end.
func (b *Block) each(seen map[*Block]bool, visit func(*Block)) {
	visit(b)
	for _, imported := range argumentsOf(b.plugins[markedImport]) {
		if len(imported) != 1 {
			continue
		}
		if snippet := b.snippets[imported[0]]; snippet != nil && !seen[snippet] {
			seen[snippet] = true
			snippet.each(seen, visit)
		}
	}
}

// argumentsOf returns what follows the plugin's name on the line of each use.
func argumentsOf(tokens []caddyfile.Token) [][]string {
	var uses [][]string
	depth := 0
	for d := caddyfile.NewDispenserTokens("", tokens); d.Next(); {
		switch d.Val() {
		case "{":
			depth++
		case "}":
			depth--
		default:
			if depth > 0 {
				continue
			}
			var arguments []string
			for _, argument := range d.RemainingArgs() {
				arguments = append(arguments, unmark(argument))
			}
			uses = append(uses, arguments)
		}
	}
	return uses
}

// IsVariable reports whether a word has an environment variable in it, whose value
// only CoreDNS's container knows.
func IsVariable(word string) bool {
	return strings.Contains(word, "{$") || strings.Contains(word, "{%")
}

// ZoneOf returns the zone of a key such as "dns://Example.com.:53", in lower case and
// without the dot at its end; "." is the root. It is empty where the scheme is none
// of CoreDNS's.
func ZoneOf(key string) string {
	if scheme, rest, found := strings.Cut(key, "://"); found {
		key = rest
		if scheme != "dns" && scheme != "tls" && scheme != "https" && scheme != "grpc" && scheme != "quic" && scheme != "https3" {
			return ""
		}
	}
	if colon := strings.LastIndexByte(key, ':'); colon >= 0 && strings.Trim(key[colon+1:], "0123456789") == "" {
		key = key[:colon]
		if key == "" { // ":53"
			return "."
		}
	}
	switch {
	case key == ".":
		return key
	case IsVariable(key):
		return key
	}
	return strings.ToLower(strings.TrimSuffix(key, "."))
}
