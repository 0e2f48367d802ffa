package doctor

import (
	"strings"
)

// serverBlock is a server block of a Corefile: the zones it is for, and its
// plugins with their arguments.
type serverBlock struct {
	zones   []string
	plugins []plugin
}

type plugin struct {
	name      string
	arguments []string
}

// all returns the arguments of every use of a plugin.
func (b *serverBlock) all(name string) [][]string {
	var all [][]string
	for i := range b.plugins {
		if b.plugins[i].name == name {
			all = append(all, b.plugins[i].arguments)
		}
	}
	return all
}

// parseCorefile scans a Corefile (coredns.io/manual/configuration) for its
// server blocks. It is evidence for warnings, so it takes whatever it gets:
// what it cannot make sense of it leaves out. Snippets are laid over where
// they are imported; files that are imported are not known.
func parseCorefile(text string) []serverBlock {
	p := corefileParser{snippets: map[string][]plugin{}}
	for line := range strings.Lines(text) {
		p.line(corefileWords(line))
	}
	p.finish() // of a file that breaks off
	return p.blocks
}

// parseSnippet scans the inside of a server block.
func parseSnippet(text string) serverBlock {
	blocks := parseCorefile(". {\n" + text + "\n}")
	if len(blocks) == 0 {
		return serverBlock{}
	}
	return blocks[0]
}

type corefileParser struct {
	blocks   []serverBlock
	snippets map[string][]plugin
	// keys are those of the block that is open, or is about to be.
	keys    []string
	plugins []plugin
	depth   int
}

// line takes the words of one line. Within a server block, what stands at its
// own level is a plugin; what is deeper belongs to one.
func (p *corefileParser) line(words []string) {
	start := true // of a directive
	for _, word := range words {
		switch {
		case word == "{":
			p.depth++
			start = true
		case word == "}":
			if p.depth == 1 {
				p.finish()
			}
			p.depth = max(p.depth-1, 0)
			start = true
		case p.depth == 0:
			p.keys = append(p.keys, word)
		case p.depth == 1 && start:
			p.plugins = append(p.plugins, plugin{name: strings.ToLower(word)})
			start = false
		case p.depth == 1:
			last := &p.plugins[len(p.plugins)-1]
			last.arguments = append(last.arguments, word)
		}
	}
}

// finish ends a server block, or a snippet.
func (p *corefileParser) finish() {
	keys, plugins := p.keys, p.expand(p.plugins)
	p.keys, p.plugins = nil, nil
	if len(keys) == 0 || p.depth == 0 {
		return
	}
	if name, found := strings.CutPrefix(keys[0], "("); found {
		p.snippets[strings.TrimSuffix(name, ")")] = plugins
		return
	}
	block := serverBlock{plugins: plugins}
	for _, key := range keys {
		for zone := range strings.SplitSeq(key, ",") {
			if zone = zoneOf(zone); zone != "" {
				block.zones = append(block.zones, zone)
			}
		}
	}
	p.blocks = append(p.blocks, block)
}

// expand lays snippets over where they are imported; CoreDNS, too, wants them
// defined before.
func (p *corefileParser) expand(plugins []plugin) []plugin {
	var expanded []plugin
	for _, one := range plugins {
		switch {
		case one.name != "import":
			expanded = append(expanded, one)
		case len(one.arguments) > 0:
			expanded = append(expanded, p.snippets[one.arguments[0]]...)
		}
	}
	return expanded
}

// zoneOf takes the zone out of a key such as "dns://Example.com.:53". "." is
// the root.
func zoneOf(key string) string {
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
	if key == "." {
		return key
	}
	return strings.ToLower(strings.TrimSuffix(key, "."))
}

// corefileWords splits a line: words, quoted words, up to a comment.
func corefileWords(line string) []string {
	var words []string
	for {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			return words
		case line[0] == '"':
			word, rest, _ := strings.Cut(line[1:], `"`)
			words, line = append(words, word), rest
		default:
			end := strings.IndexFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' })
			if end < 0 {
				end = len(line)
			}
			words, line = append(words, line[:end]), line[end:]
		}
	}
}
