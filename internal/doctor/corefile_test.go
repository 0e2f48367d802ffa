package doctor

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

// marker is what no word of a Corefile has, and the parser is kept from meaning by.
const marker = "\x00"

// readBlock is a server block with what every plugin that is used in the file
// is given in it.
type readBlock struct {
	Zones   []string              `json:"zones"`
	Plugins map[string][][]string `json:"plugins"`
}

// readCorefile is what is read of a case.
type readCorefile struct {
	Blocks       []readBlock       `json:"blocks"`
	ClusterZones []string          `json:"clusterZones,omitempty"`
	CustomZones  map[string]string `json:"customZones,omitempty"`
	// Error is there where not everything could be read.
	Error string `json:"error,omitempty"`
}

func readCase(corefiles []corefile.File) readCorefile {
	var read readCorefile
	blocks, _ := corefile.Read(corefiles)
	for i := range blocks {
		block := readBlock{blocks[i].Zones, map[string][][]string{}}
		for _, name := range blocks[i].Plugins() {
			block.Plugins[name] = blocks[i].All(name)
		}
		read.Blocks = append(read.Blocks, block)
	}
	config := &clusterDNSConfig{corefiles: corefiles}
	var err error
	read.ClusterZones, _ = config.clusterZones()
	if read.CustomZones, err = config.customZones(); err != nil {
		read.Error = err.Error()
	}
	return read
}

// Case files: testdata/corefile/<what is in it, in words>.txtar. The text before
// the first section says what the case is about. The sections:
//
//	Corefile, *.server   read one after the other
//	*.override           likewise, the inside of the server block of "."
//	read.yaml            expected
//
// `go test ./internal/doctor -run Corefile -update` rewrites what is expected.
func TestReadCorefiles(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/corefile", func(t *testing.T, c *testfile.Case) {
		var corefiles []corefile.File
		for _, section := range c.Files {
			switch snippet := strings.HasSuffix(section.Name, ".override"); {
			case section.Name == "read.yaml":
			case snippet || section.Name == "Corefile" || strings.HasSuffix(section.Name, ".server"):
				corefiles = append(corefiles, corefile.File{From: section.Name, Snippet: snippet, Text: string(section.Data)})
			default:
				t.Errorf("unknown section %s", section.Name)
			}
		}
		got := jsontest.YAML(t, readCase(corefiles))
		c.Expect(t, "read.yaml", got)
	})
}

