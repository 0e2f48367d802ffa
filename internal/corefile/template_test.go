package corefile_test

import (
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/corefile"
)

func TestTheTemplateBlockIsFoundWhereItIs(t *testing.T) {
	t.Parallel()
	block := strings.Join(corefile.TemplateBlock(), "\n")
	for name, test := range map[string]struct {
		file corefile.File
		want bool
	}{
		"in the block of the root": {corefile.File{Text: ".:53 {\nforward . /etc/resolv.conf\n" + block + "\n}\n"}, true},
		"in another case":          {corefile.File{Text: ".:53 {\n" + strings.ReplaceAll(block, "local.shorthop", "LOCAL.Shorthop") + "\n}\n"}, true},
		"in a snippet that it imports": {
			corefile.File{Text: "(svc) {\n" + block + "\n}\n.:53 {\nimport svc\n}\n"}, true},
		"in a snippet that imports itself": {corefile.File{Text: "(svc) {\nimport svc\n}\n.:53 {\nimport svc\n}\n"}, false},
		"in coredns-custom":                {corefile.File{Text: block, Snippet: true}, true},
		"in a comment":                     {corefile.File{Text: ".:53 {\n# " + strings.Join(corefile.TemplateBlock(), "\n# ") + "\nforward . /etc/resolv.conf\n}\n"}, false},
		"another template":                 {corefile.File{Text: ".:53 {\ntemplate ANY HINFO . {\nrcode NXDOMAIN\n}\n}\n"}, false},
		"none":                             {corefile.File{Text: ".:53 {\nforward . /etc/resolv.conf\n}\n"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			blocks, err := corefile.Read([]corefile.File{test.file})
			if err != nil || len(blocks) != 1 {
				t.Fatalf("%d blocks, %v", len(blocks), err)
			}
			if got := blocks[0].HasTemplate(); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}