// What is not written well in a case file, or is in every editor shown as
// something else.
func TestReadCorefilesWithOddBytes(t *testing.T) {
	t.Parallel()
	const want = "corp.test forward . 192.0.2.1"
	for name, text := range map[string]string{
		"Windows line ends":          "corp.test {\r\n  forward . 192.0.2.1\r\n}\r\n",
		"a byte order mark":          "\uFEFFcorp.test {\n  forward . 192.0.2.1\n}\n",
		"an import on Windows":       "import custom/*.server\r\ncorp.test {\r\n  forward . 192.0.2.1\r\n}\r\n",
		"tabs and blanks at the end": "corp.test\t{ \n\tforward\t.\t192.0.2.1\t \n}",
	} {
		blocks, err := corefile.Read([]corefile.File{{Text: text}})
		if err != nil || len(blocks) != 1 || len(blocks[0].All("forward")) != 1 {
			t.Errorf("%s: %+v, error %v", name, blocks, err)
			continue
		}
		if got := strings.Join(blocks[0].Zones, " ") + " forward " + strings.Join(blocks[0].All("forward")[0], " "); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// The parser would open files and fill in variables of the machine that doctor
// runs on: somebody who may write the ConfigMap could have them shown.
func TestCorefilesReadNothingOfThisMachine(t *testing.T) {
	const variable = "SHORTHOP_TEST_OF_COREFILES"
	t.Setenv(variable, "secret")
	file := filepath.Join(t.TempDir(), "other.server")
	testfile.Write(t, file, "secret.test {\n  forward . 192.0.2.1\n}\nforward secret.test 192.0.2.1\n")
	for _, text := range []string{
		"import FILE\n",
		"import FILE",
		"  import\tFILE # a comment\n. {\n}\n",
		"import FILE more\n. {\n}\n",
		"import FILE#\n",
		"import \"FILE\"\n",
		"\"import\" FILE\n",
		"im\rport FILE\n",
		"im\x00port FILE\n",
		"import\u00a0FILE\n",
		"import DIRECTORY/*\n",
		". {\n  import FILE\n}\n",
		". { import FILE\n}\n",
		". {\n  whoami {\n    import FILE\n  }\n}\n",
		"(FILE) {\n  log\n}\n. {\n  import FILE\n}\n",
		". {\n  whoami (FILE)\n  import FILE\n}\n",
		"(a) {\n  import FILE\n}\n. {\n  import a\n}\n",
		"{$VARIABLE}.test {\n  forward {$VARIABLE}.test 192.0.2.1\n}\n",
		"{%VARIABLE%}.test {\n  forward {%VARIABLE%}.test 192.0.2.1\n}\n",
		"{\r$VARIABLE}.test {\n}\n",
		"{\x00$VARIABLE}.test {\n}\n",
		". {\n  import {$VARIABLE}\n}\n",
		"\"{$VARIABLE}\" {\n",
		"{$VARIABLE} }\n",
	} {
		text = strings.NewReplacer("FILE", file, "DIRECTORY", filepath.Dir(file), "VARIABLE", variable).Replace(text)
		for _, one := range []corefile.File{{Text: text}, {Snippet: true, Text: text}} {
			shown := jsontest.YAML(t, readCase([]corefile.File{one}))
			if strings.Contains(string(shown), "secret") {
				t.Errorf("%q:\n%s", text, shown)
			}
		}
	}
}

// Snippets that import each other twice would be as many as 2 to the power of
// their number.
func TestCorefilesWithSnippetsThatMultiply(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("(s0) {\n  forward a.test 192.0.2.1\n}\n")
	const last = 200
	for i := 1; i <= last; i++ {
		before := strings.Repeat("s", i)
		text.WriteString("(" + before + "s) {\n  import " + before + "\n  import " + before + "\n  import s0\n  import " + before + "s\n}\n")
	}
	text.WriteString(". {\n  import " + strings.Repeat("s", last+1) + "\n}\n")
	blocks, err := corefile.Read([]corefile.File{{Text: text.String()}})
	if err != nil || len(blocks) != 1 || len(blocks[0].All("forward")) != 1 {
		t.Errorf("%d blocks, error %v", len(blocks), err)
	}
}

// FuzzReadCorefiles: whatever is in a ConfigMap, what is made of it is well
// formed.
func FuzzReadCorefiles(f *testing.F) {
	for _, seed := range []string{"", ".:53 {\n forward . /etc/resolv.conf\n}\n", "(a) {\n log\n}\n.{\n import a\n}", "a { b { c", "\"", "{ { } }", "tls://x:853,y {\n}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		corefiles := []corefile.File{{Text: text}, {Snippet: true, Text: text}}
		blocks, err := corefile.Read(corefiles)
		if err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("a mark stays: %q", err)
		}
		for i := range blocks {
			for _, zone := range blocks[i].Zones {
				if zone == "" || !corefile.IsVariable(zone) && zone != strings.ToLower(zone) || strings.Contains(zone, marker) {
					t.Errorf("zone %q", zone)
				}
			}
			for _, name := range blocks[i].Plugins() {
				for _, arguments := range blocks[i].All(name) {
					if strings.Contains(strings.Join(arguments, " "), marker) {
						t.Errorf("a mark stays: %q", arguments)
					}
				}
			}
		}
		config := &clusterDNSConfig{corefiles: corefiles}
		cache := &cacheConfig{corefiles: corefiles, args: strings.Fields(text)}
		zones, _ := config.customZones()
		for zone := range zones {
			bypass(blocks, zone, cache.addresses())
		}
	})
}
